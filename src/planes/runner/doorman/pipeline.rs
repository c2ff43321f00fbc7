//! A request of the runner API: read, let in, given to whoever is best.
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::guard::{Course, PassGuard};
use super::meter::FormMeter;
use super::{Shared, about, refusal, translate};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::Epoch;
use crate::domain::ledger::AiDoor;
use crate::domain::outcome::Failure;
use crate::planes::runner::body::Prelude;
use crate::planes::runner::door::{Decision, Forward, Passing, Upstream};
use crate::planes::runner::runners::Runner;
use crate::pool::ai::{AiAttempt, AiRequest, AiTicket, Measure, NewAiJob, Road, Roads};
use crate::wire::ai::{self, BadRequest, RequestFacts};

pub(super) async fn admit(
    shared: &Arc<Shared>,
    prefix: &str,
    pipeline: Pipeline,
    head: &Parts,
    body: Prelude,
) -> Decision {
    match body {
        Prelude::Whole(_) if pipeline.file_field().is_some() => admit_stream(shared, prefix, pipeline, head).await,
        Prelude::Whole(json) => admit_json(shared, prefix, pipeline, json).await,
        Prelude::Streams => admit_stream(shared, prefix, pipeline, head).await,
        Prelude::Spooled(spool) => translate::admit_form(shared, prefix, pipeline, head, spool).await,
    }
}

/// JSON: small, read whole; passes to a runner, or becomes a worker's job.
async fn admit_json(shared: &Arc<Shared>, prefix: &str, pipeline: Pipeline, json: Bytes) -> Decision {
    let facts = match ai::check_request(pipeline, &json) {
        Ok(facts) => facts,
        Err(bad) => return refusal::bad_request(&bad),
    };
    let key = match model(prefix, pipeline, &facts) {
        Ok(key) => key,
        Err(bad) => return refusal::bad_request(&bad),
    };
    let units = match facts.measure.units(pipeline, None) {
        Ok(units) => units,
        Err(bad) => return refusal::bad_request(&bad),
    };
    let mut ticket = match submit(shared, key.clone(), facts.stream, Roads::ALL) {
        Ok(ticket) => ticket,
        Err(failure) => return refusal::failure(pipeline, &failure),
    };
    ticket.measured(Measure { units, effort: pipeline.effort(units) });
    let request = Arc::new(AiRequest { key, json, file: None, stream: facts.stream });
    let course = Course { shared: shared.clone(), pipeline, request: Some(request), meter: None };
    next(course, ticket).await
}

/// A form that passes as it came: only to a runner.
async fn admit_stream(shared: &Arc<Shared>, prefix: &str, pipeline: Pipeline, head: &Parts) -> Decision {
    let Some(key) = shared.named(prefix, pipeline) else {
        let bad = BadRequest::new(pipeline, "model_id", "the pool's models of this pipeline came or went; try again");
        return refusal::bad_request(&bad);
    };
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let meter = FormMeter::new(pipeline, kind, shared.config.limits.most_form_bytes);
    let ticket = match submit(shared, key, false, Roads { worker: false, runner: true }) {
        Ok(ticket) => ticket,
        Err(failure) => return refusal::failure(pipeline, &failure),
    };
    next(Course { shared: shared.clone(), pipeline, request: None, meter: Some(meter) }, ticket).await
}

/// The best seat now: its runner, or a translation for its worker.
pub(super) async fn next(course: Course, mut ticket: AiTicket) -> Decision {
    let pipeline = course.pipeline;
    loop {
        let attempt = match ticket.lease().await {
            Ok(attempt) => attempt,
            Err(failure) => {
                ticket.fail(failure.clone());
                return refusal::failure(pipeline, &failure);
            }
        };
        if attempt.road() == Road::Worker {
            let Some(request) = course.request else {
                return refusal::failure(
                    pipeline,
                    &attempt.lost(Failure::Pool("a stream cannot be translated".into())),
                );
            };
            let answer = ticket.work_from(attempt, request).await;
            return translate::answer(&course.shared, pipeline, ticket, answer);
        }
        let runner = course.shared.runners.get(attempt.worker());
        if let Some((runner, upstream)) = runner.and_then(|runner| Some((runner.clone(), runner.upstream()?))) {
            return forward(&runner, upstream, course, ticket, attempt);
        }
        // Its seat stood a moment longer than the runner.
        let task = attempt.task();
        let failure = attempt.lost(Failure::Disconnected);
        if !ticket.again(task, &failure) {
            ticket.fail(failure.clone());
            return refusal::failure(pipeline, &failure);
        }
    }
}

fn forward(runner: &Runner, upstream: Arc<Upstream>, course: Course, ticket: AiTicket, attempt: AiAttempt) -> Decision {
    Decision::Forward(Forward {
        upstream,
        path: Some(runner.path(course.pipeline.name())),
        token: runner.config.token.clone(),
        passing: Passing::Few,
        body: None,
        silence: Some(ticket.patience(&attempt).min(course.shared.config.limits.silence)),
        guard: Box::new(PassGuard::new(course, ticket, attempt)),
    })
}

pub(super) fn submit(shared: &Shared, key: ModelKey, stream: bool, roads: Roads) -> Result<AiTicket, Failure> {
    shared.pool.submit_ai(NewAiJob {
        files: key.pipeline.file_result(),
        key,
        door: AiDoor::RunnerApi,
        orchestrator: shared.config.orchestrator.clone(),
        epoch: Epoch("runner".into()),
        upstream_task: 0,
        session: None,
        roads,
        stream,
        min_version: String::new(),
        wait: shared.config.wait,
        endless: false,
    })
}

/// The request's model; the path's where it names one.
pub(super) fn model(prefix: &str, pipeline: Pipeline, facts: &RequestFacts) -> Result<ModelKey, BadRequest> {
    match about::model_of(prefix) {
        Some(key) if key.pipeline != pipeline => {
            Err(BadRequest::new(pipeline, "model_id", "the path is another pipeline's"))
        }
        Some(key) => Ok(key),
        None => Ok(ModelKey::new(pipeline, &facts.model)),
    }
}
