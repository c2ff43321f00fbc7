//! The accept loop: TLS, HTTP/2 or 1.1 by ALPN, every limit set.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::ahead::Ahead;
use super::conn::{ConnectionInfo, Graceful, Watchman, answer};
use super::door::{Door, Guest};
use super::limits::EdgeLimits;
use super::meter::{Gauge, Metered, Quota};
use super::tls::ServerTls;
use super::{Body, Tasks};
use crate::telemetry;

pub use super::door::EdgeStats;

/// What all connections of a listener share.
#[derive(Clone)]
pub struct Edge {
    pub tls: ServerTls,
    pub limits: Arc<EdgeLimits>,
    pub tasks: Tasks,
    pub stats: Arc<EdgeStats>,
}

/// Out of descriptors or memory: others need the time more than new connections do.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Answers to workers are short; notices are under 64 KiB.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that the peer opened and reset before we looked at them.
const PENDING_RESETS: usize = 50;

/// Takes connections until the tasks are told to end; `handler` answers each request, and finds
/// a `ConnectionInfo` in its extensions.
pub async fn serve<H, F>(listener: TcpListener, edge: Edge, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let door = Door::new(edge.limits.clone(), edge.stats.clone());
    let stop = edge.tasks.token();
    let acceptor = TlsAcceptor::from(edge.tls.config.clone());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                EdgeStats::count(&edge.stats.accept_errors, "accept_error");
                if !is_of_one_connection(&error) {
                    telemetry::accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Some(guest) = door.enter(peer.ip()) else { continue };
        let connection = Connection { edge: edge.clone(), acceptor: acceptor.clone(), accepted: Instant::now() };
        let handler = handler.clone();
        edge.tasks.spawn("connection", async move {
            connection.run(stream, guest, handler).await;
        });
    }
}

/// The peer went away before we took it: the next may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

struct Connection {
    edge: Edge,
    acceptor: TlsAcceptor,
    accepted: Instant,
}

// === impl Connection ===

impl Connection {
    async fn run<H, F>(self, stream: TcpStream, guest: Guest, handler: H)
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let limits = &self.edge.limits;
        let opening = async {
            let (peer, local) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
            stream.set_nodelay(true).ok()?;
            let place = guest.stranger().await?;
            match tokio::time::timeout(limits.tls_handshake, self.acceptor.accept(Ahead::new(stream))).await {
                Ok(Ok(stream)) => Some((stream, ConnectionInfo::new(peer, local, place))),
                _ => {
                    EdgeStats::count(&guest.stats().bad_handshakes, "bad_handshake");
                    None
                }
            }
        };
        let stop = self.edge.tasks.token();
        let opened = tokio::select! {
            opened = opening => opened,
            () = stop.cancelled() => None,
        };
        let Some((stream, info)) = opened else { return };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let gauge = Arc::new(Gauge::default());
        let io = TokioIo::new(Metered::new(stream, is_h2.then(|| Quota::of(limits)), gauge.clone()));
        let watchman = Watchman {
            limits,
            info: &info,
            gauge: &gauge,
            tasks: &self.edge.tasks,
            stats: guest.stats(),
            version: if is_h2 { Version::HTTP_2 } else { Version::HTTP_11 },
            accepted: self.accepted,
        };
        let service = {
            let (info, limits) = (info.clone(), limits.clone());
            service_fn(move |request| answer(handler.clone(), info.clone(), limits.clone(), request))
        };
        if is_h2 {
            let connection = http2_settings(limits, self.edge.tasks.clone()).serve_connection(io, service);
            watchman.drive(std::pin::pin!(connection)).await;
        } else {
            let connection = http1_settings(limits).serve_connection(io, service);
            watchman.drive(std::pin::pin!(connection)).await;
        }
    }
}

fn http2_settings(limits: &EdgeLimits, tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(limits.h2_header_list)
        .initial_stream_window_size(limits.h2_stream_window)
        .initial_connection_window_size(limits.h2_connection_window)
        .max_frame_size(limits.h2_frame)
        .max_local_error_reset_streams(limits.h2_local_resets)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .keep_alive_interval(limits.ping_every)
        .keep_alive_timeout(limits.ping_timeout)
        .max_send_buf_size(SEND_BUFFER)
        .auto_date_header(false);
    builder
}

fn http1_settings(limits: &EdgeLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.h1_header)
        .max_header_size(limits.h1_header_bytes)
        .max_headers(limits.h1_fields)
        .half_close(false)
        .keep_alive(true)
        .auto_date_header(false);
    builder
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<super::BoxError>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, Tasks>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Future: Send + 'static,
    S::Error: Into<super::BoxError>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
