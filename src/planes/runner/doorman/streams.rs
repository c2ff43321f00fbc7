//! BYOC streams: the runner that took the start gets all that follows, and its permit is held until
//! the stream's end is known.
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

use super::Shared;
use super::byoc::{answer, is_bad, refuse, seconds, submit};
use super::guard::lost;
use crate::domain::ai::Pipeline;
use crate::domain::ids::{ConnId, WorkerName};
use crate::domain::outcome::Failure as Lost;
use crate::domain::time::Moment;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::{Decision, End, Failure, Forward, Guard, Passing, Verdict};
use crate::planes::runner::public::{Busy, Found, Line, Said};
use crate::planes::runner::rewrite::STREAM_ID;
use crate::pool::ai::{AiAttempt, AiTicket, Passed};
use crate::pool::{Pool, Upstream};
use crate::telemetry;

/// Where an orchestrator's channels are.
const TRICKLE: &str = "/ai/trickle/";
const CLOSED: &str = "lp-trickle-closed";
const MOST_STREAMS: usize = 10_000;
const LONGEST_ID: usize = 256;

/// What is asked of a stream, and of which.
pub(super) struct Word {
    what: What,
    id: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Start,
    Params,
    Stop,
}

/// Streams that run, by capability and id. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Streams {
    all: Arc<Mutex<HashMap<Key, Stream>>>,
}

type Key = (Arc<str>, Arc<str>);

/// A stream that runs; settled when dropped.
struct Stream {
    held: Option<(AiTicket, AiAttempt)>,
    pool: Pool,
    runner: WorkerName,
    conn: ConnId,
    began: Moment,
    /// Something was heard of it.
    heard: Moment,
    /// Its runner was there.
    alive: Moment,
    /// Its control channel at the orchestrator; whether it was seen standing.
    channel: Option<(usize, String, bool)>,
    _busy: Busy,
}

struct Start {
    shared: Arc<Shared>,
    found: Found,
    key: Key,
    channel: Option<(usize, String, bool)>,
    last: Option<Lost>,
}

struct StartGuard {
    inner: Option<(Start, AiTicket, AiAttempt)>,
}

/// Of `params`, and of `stop`, which brings the stream along.
struct TellGuard {
    stream: Option<Stream>,
    reached: bool,
}

pub(super) async fn admit(shared: &Arc<Shared>, found: Found, word: Word, body: Option<Bytes>) -> Decision {
    let key: Key = (found.name.clone(), word.id.clone());
    match word.what {
        What::Start => {
            // A second start under the same id: the first one is over.
            drop(shared.streams.take(&key));
            if shared.streams.all.lock().len() >= MOST_STREAMS {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many streams");
            }
            let ticket = match submit(shared, &found, true) {
                Ok(ticket) => ticket,
                Err(failure) => return answer(&failure),
            };
            let channel = body.and_then(|body| channel(shared, &found, &word.id, &body));
            start(Start { shared: shared.clone(), found, key, channel, last: None }, ticket).await
        }
        What::Params => {
            let Some(runner) = shared.streams.heard(&key, shared.pool.clock().now()) else {
                return refuse(StatusCode::NOT_FOUND, "no such stream here");
            };
            tell(shared, &runner, "stream/params", None)
        }
        What::Stop => match shared.streams.take(&key) {
            Some(stream) => tell(shared, &stream.runner.clone(), "stream/stop", Some(stream)),
            // Over already: what was wanted is so.
            None => Decision::Answer(Answer::json(StatusCode::OK, r#"{"status":"ok"}"#)),
        },
    }
}

async fn start(mut start: Start, mut ticket: AiTicket) -> Decision {
    loop {
        let attempt = match ticket.lease().await {
            Ok(attempt) => attempt,
            Err(none) => {
                let failure = start.last.take().unwrap_or(none);
                ticket.fail(failure.clone());
                return answer(&failure);
            }
        };
        let Some((upstream, runner)) = start.shared.upstream(&attempt) else {
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
            path: Some(runner.below("stream/start")),
            token: runner.config.token.clone(),
            passing: Passing::Stream,
            body: None,
            silence: None,
            guard: Box::new(StartGuard { inner: Some((start, ticket, attempt)) }),
        });
    }
}

fn tell(shared: &Shared, name: &WorkerName, path: &str, stream: Option<Stream>) -> Decision {
    let runner = shared.runners.get(name);
    let Some((runner, upstream)) = runner.and_then(|runner| Some((runner.clone(), runner.upstream()?))) else {
        return answer(&Lost::Disconnected);
    };
    Decision::Forward(Forward {
        upstream,
        path: Some(runner.below(path)),
        token: runner.config.token.clone(),
        passing: Passing::Stream,
        body: None,
        silence: None,
        guard: Box::new(TellGuard { stream, reached: false }),
    })
}

/// The stream's control channel, by its place among the orchestrators and its path there. Only the
/// orchestrator's own: a caller may name another in its place.
fn channel(shared: &Shared, found: &Found, id: &str, body: &[u8]) -> Option<(usize, String, bool)> {
    let asked: serde_json::Value = serde_json::from_slice(body).ok()?;
    let url: http::Uri = asked.get("control_url")?.as_str()?.parse().ok()?;
    let name = url.path().strip_prefix(TRICKLE)?;
    if name != format!("{id}-control") {
        return None;
    }
    let peer = shared.public.peers.iter().position(|peer| peer.name == found.orchestrator)?;
    Some((peer, url.path().to_owned(), false))
}

// === impl Word ===

impl Word {
    /// None: a job like any other.
    pub(super) fn of(rest: &str, headers: &HeaderMap) -> Option<Word> {
        let what = match rest {
            "stream/start" => What::Start,
            "stream/params" => What::Params,
            "stream/stop" => What::Stop,
            _ => return None,
        };
        let id = headers.get(STREAM_ID)?.to_str().ok().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
        Some(Word { what, id: id.into() })
    }
}

// === impl Streams ===

impl Streams {
    fn take(&self, key: &Key) -> Option<Stream> {
        self.all.lock().remove(key)
    }

    fn heard(&self, key: &Key, now: Moment) -> Option<WorkerName> {
        let mut all = self.all.lock();
        let stream = all.get_mut(key)?;
        stream.heard = now;
        Some(stream.runner.clone())
    }

    /// Ends streams whose runner is gone, whose channels are closed, or of which nothing is heard.
    pub(super) async fn watch(self, shared: Arc<Shared>) {
        let times = shared.public.times;
        let mut lines: Vec<Option<Line>> =
            shared.public.peers.iter().map(|peer| Line::new(peer, times.call).ok()).collect();
        let mut tick = tokio::time::interval(times.watch_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = shared.pool.clock().now();
            let mut asked = Vec::new();
            let mut over = Vec::new();
            {
                let mut all = self.all.lock();
                for (key, stream) in all.iter_mut() {
                    if !shared.pool.ai_seated(stream.conn) {
                        over.push((key.clone(), "runner"));
                        continue;
                    }
                    stream.alive = now;
                    if now.since(stream.heard) >= times.stream_idle {
                        over.push((key.clone(), "idle"));
                    } else if let Some((peer, path, _)) = &stream.channel {
                        asked.push((key.clone(), *peer, path.clone()));
                    }
                }
            }
            let mut silent = vec![false; lines.len()];
            for (key, peer, path) in asked {
                let (Some(Some(line)), Some(false)) = (lines.get_mut(peer), silent.get(peer)) else { continue };
                match line.get(&format!("{path}/next")).await {
                    Ok(said) if self.is_over(&key, &said, now) => over.push((key, "channels")),
                    Ok(_) => {}
                    // One that does not answer holds up nobody else's.
                    Err(_) => silent[peer] = true,
                }
            }
            for (key, why) in over {
                telemetry::runner_session_ended("stream", why);
                drop(self.take(&key));
            }
        }
    }

    /// Whether its channel stood and stands no more.
    fn is_over(&self, key: &Key, said: &Said, now: Moment) -> bool {
        let closed = said.status == StatusCode::NOT_FOUND || said.headers.contains_key(CLOSED);
        let mut all = self.all.lock();
        let Some(stream) = all.get_mut(key) else { return false };
        let Some((_, _, seen)) = &mut stream.channel else { return false };
        if said.status == StatusCode::OK && !closed {
            (*seen, stream.heard) = (true, now);
        }
        closed && *seen
    }

    /// Settles all.
    pub(super) fn end(&self) {
        let mut all: Vec<Stream> = self.all.lock().drain().map(|(_, stream)| stream).collect();
        for stream in &mut all {
            stream.alive = stream.pool.clock().now();
        }
    }
}

// === impl Stream ===

impl Drop for Stream {
    /// The runner worked until it was seen last.
    fn drop(&mut self) {
        let Some((mut ticket, attempt)) = self.held.take() else { return };
        let units = seconds(self.began, self.alive);
        ticket.passed(attempt, Passed::default(), Some(units));
        ticket.close(&Upstream::Accepted);
    }
}

#[async_trait]
impl Guard for StartGuard {
    fn answered(&mut self, status: StatusCode, _headers: &HeaderMap) -> Verdict {
        if is_bad(status) {
            return Verdict::Refuse(format!("the worker answered {}", status.as_u16()));
        }
        let Some((start, ticket, attempt)) = self.inner.take() else { return Verdict::Pass };
        attempt.first_byte();
        if status.as_u16() > 399 {
            attempt.lost(Lost::InputError(format!("the worker answered {}", status.as_u16())));
            return Verdict::Pass;
        }
        // Started as soon as the orchestrator has this: the next word may come at once.
        let now = start.shared.pool.clock().now();
        let stream = Stream {
            pool: start.shared.pool.clone(),
            runner: attempt.worker().clone(),
            conn: attempt.conn(),
            held: Some((ticket, attempt)),
            began: now,
            heard: now,
            alive: now,
            channel: start.channel,
            _busy: start.shared.public.busy(&start.found.name),
        };
        let before = start.shared.streams.all.lock().insert(start.key, stream);
        drop(before);
        Verdict::Pass
    }

    async fn failed(mut self: Box<Self>, why: Failure) -> Decision {
        let Some((mut start_, mut ticket, attempt)) = self.inner.take() else { return Decision::Close };
        let task = attempt.task();
        let failure = attempt.lost(lost(Pipeline::Byoc, &why));
        if why.again && ticket.again(task, &failure) {
            start_.last = Some(failure);
            return start(start_, ticket).await;
        }
        ticket.fail(failure.clone());
        answer(&failure)
    }

    fn finished(self: Box<Self>, _end: End) {}
}

#[async_trait]
impl Guard for TellGuard {
    fn answered(&mut self, status: StatusCode, _headers: &HeaderMap) -> Verdict {
        self.reached = true;
        match status {
            // It would cost the capability.
            StatusCode::UNAUTHORIZED => Verdict::Refuse("the worker answered 401".into()),
            _ => Verdict::Pass,
        }
    }

    async fn failed(self: Box<Self>, why: Failure) -> Decision {
        answer(&lost(Pipeline::Byoc, &why))
    }

    fn finished(self: Box<Self>, _end: End) {}
}

impl Drop for TellGuard {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.stream
            && self.reached
        {
            stream.alive = stream.pool.clock().now();
        }
    }
}
