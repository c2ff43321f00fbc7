//! A request to an app: any method, events and WebSockets; a session's requests go to one runner.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use subtle::ConstantTimeEq;

use super::Shared;
use super::byoc::{answer, below, refuse};
use super::guard::lost;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::{Epoch, SessionKey};
use crate::domain::ledger::AiDoor;
use crate::domain::outcome::Failure as Lost;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::{Decision, End, Failure, FailureKind, Forward, Guard, Passing, Verdict};
use crate::planes::runner::live::sessions::Visit;
use crate::planes::runner::live::{HEALTH, LiveMode, PriceUnit};
use crate::planes::runner::public::Found;
use crate::pool::Upstream;
use crate::pool::ai::{AiAttempt, AiTicket, NewAiJob, Passed, Roads};
use crate::telemetry;

const SESSION: &str = "livepeer-session-id";
const LONGEST_SESSION: usize = 256;
/// A static runner's orchestrator does not say when a session ends: one that is quiet for so long
/// makes room for a new one.
const QUIET: Duration = Duration::from_secs(10);

struct Course {
    shared: Arc<Shared>,
    /// Below the runner's address.
    path: String,
    /// Asked twice it does no more than once.
    harmless: bool,
    /// The session ends with the request.
    once: bool,
    unit: PriceUnit,
    visit: Visit,
    last: Option<Lost>,
}

struct VisitGuard {
    inner: Option<Inner>,
    /// None: no answer yet.
    status: Option<StatusCode>,
    bytes_in: u64,
    bytes_out: u64,
}

struct Inner {
    course: Course,
    ticket: AiTicket,
    attempt: AiAttempt,
}

pub(super) async fn admit(shared: &Arc<Shared>, segment: &str, rest: &str, head: &Parts) -> Decision {
    let found = shared.public.find(Pipeline::App, segment).filter(|found| found.keyed || shared.shows_token(head));
    let Some(found) = found else { return refuse(StatusCode::NOT_FOUND, "no such app here") };
    if rest == HEALTH {
        return health(shared, &found);
    }
    let Some(path) = below(rest, head) else { return refuse(StatusCode::BAD_REQUEST, "a path that climbs") };
    let config = shared.public.apps.iter().find(|one| one.app == found.name);
    let named = head.headers.get(SESSION).and_then(|id| id.to_str().ok());
    let named = named.filter(|id| !id.is_empty() && id.len() <= LONGEST_SESSION);
    let session = match named {
        Some(id) => id.into(),
        None => format!("request {:032x}", rand::random::<u128>()).into(),
    };
    let key = SessionKey { orchestrator: found.orchestrator.clone(), session };
    let Some(visit) = shared.public.sessions.visit(key, &found.name, shared.pool.clock()) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many sessions");
    };
    let course = Course {
        shared: shared.clone(),
        path,
        harmless: matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS),
        once: named.is_none() || config.is_some_and(|one| one.mode == LiveMode::SingleShot),
        unit: config.map_or(PriceUnit::Hour, |one| one.unit),
        visit,
        last: None,
    };
    match submit(shared, &found, &course) {
        Ok(ticket) => next(course, ticket).await,
        Err(failure) => answer(&failure),
    }
}

/// As long as the pool has the app, or had it a moment ago: one miss would release every session.
fn health(shared: &Shared, found: &Found) -> Decision {
    let key = ModelKey::new(Pipeline::App, &found.name);
    match shared.public.presence.lately(&key, shared.public.times.health_grace) {
        true => Decision::Answer(Answer::json(StatusCode::OK, r#"{"status":"OK"}"#)),
        false => refuse(StatusCode::SERVICE_UNAVAILABLE, "the pool has no runner of this app"),
    }
}

fn submit(shared: &Shared, found: &Found, course: &Course) -> Result<AiTicket, Lost> {
    shared.pool.submit_ai(NewAiJob {
        key: ModelKey::new(Pipeline::App, &found.name),
        door: AiDoor::Live,
        orchestrator: found.orchestrator.clone(),
        epoch: Epoch("runner".into()),
        upstream_task: 0,
        session: Some(course.visit.key().session.clone()),
        roads: Roads { worker: false, runner: true },
        stream: false,
        files: false,
        min_version: String::new(),
        wait: shared.config.short_wait,
        endless: true,
    })
}

async fn next(mut course: Course, mut ticket: AiTicket) -> Decision {
    loop {
        let attempt = match ticket.lease().await {
            Ok(attempt) => attempt,
            // A session that has a home never finds it full.
            Err(Lost::Busy) if course.makes_room() => continue,
            Err(none) => {
                let failure = course.last.take().unwrap_or(none);
                ticket.fail(failure.clone());
                return answer(&failure);
            }
        };
        let Some((upstream, runner)) = course.shared.upstream(&attempt) else {
            let task = attempt.task();
            let failure = attempt.lost(Lost::Disconnected);
            if ticket.again(task, &failure) {
                continue;
            }
            ticket.fail(failure.clone());
            return answer(&failure);
        };
        course.visit.goes_to(attempt.worker());
        return Decision::Forward(Forward {
            upstream,
            path: Some(runner.below(&course.path)),
            token: runner.config.token.clone(),
            passing: Passing::All,
            body: None,
            silence: Some(course.shared.public.times.stream_idle),
            guard: Box::new(VisitGuard {
                inner: Some(Inner { course, ticket, attempt }),
                status: None,
                bytes_in: 0,
                bytes_out: 0,
            }),
        });
    }
}

// === impl Course ===

impl Course {
    /// Ends a session that is quiet for long: an orchestrator counts its sessions, and would not
    /// send one more if it still had that one.
    fn makes_room(&self) -> bool {
        let shared = &self.shared;
        let app = self.visit.app();
        let Some(old) = shared.public.sessions.oldest_idle(&app, QUIET, shared.pool.clock().now()) else {
            return false;
        };
        telemetry::runner_session_ended("app", "quiet");
        shared.pool.end_ai_session(&old);
        true
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if self.once {
            self.visit.last();
            self.shared.pool.end_ai_session(self.visit.key());
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Whoever comes by an address without a key.
    fn shows_token(&self, head: &Parts) -> bool {
        let Some(token) = &self.public.token else { return true };
        let shown = head.headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        shown.strip_prefix(b"Bearer ").unwrap_or_default().ct_eq(token.as_bytes()).into()
    }
}

#[async_trait]
impl Guard for VisitGuard {
    fn answered(&mut self, status: StatusCode, _headers: &HeaderMap) -> Verdict {
        self.status = Some(status);
        if let Some(inner) = &self.inner {
            inner.attempt.first_byte();
        }
        Verdict::Pass
    }

    fn sent(&mut self, bytes: &Bytes) {
        self.bytes_in += bytes.len() as u64;
    }

    fn received(&mut self, chunk: &mut Option<Bytes>, _end: bool) -> Result<(), String> {
        self.bytes_out += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match &self.inner {
            Some(inner) if inner.course.visit.stop.is_cancelled() => Err("the session has ended".into()),
            _ => Ok(()),
        }
    }

    async fn failed(mut self: Box<Self>, why: Failure) -> Decision {
        let Some(Inner { mut course, mut ticket, attempt }) = self.inner.take() else { return Decision::Close };
        let task = attempt.task();
        let unsent = matches!(why.kind, FailureKind::Connect | FailureKind::Pin);
        let failure = attempt.lost(lost(Pipeline::App, &why));
        if why.again && (unsent || course.harmless) && ticket.again(task, &failure) {
            course.last = Some(failure);
            return next(course, ticket).await;
        }
        ticket.fail(failure.clone());
        answer(&failure)
    }

    fn finished(mut self: Box<Self>, end: End) {
        let Some(Inner { course, mut ticket, attempt }) = self.inner.take() else { return };
        // Nobody was answered: nobody's fault.
        let Some(status) = self.status else { return };
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
        match end {
            _ if status.as_u16() > 399 => {
                attempt.lost(Lost::InputError(format!("the runner answered {}", status.as_u16())));
            }
            // A socket ends as it likes.
            End::Cut(why) if !upgraded => {
                attempt.lost(Lost::BadUpload(why));
            }
            // A client leaves events when it has enough of them.
            _ => {
                let units = course.visit.due(course.unit);
                let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
                ticket.passed(attempt, Passed { usage: None, bytes_in, bytes_out, scored: false }, Some(units));
                ticket.close(&Upstream::Accepted);
            }
        }
    }
}
