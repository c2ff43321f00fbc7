//! One connection's life: requests are counted, strangers and idlers leave, floods are cut.
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::door::{EdgeStats, Stranger};
use super::limits::EdgeLimits;
use super::meter::Gauge;
use super::{Body, BoxError, Tasks, full};
use crate::telemetry;

/// A request's connection; every request carries it in its extensions.
#[derive(Clone)]
pub struct ConnectionInfo {
    pub peer: SocketAddr,
    /// Our own end of it.
    pub local: SocketAddr,
    state: Arc<State>,
}

struct State {
    authenticated: watch::Sender<bool>,
    place: Mutex<Option<Stranger>>,
    requests: Mutex<Requests>,
}

/// Requests whose answer is not yet out, and since when their number has not changed.
#[derive(Clone, Copy)]
struct Requests {
    open: u32,
    since: Instant,
}

/// Counts a request until its answer's body is out.
struct Open(Arc<State>);

/// A body that keeps its request counted.
struct Tracked {
    body: Body,
    _open: Open,
}

/// A hyper connection of either version.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    fn leave(self: Pin<&mut Self>);
}

/// What ends a connection besides its peer.
pub(super) struct Watchman<'a> {
    pub(super) limits: &'a EdgeLimits,
    pub(super) info: &'a ConnectionInfo,
    pub(super) gauge: &'a Gauge,
    pub(super) tasks: &'a Tasks,
    pub(super) stats: &'a EdgeStats,
    pub(super) version: Version,
    pub(super) accepted: Instant,
}

enum Check {
    Again(Instant),
    /// Say so and close.
    Leave,
    Cut,
}

/// Between GOAWAY and the end of the socket when we do not wait for running requests.
const FAREWELL: Duration = Duration::from_millis(500);
/// A stranger's request over the limit waits so long for one of the others to prove itself.
const STRANGER_WAIT: Duration = Duration::from_secs(1);

// === impl ConnectionInfo ===

impl ConnectionInfo {
    pub(super) fn new(peer: SocketAddr, local: SocketAddr, place: Stranger) -> ConnectionInfo {
        let state = State {
            authenticated: watch::Sender::new(false),
            place: Mutex::new(Some(place)),
            requests: Mutex::new(Requests { open: 0, since: Instant::now() }),
        };
        ConnectionInfo { peer, local, state: Arc::new(state) }
    }

    /// A valid credential was shown: the limits on strangers no longer hold.
    pub fn authenticated(&self) {
        if !self.state.authenticated.send_replace(true) {
            *self.state.place.lock() = None;
        }
    }

    pub fn is_authenticated(&self) -> bool {
        *self.state.authenticated.borrow()
    }

    fn begin(&self) -> Open {
        self.state.change(1);
        Open(self.state.clone())
    }

    fn requests(&self) -> Requests {
        *self.state.requests.lock()
    }

    /// Whether one more request may be looked at. Several results may arrive on a new
    /// connection at once: they wait for the first to prove the worker.
    async fn admits(&self, limits: &EdgeLimits) -> bool {
        if self.is_authenticated() || self.requests().open <= limits.h2_streams_unauthenticated {
            return true;
        }
        let mut known = self.state.authenticated.subscribe();
        tokio::time::timeout(STRANGER_WAIT, known.wait_for(|known| *known)).await.is_ok()
    }
}

impl std::fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionInfo").field("peer", &self.peer).finish_non_exhaustive()
    }
}

// === impl State ===

impl State {
    fn change(&self, by: i32) {
        let mut requests = self.requests.lock();
        requests.open = requests.open.saturating_add_signed(by);
        requests.since = Instant::now();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(-1);
    }
}

// === impl Tracked ===

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Answers one request, whatever its handler does.
pub(super) async fn answer<H, F>(
    handler: H,
    info: ConnectionInfo,
    limits: Arc<EdgeLimits>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let open = info.begin();
    let response = if request.headers().len() > limits.h1_fields {
        plain(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields")
    } else if !info.admits(&limits).await {
        plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests before a valid credential")
    } else {
        request.extensions_mut().insert(info);
        // A panic here would reset the stream, which ends a stock worker for good.
        match AssertUnwindSafe(async { handler(request).await }).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                telemetry::panicked("request");
                plain(StatusCode::SERVICE_UNAVAILABLE, "a fault of ours; try again")
            }
        }
    };
    use http_body_util::BodyExt;
    Ok(response.map(|body| Tracked { body, _open: open }.boxed_unsync()))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}

// === impl Watchman ===

impl Watchman<'_> {
    /// Runs the connection to its end. Dropping it then closes the socket without a word to
    /// streams that are still open: for a stock worker that is a lost connection, never a cancel.
    pub(super) async fn drive<C: Graceful>(&self, mut connection: Pin<&mut C>) {
        let (stop, cut) = (self.tasks.token(), self.tasks.cut());
        let mut leaving = false;
        let mut end: Option<Instant> = None;
        let mut shed = std::pin::pin!(self.stats.pressure.sheds_strangers());
        let mut wake = self.accepted + self.limits.authenticate_within;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        telemetry::connection_ended(self.info.peer, &error);
                    }
                    return;
                }
                () = cut.cancelled() => return,
                () = stop.cancelled(), if !leaving => {
                    leaving = true;
                    connection.as_mut().leave();
                }
                () = self.gauge.flooded(), if end.is_none() => {
                    EdgeStats::count(&self.stats.floods, "flood");
                    telemetry::flooded(self.info.peer);
                    connection.as_mut().leave();
                    end = Some(Instant::now() + FAREWELL);
                }
                () = &mut shed, if !self.info.is_authenticated() => {
                    if !self.info.is_authenticated() {
                        EdgeStats::count(&self.stats.no_memory, "no_memory");
                        return;
                    }
                }
                () = tokio::time::sleep_until(end.unwrap_or(wake)) => {
                    if end.is_some() {
                        return;
                    }
                    match self.check() {
                        Check::Again(at) => wake = at,
                        Check::Cut => return,
                        Check::Leave => {
                            connection.as_mut().leave();
                            end = Some(Instant::now() + FAREWELL);
                        }
                    }
                }
            }
        }
    }

    fn check(&self) -> Check {
        let now = Instant::now();
        let requests = self.info.requests();
        if !self.info.is_authenticated() && now >= self.accepted + self.limits.authenticate_within {
            EdgeStats::count(&self.stats.never_authenticated, "never_authenticated");
            return Check::Leave;
        }
        let idle_at = requests.since + self.limits.idle;
        match requests.open {
            0 if now >= idle_at => Check::Leave,
            // Over HTTP/1.1 there are downloads only, and nothing that finds a dead peer.
            1.. if self.version != Version::HTTP_2 && now >= idle_at => Check::Cut,
            0 => Check::Again(idle_at),
            _ => Check::Again(now + self.limits.idle),
        }
    }
}
