//! Registration: a worker's stream of notices, which never ends by accident.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::Status;
use tonic::server::Grpc;

use super::{Plane, reply};
use crate::domain::ids::{Address, TaskId};
use crate::domain::outcome::Failure;
use crate::pool::ai::{AiJoin, AiRequest, Road};
use crate::pool::{Join, Knock, Order, Refusal, Seated, Worker};
use crate::telemetry;
use crate::transport::{Body, ConnectionInfo};
use crate::wire::ai::write_job;
use crate::wire::messages::{
    BadWire, MOST_AI_NOTICE, RawCodec, end_session, patch_notice, read_ai_register, read_register, write_ai_notice,
};

/// A stock transcoder's registration is under 300 bytes.
const MOST_MESSAGE: usize = 64 << 10;
/// An AI worker's lists its models and GPUs.
const MOST_AI_MESSAGE: usize = 512 << 10;
const RESTARTING: &str = "The pool is restarting; come back.";
const OUR_FAULT: &str = "A fault of ours; come back.";

/// Which of the two services a worker registers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Transcoder,
    AiWorker,
}

/// Answers one registration.
struct Registrar {
    plane: Arc<Plane>,
    service: Service,
    info: ConnectionInfo,
    /// `host:port` under which the worker reaches us.
    reach: Arc<str>,
}

/// What a registered worker is told. Ends only by a status of ours: dropped, it would reach
/// a stock worker as `Canceled` and retire it.
struct Notices {
    plane: Arc<Plane>,
    reach: Arc<str>,
    state: State,
}

enum State {
    Seated { worker: Worker, seat: Seated },
    Refused(Status),
    Ended,
}

pub(super) async fn register(
    plane: Arc<Plane>,
    info: ConnectionInfo,
    service: Service,
    request: Request<Incoming>,
) -> Response<Body> {
    let reach = reach(&plane, &info, &request);
    let within = plane.edge.authenticate_within;
    let registrar = Registrar { plane, service, info, reach };
    let most = service.most_message();
    let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(most);
    match tokio::time::timeout(within, grpc.server_streaming(registrar, request)).await {
        // What tonic says of a message that is too long is not what a limit is called.
        Ok(response) if response.headers().get("grpc-status").is_some_and(|code| code == "11") => {
            reply::grpc(Status::resource_exhausted(format!("a registration has {most} bytes at most")))
        }
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(_) => reply::grpc(Status::unavailable("the registration did not arrive in time; try again")),
    }
}

fn reach(plane: &Plane, info: &ConnectionInfo, request: &Request<Incoming>) -> Arc<str> {
    if let Some(address) = &plane.config.public_address {
        return address.as_str().into();
    }
    match request.uri().authority() {
        Some(dialled) if !dialled.as_str().contains('@') => dialled.as_str().into(),
        _ => info.local.to_string().into(),
    }
}

// === impl Service ===

impl Service {
    fn most_message(self) -> usize {
        match self {
            Service::Transcoder => MOST_MESSAGE,
            Service::AiWorker => MOST_AI_MESSAGE,
        }
    }
}

// === impl Registrar ===

impl Registrar {
    fn seat(&self, message: &Bytes) -> Result<(Worker, Seated), Status> {
        match self.service {
            Service::Transcoder => self.seat_transcoder(message),
            Service::AiWorker => self.seat_ai_worker(message),
        }
    }

    fn seat_transcoder(&self, message: &Bytes) -> Result<(Worker, Seated), Status> {
        let register = read_register(message).map_err(|bad| self.unreadable(&bad))?;
        let worker = self.login(&register.secret, register.ethereum_address)?;
        let join = Join { capacity: register.capacity, caps: register.capabilities, peer: self.info.peer };
        let seat = self.plane.pool.join(&worker, join).map_err(|refusal| self.refuse(&refusal))?;
        Ok((worker, seat))
    }

    fn seat_ai_worker(&self, message: &Bytes) -> Result<(Worker, Seated), Status> {
        let register = read_ai_register(message).map_err(|bad| self.unreadable(&bad))?;
        let worker = self.login(&register.secret, register.ethereum_address)?;
        let join = AiJoin {
            models: register.models,
            version: register.version,
            hardware: register.hardware,
            peer: self.info.peer,
            road: Road::Worker,
        };
        let seat = self.plane.pool.join_ai(&worker, join).map_err(|refusal| self.refuse(&refusal))?;
        Ok((worker, seat))
    }

    fn login(&self, secret: &str, named: Option<Address>) -> Result<Worker, Status> {
        let knock = Knock { secret, named, peer: self.info.peer.ip() };
        let worker = self.plane.pool.login(knock).map_err(|refusal| self.refuse(&refusal))?;
        self.info.authenticated();
        Ok(worker)
    }

    fn refuse(&self, refusal: &Refusal) -> Status {
        reply::refusal(refusal, self.plane.config.help_url.as_deref())
    }

    fn unreadable(&self, bad: &BadWire) -> Status {
        let help = self.plane.config.help_url.as_deref();
        match bad.is_limit() {
            true => Status::resource_exhausted(reply::sentence(&bad.to_string(), help)),
            false => reply::goodbye(&bad.to_string(), help),
        }
    }
}

impl tower_service::Service<tonic::Request<Bytes>> for Registrar {
    type Response = tonic::Response<Notices>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    /// Always a stream: a refusal is its first item, since stock orchestrators send refusals in
    /// trailers that follow headers.
    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let message = request.into_inner();
        let seated = catch_unwind(AssertUnwindSafe(|| self.seat(&message)));
        let state = match seated {
            Ok(Ok((worker, seat))) => State::Seated { worker, seat },
            Ok(Err(status)) => State::Refused(status),
            Err(_) => {
                telemetry::panicked("registration");
                State::Refused(Status::unavailable(OUR_FAULT))
            }
        };
        let notices = Notices { plane: self.plane.clone(), reach: self.reach.clone(), state };
        std::future::ready(Ok(tonic::Response::new(notices)))
    }
}

// === impl Notices ===

impl Notices {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let help = self.plane.config.help_url.as_deref();
        let (worker, seat) = match &mut self.state {
            State::Seated { worker, seat } => (worker, seat),
            State::Refused(status) => {
                let status = status.clone();
                self.state = State::Ended;
                return Poll::Ready(Some(Err(status)));
            }
            State::Ended => return Poll::Ready(None),
        };
        let status = loop {
            let notice = match std::task::ready!(seat.poll_next(cx)) {
                // Transcoders and AI workers sit at two tables: neither is given the other's orders.
                Some(Order::Segment { message, task, key }) => {
                    segment(&self.plane, worker, &self.reach, &message, task, &key)
                }
                Some(Order::Ai { request, task, key, .. }) => {
                    ai_job(&self.plane, worker, &self.reach, &request, task, &key)
                }
                Some(Order::EndSession { session, message }) => Some(message.unwrap_or_else(|| end_session(&session))),
                Some(Order::Goodbye(why)) => break reply::goodbye(&why, help),
                Some(Order::Revoked) => break reply::refusal(&Refusal::InvalidSecret, help),
                None => break reply::goodbye(RESTARTING, help),
            };
            if let Some(notice) = notice {
                return Poll::Ready(Some(Ok(notice)));
            }
        };
        self.state = State::Ended;
        Poll::Ready(Some(Err(status)))
    }
}

/// None: it cannot be told, and goes on at once instead of by its time-out.
fn segment(plane: &Plane, worker: &Worker, reach: &str, message: &Bytes, task: TaskId, key: &str) -> Option<Bytes> {
    let url = format!("https://{reach}/segment/{key}");
    match patch_notice(message, &url, task.0) {
        Ok(notice) => Some(notice),
        Err(error) => {
            telemetry::fault("notice", format!("task {task}: {error}"));
            if let Ok(claim) = plane.pool.claim(worker, task) {
                claim.broken("the segment's message could not be relayed");
            }
            None
        }
    }
}

/// The same for an AI job.
fn ai_job(plane: &Plane, worker: &Worker, reach: &str, request: &AiRequest, task: TaskId, key: &str) -> Option<Bytes> {
    let url = request.file.as_ref().map(|_| format!("https://{reach}/input/{key}")).unwrap_or_default();
    let notice = write_ai_notice(task.0, request.key.pipeline, &write_job(&url, &request.json));
    if notice.len() <= MOST_AI_NOTICE {
        return Some(notice);
    }
    // It would break the worker's stream.
    telemetry::fault("notice", format!("task {task}: {} bytes", notice.len()));
    if let Ok(claim) = plane.pool.ai_claim(worker, task) {
        claim.failed(Failure::InputError(format!("the request is longer than {MOST_AI_NOTICE} bytes")));
    }
    None
}

impl Stream for Notices {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        unless_panicked(|| self.poll(cx)).unwrap_or_else(|status| {
            self.state = State::Ended;
            Poll::Ready(Some(Err(status)))
        })
    }
}

/// A panic would drop the stream, and h2 would reset it by CANCEL, which ends a stock worker for
/// good: it becomes a status that makes the worker come back.
pub(super) fn unless_panicked<T>(poll: impl FnOnce() -> T) -> Result<T, Status> {
    catch_unwind(AssertUnwindSafe(poll)).map_err(|_| {
        telemetry::panicked("registration");
        Status::unavailable(OUR_FAULT)
    })
}
