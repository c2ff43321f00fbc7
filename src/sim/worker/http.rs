//! The worker's HTTP: downloads over HTTP/1.1, results over an HTTP/2 connection of their own.
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::sim::body::Upload;
use crate::sim::tasks::Tasks;
use crate::sim::tls::{Alpn, Dialer};

/// From dial to last byte, and the most bytes of a source.
const DOWNLOAD: Duration = Duration::from_secs(4);
const MOST_SOURCE: usize = 300_000_000;
/// Idle connections that are kept.
const KEPT: usize = 8;
/// What is read of a reply to a result.
const MOST_REPLY: usize = 4096;

type Download = http1::SendRequest<Empty<Bytes>>;

/// The pool of HTTP/1.1 connections.
pub(in crate::sim) struct Downloads {
    dialer: Dialer,
    idle: Mutex<Vec<(SocketAddr, Download)>>,
}

/// The result connection of one registration: made when first needed, and again when it broke.
pub(in crate::sim) struct Results {
    pool: SocketAddr,
    dialer: Dialer,
    tasks: Tasks,
    open: tokio::sync::Mutex<Option<http2::SendRequest<Upload>>>,
}

// === impl Downloads ===

impl Downloads {
    pub(in crate::sim) fn new(dialer: Dialer) -> Downloads {
        Downloads { dialer, idle: Mutex::default() }
    }

    /// The bytes behind an address, or the text of an error result.
    pub(in crate::sim) async fn get(&self, tasks: &Tasks, url: &str) -> Result<Bytes, String> {
        match timeout(DOWNLOAD, self.fetch(tasks, url)).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(status))) => Err(status.to_string()),
            Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
            Err(_) => Err(format!("Get \"{url}\": context deadline exceeded")),
        }
    }

    async fn fetch(&self, tasks: &Tasks, url: &str) -> io::Result<Result<Bytes, StatusCode>> {
        let url: Uri = url.parse().map_err(io::Error::other)?;
        let authority = url.authority().ok_or_else(|| io::Error::other("no host"))?;
        let port = authority.port_u16().unwrap_or(443);
        let mut found = tokio::net::lookup_host((authority.host(), port)).await?;
        let to = found.next().ok_or_else(|| io::Error::other("no such host"))?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = || {
            Request::get(path)
                .header(header::HOST, authority.as_str())
                .header(header::USER_AGENT, "Go-http-client/1.1")
                .header(header::ACCEPT_ENCODING, "gzip")
                .body(Empty::new())
                .map_err(io::Error::other)
        };
        let mut kept = self.kept(to).await;
        // A kept connection may have been closed at that moment: Go then takes a new one, too.
        let answered = match &mut kept {
            Some(sender) => sender.send_request(request()?).await.ok(),
            None => None,
        };
        let (mut sender, mut answered) = (kept, answered);
        if answered.is_none() {
            let mut fresh = self.connect(tasks, to).await?;
            answered = Some(fresh.send_request(request()?).await.map_err(io::Error::other)?);
            sender = Some(fresh);
        }
        let (Some(sender), Some(response)) = (sender, answered) else { return Err(io::Error::other("no answer")) };
        let status = response.status();
        let body = read(response.into_body(), MOST_SOURCE).await?;
        let mut idle = self.idle.lock();
        if idle.len() < KEPT {
            idle.push((to, sender));
        }
        Ok(if status == StatusCode::OK { Ok(body) } else { Err(status) })
    }

    async fn kept(&self, to: SocketAddr) -> Option<Download> {
        loop {
            let mut sender = {
                let mut idle = self.idle.lock();
                let n = idle.iter().rposition(|(at, _)| *at == to)?;
                idle.swap_remove(n).1
            };
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self, tasks: &Tasks, to: SocketAddr) -> io::Result<Download> {
        let tls = self.dialer.dial(to, Alpn::H1).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

// === impl Results ===

impl Results {
    pub(in crate::sim) fn new(pool: SocketAddr, dialer: Dialer, tasks: Tasks) -> Results {
        Results { pool, dialer, tasks, open: tokio::sync::Mutex::default() }
    }

    /// Posts once: the status and the reply's text. No timeout, as Go's bare transport.
    pub(in crate::sim) async fn post(&self, request: Request<Upload>) -> io::Result<(StatusCode, String)> {
        let (parts, body) = request.into_parts();
        let again = body.again().map(|body| Request::from_parts(parts.clone(), body));
        let mut sent = self.connection().await?.send_request(Request::from_parts(parts, body)).await;
        if sent.as_ref().is_err_and(unprocessed)
            && let Some(request) = again
        {
            // The body is a buffer: it is sent again, on a new connection.
            *self.open.lock().await = None;
            sent = self.connection().await?.send_request(request).await;
        }
        let response = sent.map_err(io::Error::other)?;
        let status = response.status();
        let reply = read(response.into_body(), MOST_REPLY).await.unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&reply).trim().to_owned()))
    }

    async fn connection(&self) -> io::Result<http2::SendRequest<Upload>> {
        let mut open = self.open.lock().await;
        if let Some(sender) = open.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let tls = self.dialer.dial(self.pool, Alpn::H2).await?;
        let (sender, connection) =
            http2::Builder::new(self.tasks.clone()).handshake(TokioIo::new(tls)).await.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            let _ = connection.await;
        });
        Ok(open.insert(sender).clone())
    }
}

/// GOAWAY or REFUSED_STREAM: the other side says that it did nothing with the request.
fn unprocessed(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(h2) = inner.downcast_ref::<h2::Error>() {
            return h2.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR));
        }
        cause = inner.source();
    }
    error.is_canceled()
}

async fn read(mut body: hyper::body::Incoming, most: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(io::Error::other)?.into_data().unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err(io::Error::other("too long"));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}
