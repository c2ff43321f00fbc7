//! Finds a worker for a live video and has it begin.
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

use super::Live;
use super::hand::Listed;
use super::job::Job;
use crate::domain::ai::Pipeline;
use crate::domain::ids::{ConnId, Epoch};
use crate::domain::ledger::AiDoor;
use crate::domain::outcome::Failure;
use crate::planes::runner::runners::Runner;
use crate::pool::ai::{AiAttempt, AiTicket, Measure, NewAiJob, Roads};
use crate::transport::client::Speak;
use crate::transport::client::h1::{H1, OutBody};
use crate::wire::ai::{self, Blame};
use crate::wire::headers::JSON_TYPE;

/// A worker that has begun. It is one job of the pool: its permit, its entry in the ledger.
pub(super) struct Hired {
    pub(super) listed: Listed,
    pub(super) ticket: AiTicket,
    pub(super) attempt: AiAttempt,
    /// When it said that it begins: from then on it is paid, as the orchestrator is.
    pub(super) began: Instant,
}

/// The most of a runner's answer.
const MOST: usize = 64 << 10;

// === impl Live ===

impl Live {
    /// The best worker that can begin now, none of `avoid`.
    pub(super) async fn hire(&self, job: &Arc<Job>, avoid: &[ConnId], wait: Duration) -> Result<Hired, Failure> {
        let shared = &self.inner.shared;
        let mut ticket = shared.pool.submit_ai(NewAiJob {
            key: job.key.clone(),
            door: AiDoor::Live,
            orchestrator: shared.config.orchestrator.clone(),
            epoch: Epoch("runner".into()),
            upstream_task: 0,
            session: None,
            roads: Roads { worker: false, runner: true },
            stream: true,
            files: false,
            min_version: String::new(),
            wait,
            endless: true,
        })?;
        ticket.measured(Measure { units: 0, effort: 1.0 });
        avoid.iter().for_each(|conn| ticket.avoid(*conn));
        loop {
            let attempt = match ticket.lease().await {
                Ok(attempt) => attempt,
                Err(failure) => {
                    // A successor is looked for more than once.
                    if avoid.is_empty() {
                        ticket.fail(failure.clone());
                    }
                    return Err(failure);
                }
            };
            let task = attempt.task();
            let begun = match shared.runners.get(attempt.worker()) {
                Some(runner) => {
                    let listed = self.list(job, runner.clone());
                    self.begin(&listed, &runner).await.map(|()| listed)
                }
                None => Err(Failure::Disconnected),
            };
            match begun {
                Ok(listed) => {
                    attempt.first_byte();
                    return Ok(Hired { listed, ticket, attempt, began: Instant::now() });
                }
                Err(failure) => {
                    let failure = attempt.lost(failure);
                    if !ticket.again(task, &failure) {
                        ticket.fail(failure.clone());
                        return Err(failure);
                    }
                }
            }
        }
    }

    async fn begin(&self, listed: &Listed, runner: &Runner) -> Result<(), Failure> {
        let ours = |why: String| Failure::Pool(format!("the request cannot be written for a runner: {why}"));
        let (hand, base) = (&listed.hand, self.base());
        let body = hand.job.request(|role| hand.address(base, role)).map_err(|why| ours(why.to_string()))?;
        let request = request(runner, body).map_err(|why| ours(why.to_string()))?;
        let asked = timeout(self.inner.limits.start_within, ask(runner, request)).await;
        let (status, body) = asked
            .map_err(|_| Failure::Timeout)?
            .map_err(|why| Failure::WorkerError(format!("the runner could not be reached: {why}")))?;
        let pipeline = Pipeline::LiveVideoToVideo;
        match status {
            StatusCode::OK => {
                ai::check_answer::<&str>(pipeline, &body, &[]).map(|_| hand.touch()).map_err(Failure::Refused)
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Err(Failure::Busy),
            status => Err(match ai::runner_error(pipeline, status.as_u16(), &body) {
                (Blame::Caller, text) => Failure::InputError(text),
                (Blame::Worker, text) => Failure::WorkerError(text),
            }),
        }
    }

    /// Whether a runner answers at all: of one that works nobody asks more.
    pub(super) async fn answers(&self, runner: &Runner) -> bool {
        runner.dialer.dial(&runner.origin, Speak::H1).await.is_ok()
    }
}

fn request(runner: &Runner, body: Bytes) -> Result<Request<OutBody>, http::Error> {
    let mut request = Request::post(runner.path(Pipeline::LiveVideoToVideo.name()))
        .header(HOST, runner.origin.authority())
        .header(CONTENT_TYPE, JSON_TYPE)
        .header(ACCEPT, JSON_TYPE)
        .header(CONTENT_LENGTH, body.len());
    if let Some(token) = &runner.config.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Full::new(body).map_err(|never| match never {}).boxed_unsync())
}

async fn ask(runner: &Runner, request: Request<OutBody>) -> Result<(StatusCode, Bytes), String> {
    let dialled = runner.dialer.dial(&runner.origin, Speak::H1).await.map_err(|why| why.to_string())?;
    let mut conn = H1::new(dialled).await.map_err(|why| why.to_string())?;
    let answer = conn.send(request).await.map_err(|why| why.to_string())?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut all = Vec::new();
    while let Some(chunk) = conn.next(&mut body).await {
        let chunk = chunk.map_err(|why| why.to_string())?;
        if all.len() + chunk.len() > MOST {
            return Err(format!("more than {MOST} bytes of answer"));
        }
        all.extend_from_slice(&chunk);
    }
    Ok((status, all.into()))
}
