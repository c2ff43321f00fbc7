//! A plain HTTP server whose answers are up to the test.
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::peer::whole;
use crate::sim::tasks::Tasks;

pub(super) type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;
type Answer = dyn Fn(&Seen) -> Response<Body> + Send + Sync;

/// A request as it came.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    tasks: Tasks,
}

impl Server {
    pub(super) async fn start(answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tasks) = (listener.local_addr().unwrap(), Tasks::default());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (answer, kept): (Arc<Answer>, _) = (Arc::new(answer), seen.clone());
        let connections = tasks.clone();
        tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (answer, kept) = (answer.clone(), kept.clone());
                let service = service_fn(move |mut request: Request<Incoming>| {
                    let (answer, kept) = (answer.clone(), kept.clone());
                    async move {
                        let upgrade =
                            request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let line = format!("{} {}", head.method, head.uri);
                        let seen = Seen { line, headers: head.headers, body };
                        kept.lock().push(seen.clone());
                        let response = answer(&seen);
                        if let Some(upgrade) = upgrade {
                            // An echo.
                            crate::sim::tasks::Tasks::default().spawn(async move {
                                let io = TokioIo::new(upgrade.await.unwrap());
                                let (mut read, mut write) = tokio::io::split(io);
                                let _ = tokio::io::copy(&mut read, &mut write).await;
                            });
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                connections.spawn(async move {
                    let served =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
                    let _ = served.with_upgrades().await;
                });
            }
        });
        Server { address, seen, tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections from now on.
    pub(super) async fn stop(&self) {
        self.tasks.end();
        self.tasks.idle().await;
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen.lock().iter().map(|seen| seen.line.clone()).collect()
    }
}

pub(super) fn answer(status: u16, kind: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).header("Content-Type", kind).body(whole(body)).unwrap()
}
