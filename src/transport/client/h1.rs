//! HTTP/1.1 connections that live with their user, and a bounded shelf of idle ones.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Dialled, Fingerprint, Origin, driven};

/// Bodies that we send.
pub type OutBody = UnsyncBoxBody<Bytes, std::io::Error>;

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

const MOST_HEADERS: usize = 64;
/// Also the most of a head. A buffer is cut into chunks as it fills and a new one is made for what
/// does not fit: growing ones would leave most of each unused, and a source holds them all.
const READ_BUFFER: usize = 32 << 10;

/// One connection, one request at a time.
pub struct H1 {
    sender: SendRequest<OutBody>,
    driver: Option<Driver>,
    written: Arc<AtomicU64>,
    certificate: Option<Fingerprint>,
    used: bool,
}

/// Idle connections, the last used first.
pub struct Idle {
    conns: Mutex<Vec<(Origin, Instant, H1)>>,
    most: usize,
    age: Duration,
}

// === impl H1 ===

impl H1 {
    pub async fn new(dialled: Dialled) -> Result<H1, hyper::Error> {
        let written = dialled.io.written();
        let certificate = dialled.certificate;
        let mut builder = http1::Builder::new();
        builder.max_headers(MOST_HEADERS).read_buf_exact_size(Some(READ_BUFFER));
        let (sender, connection) = builder.handshake(TokioIo::new(dialled.io)).await?;
        let driver: Driver = Box::pin(async move {
            // What went wrong is told to the request that it went wrong for.
            let _ = connection.await;
        });
        Ok(H1 { sender, driver: Some(driver), written, certificate, used: false })
    }

    pub fn certificate(&self) -> Option<Fingerprint> {
        self.certificate
    }

    /// Bytes sent on this connection so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The same number, for one who cannot hold the connection.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    /// Whether it served a request before: the peer may have closed it unseen.
    pub fn used(&self) -> bool {
        self.used
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send(&mut self, request: Request<OutBody>) -> Result<Response<Incoming>, hyper::Error> {
        self.used = true;
        let H1 { sender, driver, .. } = self;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        driven(driver, exchange).await
    }

    /// The next bytes of an answer's body.
    pub async fn next(&mut self, body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match driven(&mut self.driver, body.frame()).await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(fault) => return Some(Err(fault)),
            }
        }
    }

    /// The first `most` bytes of a short body; all of it is read only if it is no longer.
    pub async fn text(&mut self, body: &mut Incoming, most: usize) -> String {
        let mut text = Vec::new();
        while let Some(Ok(chunk)) = self.next(body).await {
            let room = most.saturating_sub(text.len());
            text.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends when the peer has closed it; for one who keeps it to learn of that.
    pub async fn closed(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.as_mut().await;
            self.driver = None;
        }
    }

    /// Whether another request may go over it; sees a peer that closed it meanwhile.
    fn is_open(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        if driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            self.driver = None;
            return false;
        }
        self.sender.is_ready()
    }
}

// === impl Idle ===

impl Idle {
    pub fn new(most: usize, age: Duration) -> Idle {
        Idle { conns: Mutex::new(Vec::new()), most, age }
    }

    /// A connection that was open a moment ago.
    pub fn take(&self, origin: &Origin) -> Option<H1> {
        let mut conns = self.conns.lock();
        let now = Instant::now();
        conns.retain(|(_, since, _)| now.duration_since(*since) < self.age);
        while let Some(at) = conns.iter().rposition(|(to, ..)| to == origin) {
            let (_, _, mut conn) = conns.remove(at);
            if conn.is_open() {
                return Some(conn);
            }
        }
        None
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn put(&self, origin: &Origin, mut conn: H1) {
        if !conn.is_open() {
            return;
        }
        let mut conns = self.conns.lock();
        if conns.len() >= self.most {
            conns.remove(0);
        }
        if self.most > 0 {
            conns.push((origin.clone(), Instant::now(), conn));
        }
    }

    /// Forgets all: the peer behind them is another now.
    pub fn clear(&self) {
        self.conns.lock().clear();
    }
}
