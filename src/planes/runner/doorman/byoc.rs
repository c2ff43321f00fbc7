//! A BYOC job: to a runner that has the capability, at `<its url>/<rest>`; an orchestrator survives
//! whatever becomes of it.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use super::guard::lost;
use super::{Shared, streams};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::{Epoch, OrchestratorName};
use crate::domain::ledger::AiDoor;
use crate::domain::outcome::Failure as Lost;
use crate::domain::time::Moment;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::{Decision, End, Failure, FailureKind, Forward, Guard, Passing, Verdict};
use crate::planes::runner::public::{Busy, Found};
use crate::planes::runner::route::Manner;
use crate::pool::Upstream;
use crate::pool::ai::{AiAttempt, AiTicket, NewAiJob, Passed, Roads};

#[cfg(test)]
#[path = "byoc_tests.rs"]
mod tests;

/// What ends a stream of events for an orchestrator: without it, it goes on until the caller leaves.
const DONE: &[u8] = b"[DONE]";
const LAST_EVENT: &[u8] = b"data: [DONE]\n\n";

/// What stays the same over the attempts of one job.
struct Course {
    shared: Arc<Shared>,
    /// Below the runner's address.
    path: String,
    /// What the last runner said or did.
    last: Option<Lost>,
    _busy: Busy,
}

struct JobGuard {
    inner: Option<Inner>,
    began: Moment,
    status: StatusCode,
    events: Option<Events>,
    bytes_in: u64,
    bytes_out: u64,
}

struct Inner {
    course: Course,
    ticket: AiTicket,
    attempt: AiAttempt,
}

/// Looks for the last event in a stream.
#[derive(Default)]
struct Events {
    /// The last bytes so far.
    tail: Vec<u8>,
    done: bool,
}

pub(super) async fn admit(
    shared: &Arc<Shared>,
    segment: &str,
    rest: &str,
    head: &Parts,
    body: Option<Bytes>,
) -> Decision {
    if head.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "a capability takes POST only");
    }
    let Some(found) = shared.public.find(Pipeline::Byoc, segment) else {
        return refuse(StatusCode::NOT_FOUND, "no such capability here");
    };
    if let Some(word) = streams::Word::of(rest, &head.headers) {
        return streams::admit(shared, found, word, body).await;
    }
    let Some(path) = below(rest, head) else { return refuse(StatusCode::BAD_REQUEST, "a path that climbs") };
    let ticket = match submit(shared, &found, false) {
        Ok(ticket) => ticket,
        Err(failure) => return answer(&failure),
    };
    let busy = shared.public.busy(&found.name);
    next(Course { shared: shared.clone(), path, last: None, _busy: busy }, ticket).await
}

pub(super) fn submit(shared: &Shared, found: &Found, endless: bool) -> Result<AiTicket, Lost> {
    shared.pool.submit_ai(job(shared, Pipeline::Byoc, &found.name, &found.orchestrator, endless))
}

fn job(shared: &Shared, pipeline: Pipeline, name: &str, of: &OrchestratorName, endless: bool) -> NewAiJob {
    NewAiJob {
        key: ModelKey::new(pipeline, name),
        door: AiDoor::Byoc,
        orchestrator: of.clone(),
        epoch: Epoch("runner".into()),
        upstream_task: 0,
        session: None,
        roads: Roads { worker: false, runner: true },
        stream: false,
        files: false,
        min_version: String::new(),
        wait: shared.config.short_wait,
        endless,
    }
}

async fn next(mut course: Course, mut ticket: AiTicket) -> Decision {
    loop {
        let attempt = match ticket.lease().await {
            Ok(attempt) => attempt,
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
        return Decision::Forward(Forward {
            upstream,
            path: Some(runner.below(&course.path)),
            token: runner.config.token.clone(),
            passing: Passing::Stream,
            body: None,
            silence: None,
            guard: Box::new(JobGuard {
                began: course.shared.pool.clock().now(),
                inner: Some(Inner { course, ticket, attempt }),
                status: StatusCode::OK,
                events: None,
                bytes_in: 0,
                bytes_out: 0,
            }),
        });
    }
}

/// Path and query below the runner's address. None: it would lead out of there.
pub(super) fn below(rest: &str, head: &Parts) -> Option<String> {
    let climbs = |part: &str| part.replace("%2e", ".").replace("%2E", ".") == "..";
    if rest.split('/').any(climbs) {
        return None;
    }
    Some(match head.uri.query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    })
}

/// A runner's answer that another one may better; a 401 would cost the capability.
pub(super) fn is_bad(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS)
}

/// In JSON, with a status that tells the caller whether to come again.
pub(super) fn answer(failure: &Lost) -> Decision {
    let (status, why) = match failure {
        Lost::Busy | Lost::NoWorker(_) => (503, "no worker of the pool is free for this now"),
        Lost::Pool(_) | Lost::Source(_) => (503, "the pool cannot take this now"),
        Lost::Timeout => (504, "the worker did not answer in time"),
        Lost::Disconnected => (502, "the worker's connection ended"),
        Lost::BadUpload(_) | Lost::Refused(_) => (502, "the worker's answer broke off"),
        Lost::WorkerError(why) => (502, why.as_str()),
        Lost::InputError(why) => (400, why.as_str()),
    };
    refuse(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), why)
}

pub(super) fn refuse(status: StatusCode, why: &str) -> Decision {
    Decision::Answer(Answer::fault(Manner::Plain, status, why))
}

/// Started ones, at least one.
pub(super) fn seconds(from: Moment, to: Moment) -> u64 {
    u64::try_from(to.since(from).as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Guard for JobGuard {
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        self.status = status;
        if is_bad(status) {
            return Verdict::Refuse(format!("the worker answered {}", status.as_u16()));
        }
        if let Some(inner) = &self.inner {
            inner.attempt.first_byte();
        }
        let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        if memchr::memmem::find(kind, b"text/event-stream").is_some() {
            self.events = Some(Events::default());
            return Verdict::Rewrite;
        }
        Verdict::Pass
    }

    fn sent(&mut self, bytes: &Bytes) {
        self.bytes_in += bytes.len() as u64;
    }

    fn received(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        self.bytes_out += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if let Some(events) = &mut self.events {
            events.pass(chunk, end);
        }
        Ok(())
    }

    fn last_words(&mut self) -> Option<Bytes> {
        let events = self.events.as_mut().filter(|events| !events.done)?;
        // What was cut off may have been half a line.
        events.tail = b"?".to_vec();
        Some(events.end())
    }

    async fn failed(mut self: Box<Self>, why: Failure) -> Decision {
        let Some(Inner { mut course, mut ticket, attempt }) = self.inner.take() else { return Decision::Close };
        let task = attempt.task();
        let failure = attempt.lost(lost(Pipeline::Byoc, &why));
        if why.again && ticket.again(task, &failure) {
            course.last = Some(failure);
            return next(course, ticket).await;
        }
        ticket.fail(failure.clone());
        match why.kind {
            // Its own word tells the gateway more than that there was none.
            FailureKind::Answered(status) if status.is_server_error() => refuse(status, &why.text),
            _ => answer(&failure),
        }
    }

    fn finished(mut self: Box<Self>, end: End) {
        let Some(Inner { course, mut ticket, attempt }) = self.inner.take() else { return };
        let all_out = self.events.as_ref().is_some_and(|events| events.done);
        let said = self.status.as_u16() <= 399;
        match end {
            _ if said && (end == End::Whole || all_out) => {
                let units = seconds(self.began, course.shared.pool.clock().now());
                let (bytes_in, bytes_out) = (self.bytes_in, self.bytes_out);
                ticket.passed(attempt, Passed { usage: None, bytes_in, bytes_out, scored: true }, Some(units));
                ticket.close(&Upstream::Accepted);
            }
            End::Whole => {
                attempt.lost(Lost::InputError(format!("the worker answered {}", self.status.as_u16())));
            }
            // Dropped: nobody's fault.
            End::ClientLeft => {}
            End::Cut(why) => {
                attempt.lost(Lost::BadUpload(why));
            }
        }
    }
}

// === impl Events ===

impl Events {
    fn pass(&mut self, chunk: &mut Option<Bytes>, end: bool) {
        if let Some(bytes) = chunk {
            // The word may lie across two pieces.
            let mut seam = std::mem::take(&mut self.tail);
            seam.extend_from_slice(&bytes[..bytes.len().min(DONE.len())]);
            let found = |text: &[u8]| memchr::memmem::find(text, DONE).is_some();
            self.done = self.done || found(&seam) || found(bytes);
            let keep = DONE.len() - 1;
            if bytes.len() >= keep {
                seam.clear();
                seam.extend_from_slice(&bytes[bytes.len() - keep..]);
            } else if seam.len() > keep {
                seam.drain(..seam.len() - keep);
            }
            self.tail = seam;
        }
        if end && !(self.done && self.tail.ends_with(b"\n")) {
            let mut all = BytesMut::from(chunk.take().unwrap_or_default().as_ref());
            all.extend_from_slice(&self.end());
            *chunk = Some(all.freeze());
        }
    }

    /// What is missing at the end.
    fn end(&mut self) -> Bytes {
        let open = !self.tail.is_empty() && !self.tail.ends_with(b"\n\n") && !self.tail.ends_with(b"\n\r\n");
        let mut end = if open { b"\n\n".to_vec() } else { Vec::new() };
        if !self.done {
            end.extend_from_slice(LAST_EVENT);
        }
        end.into()
    }
}
