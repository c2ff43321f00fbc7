//! A pooled HTTP client as Go's: plain or TLS, HTTP/2 where it is offered.
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sim::orchestrator::listen::Body;
use crate::sim::tasks::Tasks;
use crate::sim::tls::{Alpn, Dialer};

/// To dial TLS.
const DIAL: Duration = Duration::from_secs(2);
/// Go keeps this many idle connections a host.
const IDLE: usize = 2;

/// Cheap to clone.
#[derive(Clone)]
pub struct Client {
    /// Accepts any certificate.
    any: legacy::Client<Connector, Body>,
    /// Verifies; there is no authority that signed a simulated peer, so TLS fails.
    strict: legacy::Client<Connector, Body>,
}

#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    strict: bool,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Io {
    io: TokioIo<Box<dyn Duplex>>,
    h2: bool,
}

// === impl Client ===

impl Client {
    pub(in crate::sim) fn new(tasks: &Tasks) -> io::Result<Client> {
        let dialer = Dialer::new()?;
        let client = |strict| {
            legacy::Client::builder(tasks.clone())
                .pool_timer(TokioTimer::new())
                .pool_max_idle_per_host(IDLE)
                .build(Connector { dialer: dialer.clone(), strict })
        };
        Ok(Client { any: client(false), strict: client(true) })
    }

    /// Any certificate will do.
    pub(in crate::sim) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        self.any.request(request).await.map_err(|error| words(&error))
    }

    /// Certificates are verified.
    pub(in crate::sim) async fn send_verified(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        self.strict.request(request).await.map_err(|error| words(&error))
    }
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push_str(": ");
        words.push_str(&inner.to_string());
        cause = inner.source();
    }
    words
}

/// The whole body, at most `most` bytes of it.
pub(in crate::sim) async fn whole(body: Incoming, most: usize) -> Result<Bytes, String> {
    use http_body_util::{BodyExt, Limited};
    Limited::new(body, most).collect().await.map(|body| body.to_bytes()).map_err(|error| error.to_string())
}

// === impl Connector ===

impl tower_service::Service<Uri> for Connector {
    type Response = Io;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Connector { dialer, strict } = self.clone();
        Box::pin(async move {
            let host = to.host().ok_or_else(|| io::Error::other("no host"))?;
            let tls = to.scheme_str() == Some("https");
            let port = to.port_u16().unwrap_or(if tls { 443 } else { 80 });
            let mut found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?;
            let address = found.next().ok_or_else(|| io::Error::other("no such host"))?;
            if !tls {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                return Ok(Io { io: TokioIo::new(Box::new(tcp)), h2: false });
            }
            if strict {
                return Err(io::Error::other("x509: certificate signed by unknown authority"));
            }
            let stream = timeout(DIAL, dialer.dial(address, Alpn::Either)).await.map_err(io::Error::other)??;
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Io { io: TokioIo::new(Box::new(stream)), h2 })
        })
    }
}

// === impl Io ===

impl Connection for Io {
    fn connected(&self) -> Connected {
        if self.h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
