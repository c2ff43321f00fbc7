//! One registration stream: connect, register, read notices until it ends.
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep, timeout};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tower_service::Service;

use super::registration::{Kind, Registration};
use super::slot::Seat;
use super::status::Side;
use super::{Uplink, ai, notice};
use crate::domain::ids::Epoch;
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::{HalfClose, Io, Speak, driven};
use crate::wire::headers::INVALID_SECRET;
use crate::wire::messages::RawCodec;

/// A registration that was not refused for so long stands: orchestrators give no sign of success,
/// and send headers only with the first task.
pub(super) const UP_AFTER: Duration = Duration::from_millis(500);
/// Between two registrations at one orchestrator. With `-maxSessions auto` it sets its limit to
/// what it had and what is new, without a lock: of registrations at once it forgets some until the
/// next change.
const APART: Duration = Duration::from_millis(50);
/// After the last word of ours, wait so long for theirs.
const LAST_NOTICES: Duration = Duration::from_secs(2);
/// Go's default.
const MOST_MESSAGE: usize = 4 << 20;
const WINDOW: u32 = 1 << 20;
const HEADER_LIST: u32 = 16 << 10;

/// An AI registration that the orchestrator ends with OK so soon was never taken.
const SILENT: Duration = Duration::from_secs(3);

/// Why a registration ended.
pub(super) enum End {
    /// It stood, and the orchestrator or the network ended it (or we did).
    Lost(String),
    /// It never stood.
    Failed(String),
    Secret,
    /// It runs its own of this kind.
    OwnWorkers(Kind),
    /// It ended an AI registration at once, with OK: our version is too low for it.
    Silent,
}

/// hyper's connection as tonic wants it.
pub(super) struct Channel(pub(super) SendRequest<Body>);

/// Registers and reads notices until the stream ends or `seat.stop` says so.
pub(super) async fn run(uplink: &Arc<Uplink>, registration: &Registration, seat: &Seat) -> End {
    let connected = tokio::select! {
        () = seat.stop.cancelled() => return End::Failed("stopped".into()),
        connected = connect(uplink) => connected,
    };
    let (sender, connection, half_close, epoch) = match connected {
        Ok(connected) => connected,
        Err(why) => return End::Failed(why),
    };
    let turn = tokio::select! {
        () = seat.stop.cancelled() => return End::Failed("stopped".into()),
        turn = uplink.turn.lock() => turn,
    };
    let (kind, begun) = (registration.kind(), Instant::now());
    let mut driver = Some(connection);
    let listening = driven(&mut driver, listen(uplink, sender, registration, epoch, turn));
    let mut listening = pin!(listening);
    tokio::select! {
        ended = &mut listening => return refused(kind, ended),
        () = sleep(UP_AFTER) => {}
        () = seat.stop.cancelled() => {
            let _ = timeout(LAST_NOTICES, closing(&half_close, &mut listening)).await;
            return End::Failed("ended by us".into());
        }
    }
    let side = uplink.status.of(kind);
    let up = side.up(registration);
    seat.have.send_replace(Some(registration.clone()));
    side.came_up.notify_one();
    told(uplink, registration);
    let lost_last = || {
        if uplink.status.standing() <= 1 {
            uplink.epochs.all_lost();
        }
    };
    let ended = tokio::select! {
        ended = &mut listening => ended,
        () = seat.stop.cancelled() => {
            let _ = timeout(LAST_NOTICES, closing(&half_close, &mut listening)).await;
            lost_last();
            return End::Lost("ended by us".into());
        }
    };
    lost_last();
    drop(up);
    Side::count(&side.registrations_lost);
    telemetry::registration_lost(uplink.name());
    match ended {
        Ok(()) if kind == Kind::Ai && begun.elapsed() < SILENT => End::Silent,
        Ok(()) => End::Lost("the orchestrator ended the registration: it restarts, or a task was late there".into()),
        Err(status) => match refused(kind, Err(status)) {
            End::Failed(why) => End::Lost(why),
            end => end,
        },
    }
}

fn told(uplink: &Uplink, registration: &Registration) {
    match registration.kind() {
        Kind::Transcoder => telemetry::registered(uplink.name(), registration.capacity),
        Kind::Ai => telemetry::ai_registered(uplink.name(), registration.capacity),
    }
}

/// Says that we are leaving, and still reads what they sent before they saw it: no task is lost by
/// a change of registrations.
async fn closing<F: Future + Unpin>(half_close: &HalfClose, listening: F) {
    half_close.close();
    listening.await;
}

type Connection = http2::Connection<TokioIo<Io>, Body, Tasks>;
type Connected = (SendRequest<Body>, Connection, HalfClose, Epoch);

async fn connect(uplink: &Uplink) -> Result<Connected, String> {
    let config = &uplink.config;
    let dialled = uplink.dialer.dial(&uplink.origin, Speak::H2).await.map_err(|why| why.to_string())?;
    let epoch = uplink.saw(dialled.certificate);
    let half_close = dialled.io.half_close();
    let mut builder = http2::Builder::new(uplink.tasks.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(config.ping_every)
        .keep_alive_timeout(config.ping_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEADER_LIST);
    let shake = builder.handshake(TokioIo::new(dialled.io));
    match timeout(config.connect_timeout, shake).await {
        Ok(Ok((sender, connection))) => Ok((sender, connection, half_close, epoch)),
        Ok(Err(why)) => Err(format!("no HTTP/2 with {}: {}", dialled.peer, chain(&why))),
        Err(_) => Err(format!("no HTTP/2 with {} within {:?}", dialled.peer, config.connect_timeout)),
    }
}

/// Registers, then hands every notice on. No timeout: the call stays open without a word until the
/// first task.
async fn listen(
    uplink: &Arc<Uplink>,
    sender: SendRequest<Body>,
    registration: &Registration,
    epoch: Epoch,
    turn: MutexGuard<'_, ()>,
) -> Result<(), Status> {
    let origin = Uri::try_from(uplink.origin.to_string()).map_err(|why| Status::internal(why.to_string()))?;
    let mut grpc = Grpc::with_origin(Channel(sender), origin).max_decoding_message_size(MOST_MESSAGE);
    grpc.ready().await.map_err(|why| Status::unavailable(chain(&why)))?;
    let step = uplink.version_step.load(Relaxed);
    let request = registration.message(&uplink.orchestrator.secret, &uplink.config.fallback_version, step);
    let path = PathAndQuery::from_static(registration.path());
    let mut call = pin!(grpc.server_streaming::<Bytes, Bytes, _>(tonic::Request::new(request), path, RawCodec));
    let at_once = timeout(APART, &mut call).await;
    drop(turn);
    let answer = match at_once {
        Ok(answer) => answer?,
        Err(_) => call.await?,
    };
    let mut notices = answer.into_inner();
    while let Some(raw) = notices.message().await? {
        match registration.kind() {
            Kind::Transcoder => notice::take(uplink, raw, &epoch).await,
            Kind::Ai => ai::notice::take(uplink, raw, &epoch).await,
        }
    }
    Ok(())
}

/// Why a registration does not stand.
pub(super) fn refused(kind: Kind, ended: Result<(), Status>) -> End {
    let Err(status) = ended else {
        if kind == Kind::Ai {
            return End::Silent;
        }
        return End::Failed("the orchestrator ended the registration at once".into());
    };
    match status.code() {
        _ if status.message() == INVALID_SECRET => End::Secret,
        Code::Unimplemented => End::OwnWorkers(kind),
        code => {
            // With a cause it is the connection's word, and the code means nothing.
            let cause = std::error::Error::source(&status).map(chain);
            End::Failed(cause.unwrap_or_else(|| format!("{code:?}: {}", status.message())))
        }
    }
}

/// An error with its causes. Go's servers close a connection without TLS's goodbye: of one that
/// just ended, however the layers word it, that is all there is to say.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    if text.contains("close_notify") { "the connection ended".into() } else { text }
}

// === impl Channel ===

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

// === impl End ===

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Lost(why) | End::Failed(why) => f.write_str(why),
            End::Secret => f.write_str(
                "the orchestrator says `invalid secret`: set this orchestrator's `secret` to what its own -orchSecret says",
            ),
            End::OwnWorkers(Kind::Transcoder) => f.write_str(
                "the orchestrator takes no remote transcoders: it runs its own; start it without -transcoder, with -orchSecret",
            ),
            End::OwnWorkers(Kind::Ai) => f.write_str(
                "the orchestrator takes no remote AI workers: it runs its own; start it without -aiWorker, with -orchSecret",
            ),
            End::Silent => f.write_str(
                "the orchestrator ended the AI registration at once, as it does when our version is below its own: \
                 a higher one is stated next",
            ),
        }
    }
}
