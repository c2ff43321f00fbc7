//! The service port: gRPC, segment files and results on one TLS port.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Shared, register, results, segment};
use crate::wire::headers;

pub(in crate::sim) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(in crate::sim) type Body = UnsyncBoxBody<Bytes, Error>;

/// Go's server: a connection's streams, and the window of a stream and of all.
const STREAMS: u32 = 250;
const WINDOW: u32 = 1 << 20;
const HANDSHAKE: Duration = Duration::from_secs(5);

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => shared.tasks.spawn(connection(shared.clone(), acceptor.clone(), tcp, peer)),
            // Out of descriptors, most likely: some connection will end.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(shared: Arc<Shared>, acceptor: TlsAcceptor, tcp: TcpStream, peer: SocketAddr) {
    let _ = tcp.set_nodelay(true);
    let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(tcp)).await else { return };
    let mut server = auto::Builder::new(shared.tasks.clone());
    server.http1().timer(TokioTimer::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { answer(shared, request, peer).await }
    });
    let _ = server.serve_connection_with_upgrades(TokioIo::new(tls), service).await;
}

/// go-livepeer's dispatch: gRPC by its content type, then the routes.
/// An error is a handler that panicked: its request is cut off.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>, peer: SocketAddr) -> io::Result<Response<Body>> {
    let kind = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        if shared.ai.registers(&request) {
            return Ok(shared.ai.register(request, peer).await);
        }
        return Ok(register::answer(shared, request).await);
    }
    let path = request.uri().path();
    if path == headers::RESULTS_PATH {
        return Ok(results::answer(&shared, request).await);
    }
    if shared.ai.serves(path) {
        return shared.ai.answer(request).await;
    }
    Ok(match stored(&shared, path).or_else(|| shared.ai.file(path)) {
        Some(bytes) if request.method() == Method::GET => {
            let mut response = text(StatusCode::OK, "");
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(headers::MPEGTS_TYPE));
            *response.body_mut() = full(bytes);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    })
}

/// `/stream/<session>/<sequence>.tempfile`
fn stored(shared: &Shared, path: &str) -> Option<Bytes> {
    let (session, file) = path.strip_prefix("/stream/")?.split_once('/')?;
    let sequence = file.strip_suffix(".tempfile")?.parse().ok()?;
    segment::file(shared, session, sequence)
}

pub(in crate::sim) fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::from_static(words.as_bytes())));
    *response.status_mut() = status;
    response
}

pub(in crate::sim) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(in crate::sim) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
