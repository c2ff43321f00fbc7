//! A bare AI worker: what it posts is up to the test.
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use prost::Message;
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Status;

use crate::sim::tasks::Tasks;
use crate::sim::tls::{Alpn, Dialer};
use crate::wire::messages::{RawCodec, pb};

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

#[derive(Clone)]
struct Calls(http2::SendRequest<tonic::body::Body>);

impl tower_service::Service<Request<tonic::body::Body>> for Calls {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// One TCP connection that can register several times.
pub(super) struct Wire {
    to: SocketAddr,
    calls: Calls,
    pub(super) tasks: Tasks,
}

pub(super) struct Job {
    pub(super) task: i64,
    pub(super) pipeline: String,
    pub(super) data: Value,
}

/// The stream of one registration.
pub(super) struct Registered {
    pub(super) jobs: mpsc::Receiver<Result<Job, Status>>,
}

pub(super) fn asked(secret: &str, version: &str, models: &[(u32, &str, u32)]) -> pb::RegisterAiWorkerRequest {
    let mut constraints = pb::capabilities::Constraints::default();
    for (bit, model, capacity) in models {
        let offer = pb::capabilities::capability_constraints::ModelConstraint {
            warm: true,
            capacity: *capacity,
            ..Default::default()
        };
        constraints.per_capability.entry(*bit).or_default().models.insert((*model).to_owned(), offer);
    }
    let capabilities =
        pb::Capabilities { version: version.into(), constraints: Some(constraints), ..Default::default() };
    pb::RegisterAiWorkerRequest { secret: secret.into(), capabilities: Some(capabilities), ..Default::default() }
}

impl Wire {
    pub(super) async fn dial(to: SocketAddr) -> Wire {
        let tasks = Tasks::default();
        let tls = Dialer::new().unwrap().dial(to, Alpn::H2).await.unwrap();
        let (sender, connection) = http2::Builder::new(tasks.clone()).handshake(TokioIo::new(tls)).await.unwrap();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Wire { to, calls: Calls(sender), tasks }
    }

    pub(super) fn register(&self, asked: pb::RegisterAiWorkerRequest) -> Registered {
        let (sent, jobs) = mpsc::channel(64);
        let origin: Uri = format!("https://{}/", self.to).parse().unwrap();
        let mut client = tonic::client::Grpc::with_origin(self.calls.clone(), origin);
        self.tasks.spawn(async move {
            let path = http::uri::PathAndQuery::from_static("/net.AIWorker/RegisterAIWorker");
            let asked = tonic::Request::new(Bytes::from(asked.encode_to_vec()));
            let mut notices = match client.server_streaming(asked, path, RawCodec).await {
                Ok(response) => response.into_inner(),
                Err(status) => return drop(sent.send(Err(status)).await),
            };
            loop {
                let word = match notices.message().await {
                    Ok(Some(bytes)) => Ok(Job::read(bytes)),
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let _ = sent.send(word).await;
            }
        });
        Registered { jobs }
    }
}

impl Registered {
    pub(super) async fn job(&mut self) -> Job {
        self.jobs.recv().await.unwrap().unwrap()
    }
}

impl Job {
    fn read(bytes: Bytes) -> Job {
        let notice = pb::NotifyAiJob::decode(bytes).unwrap();
        let data = notice.ai_job_data.unwrap();
        let json = serde_json::from_slice(&data.request_data).unwrap();
        Job { task: notice.task_id, pipeline: data.pipeline, data: json }
    }
}

/// A result's headers; a test changes what it likes.
pub(super) fn result(task: i64, pipeline: &str, kind: &str) -> http::request::Builder {
    Request::post("/aiResults")
        .header("Authorization", "Livepeer-AI-Worker-1.0")
        .header("Credentials", super::SECRET)
        .header("TaskId", task.to_string())
        .header("Pipeline", pipeline)
        .header("Content-Type", kind)
}

pub(super) fn multipart(files: &[(&str, &str, &[u8])], json: &Value) -> (String, Body) {
    let mut body = Vec::new();
    for (name, kind, bytes) in files {
        let head = format!(
            "--xyz\r\nContent-Disposition: attachment; filename={name}\r\nContent-Length: {}\r\nContent-Type: {kind}\r\n\r\n",
            bytes.len()
        );
        body.extend(head.into_bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(format!("--xyz\r\nContent-Type: application/json\r\n\r\n{json}\r\n--xyz--\r\n").into_bytes());
    ("multipart/mixed; boundary=xyz".into(), whole(body))
}

pub(super) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

/// A body that is written by the test.
pub(super) fn streamed() -> (mpsc::Sender<String>, Body) {
    let (lines, taken) = mpsc::channel::<String>(8);
    let frames = futures_util::stream::unfold(taken, |mut taken| async move {
        let line = taken.recv().await?;
        Some((Ok(http_body::Frame::data(Bytes::from(line))), taken))
    });
    (lines, StreamBody::new(frames).boxed_unsync_sync())
}

trait Sync_ {
    fn boxed_unsync_sync(self) -> Body;
}

impl<S> Sync_ for StreamBody<S>
where
    S: futures_util::Stream<Item = Result<http_body::Frame<Bytes>, std::convert::Infallible>> + Send + Sync + 'static,
{
    fn boxed_unsync_sync(self) -> Body {
        self.boxed()
    }
}

/// One request on a connection of its own.
pub(super) async fn send(to: SocketAddr, request: Request<Body>) -> (StatusCode, http::HeaderMap, Bytes) {
    let tls = Dialer::new().unwrap().dial(to, Alpn::H1).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    let tasks = Tasks::default();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut request = request;
    request.headers_mut().insert("host", "orchestrator".parse().unwrap());
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes())
}
