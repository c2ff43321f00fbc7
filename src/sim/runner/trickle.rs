//! A client of trickle channels: reads and writes segments one after the other, the next one
//! always opened ahead.
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::body::{Body, Error, full};
use crate::sim::tasks::Tasks;
use crate::sim::tls::{Alpn, Dialer};

/// A waiting read is asked anew after that long.
const RENEW: Duration = Duration::from_secs(20);
/// Pieces of a segment that wait for the connection.
const WAITING: usize = 16;
/// After an error of the connection, and how many in a row end it.
const AGAIN: Duration = Duration::from_millis(200);
const MOST_ERRORS: u32 = 5;

/// Reads before the first segment was seen.
pub(super) const CURRENT: i64 = -2;
pub(super) const NEXT: i64 = -1;

#[derive(Clone)]
pub(super) struct Trickle {
    pub(super) dialer: Dialer,
    /// Its connections end with these.
    pub(super) tasks: Tasks,
}

/// What a read found.
enum Got {
    Segment {
        seq: Option<i64>,
        body: Incoming,
    },
    /// The channel lives, that segment does not.
    Behind {
        latest: i64,
    },
    Over,
    Broken,
}

/// One channel's segments in their order.
pub(super) struct Reader {
    trickle: Trickle,
    url: String,
    seq: i64,
    ahead: Option<oneshot::Receiver<Got>>,
    errors: u32,
}

/// Writes segments from number 0.
pub(super) struct Writer {
    trickle: Trickle,
    url: String,
    kind: &'static str,
    next: u64,
    ahead: Option<Open>,
}

/// One segment that is being written; dropping `send` ends it.
pub(super) struct Open {
    send: mpsc::Sender<Bytes>,
    answered: oneshot::Receiver<bool>,
}

// === impl Trickle ===

impl Trickle {
    /// One request on a connection of its own.
    async fn request(
        &self,
        method: Method,
        url: &str,
        kind: Option<&str>,
        body: Body,
    ) -> io::Result<Response<Incoming>> {
        let url: Uri = url.parse().map_err(io::Error::other)?;
        let authority = url.authority().ok_or_else(|| io::Error::other("no host"))?.clone();
        let tls = url.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let to = tokio::net::lookup_host((host, port)).await?.next().ok_or_else(|| io::Error::other("no such host"))?;
        let mut sender = if tls {
            let (sender, connection) = http1::handshake(TokioIo::new(self.dialer.dial(to, Alpn::H1).await?))
                .await
                .map_err(io::Error::other)?;
            self.tasks.spawn(async move { drop(connection.await) });
            sender
        } else {
            let tcp = TcpStream::connect(to).await?;
            tcp.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(io::Error::other)?;
            self.tasks.spawn(async move { drop(connection.await) });
            sender
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority.as_str());
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        sender.send_request(request.body(body).map_err(io::Error::other)?).await.map_err(io::Error::other)
    }

    async fn get(&self, url: &str, seq: i64) -> Got {
        let url = format!("{url}/{seq}");
        loop {
            let asked = self.request(Method::GET, &url, None, full(Bytes::new()));
            let response = match timeout(RENEW, asked).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => return Got::Broken,
                Err(_) => continue,
            };
            let headers = response.headers();
            return match response.status().as_u16() {
                _ if headers.contains_key("lp-trickle-closed") => Got::Over,
                200 => Got::Segment { seq: number(headers, "lp-trickle-seq"), body: response.into_body() },
                470 => Got::Behind { latest: number(headers, "lp-trickle-latest").unwrap_or(NEXT) },
                404 => Got::Over,
                _ => Got::Broken,
            };
        }
    }

    /// Opens one segment; its body stays open until the sender goes.
    fn open(&self, url: String, kind: &'static str) -> Open {
        let (send, pieces) = mpsc::channel::<Bytes>(WAITING);
        let (answer, answered) = oneshot::channel();
        let trickle = self.clone();
        self.tasks.spawn(async move {
            let pieces = futures_util::stream::unfold(pieces, |mut pieces| async move {
                pieces.recv().await.map(|piece| (piece, pieces))
            });
            let body = StreamBody::new(pieces.map(|piece| Ok::<_, Error>(Frame::data(piece)))).boxed_unsync();
            let taken = match trickle.request(Method::POST, &url, Some(kind), body).await {
                Ok(response) => {
                    let closed = response.headers().contains_key("lp-trickle-closed");
                    response.status() == StatusCode::OK && !closed
                }
                Err(_) => false,
            };
            let _ = answer.send(taken);
        });
        Open { send, answered }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(trickle: Trickle, url: &str, from: i64) -> Reader {
        Reader { trickle, url: url.trim_end_matches('/').to_owned(), seq: from, ahead: None, errors: 0 }
    }

    /// The next segment as soon as its first byte is there; `None` when the channel is over.
    pub(super) async fn next(&mut self) -> Option<Incoming> {
        loop {
            let got = match self.ahead.take() {
                Some(ahead) => ahead.await.unwrap_or(Got::Broken),
                None => self.trickle.get(&self.url, self.seq).await,
            };
            match got {
                Got::Segment { seq, body } => {
                    self.errors = 0;
                    self.seq = seq.unwrap_or(self.seq.max(0)) + 1;
                    self.ahead = Some(self.ask_ahead());
                    return Some(body);
                }
                Got::Behind { latest } => {
                    self.seq = latest;
                    sleep(Duration::from_millis(10)).await;
                }
                Got::Over => return None,
                Got::Broken => {
                    self.errors += 1;
                    if self.errors > MOST_ERRORS {
                        return None;
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn ask_ahead(&self) -> oneshot::Receiver<Got> {
        let (answer, ahead) = oneshot::channel();
        let (trickle, url, seq) = (self.trickle.clone(), self.url.clone(), self.seq);
        self.trickle.tasks.spawn(async move {
            let _ = answer.send(trickle.get(&url, seq).await);
        });
        ahead
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(trickle: Trickle, url: &str, kind: &'static str) -> Writer {
        let mut writer = Writer { trickle, url: url.trim_end_matches('/').to_owned(), kind, next: 0, ahead: None };
        writer.ahead = Some(writer.open());
        writer
    }

    /// The segment to write now; the one after it is opened.
    pub(super) fn segment(&mut self) -> Open {
        let now = match self.ahead.take() {
            Some(open) => open,
            None => self.open(),
        };
        self.ahead = Some(self.open());
        now
    }

    /// A whole segment; whether the channel took it.
    pub(super) async fn write(&mut self, bytes: impl Into<Bytes>) -> bool {
        let open = self.segment();
        open.piece(bytes.into()).await;
        open.end().await
    }

    fn open(&mut self) -> Open {
        let url = format!("{}/{}", self.url, self.next);
        self.next += 1;
        self.trickle.open(url, self.kind)
    }
}

// === impl Open ===

impl Open {
    /// A piece that cannot be sent any more is lost, as its segment is.
    pub(super) async fn piece(&self, bytes: Bytes) {
        let _ = self.send.send(bytes).await;
    }

    /// Ends the segment: whether the channel took it and goes on.
    pub(super) async fn end(self) -> bool {
        drop(self.send);
        self.answered.await.unwrap_or(false)
    }
}
