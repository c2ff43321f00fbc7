//! Results of AI jobs: files and JSON, an error's text, or a stream of events.
#![expect(clippy::result_large_err, reason = "the error is the answer itself, moved once")]
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::result::{self, MOST_ERROR, MOST_RESULT};
use super::upload::{Broken, Pace};
use super::{Plane, ai_upload, events, reply, upload};
use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure;
use crate::pool::Unclaimable;
use crate::pool::ai::{AiClaim, AiResult, AiVerdict, Usage};
use crate::transport::{Body, ConnectionInfo};
use crate::wire;
use crate::wire::ai::{Blame, check_answer, classify, clean};
use crate::wire::headers::{AI_BUSY, AI_ERROR_TYPE, AI_WORKER_AUTHORIZATION, EVENT_STREAM, MULTIPART_TYPE, PIPELINE};
use crate::wire::multipart::boundary_from_content_type;

/// What a result's Content-Type says it is.
enum Kind {
    Error,
    Whole { boundary: String },
    Events,
}

pub(super) async fn result(plane: &Plane, info: &ConnectionInfo, request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    match taken(plane, info, &head.headers, &mut body).await {
        Ok(response) => response,
        Err(refusal) => result::refused(info, &mut body, refusal).await,
    }
}

async fn taken(
    plane: &Plane,
    info: &ConnectionInfo,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Response<Body>, Response<Body>> {
    let help = plane.config.help_url.as_deref();
    let worker = result::authorize(plane, info, headers, AI_WORKER_AUTHORIZATION)?;
    let claim = || result::claimed(headers, help, |task| plane.pool.ai_claim(&worker, task));
    let kind = match kind(headers) {
        Ok(kind) => kind,
        Err(why) => {
            // A stock orchestrator throws such a result away and the task times out: here it
            // goes elsewhere at once.
            if let Ok(claim) = claim() {
                claim.broken(&why);
            }
            return Err(reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, reply::sentence(&why, help)));
        }
    };
    let claim = claim()?;
    let pace = Pace::new(plane, claim.job().answer_by);
    let gone = claim.gone();
    let (pipeline, streamed) = (claim.job().key.pipeline, claim.job().stream);
    let boundary = match kind {
        Kind::Error => return error_text(claim, body, pace, help).await,
        _ if !is_of(headers, pipeline) => {
            claim.broken("the Pipeline header is not the job's");
            return Err(reply::text(StatusCode::BAD_REQUEST, "Invalid Pipeline"));
        }
        Kind::Events if streamed => return events::stream(plane, claim, body, pace).await,
        Kind::Events => {
            return Err(fail(claim, Broken::new(StatusCode::BAD_REQUEST, "No stream was asked for."), help));
        }
        Kind::Whole { boundary } => boundary,
    };
    if result::length(headers).is_some_and(|length| length > MOST_RESULT) {
        return Err(fail(claim, Broken::too_long("the result is larger than 1 GiB"), help));
    }
    let arrived = tokio::select! {
        arrived = ai_upload::answer(body, &boundary, &claim, pace) => arrived,
        () = gone.cancelled() => {
            claim.broken("given up while its answer arrived");
            return Err(reply::unclaimable(Unclaimable::Ended, help));
        }
    };
    let posted = match arrived {
        Ok(posted) => posted,
        Err(broken) => return Err(fail(claim, broken, help)),
    };
    let names: Vec<&str> = posted.files.iter().map(|file| file.name.as_str()).collect();
    let facts = match check_answer(pipeline, &posted.json, &names) {
        Ok(facts) => facts,
        Err(why) => {
            claim.refused(&why);
            return Ok(reply::text(StatusCode::UNPROCESSABLE_ENTITY, reply::sentence(&why, help)));
        }
    };
    let mut files = posted.files;
    // A file that nothing names would be carried for nothing.
    files.retain(|file| facts.files.contains(&file.name));
    let answer = AiResult { json: posted.json, files, usage: facts.usage.map(usage) };
    Ok(settled(plane, async move { claim.whole(answer).await }).await)
}

fn kind(headers: &HeaderMap) -> Result<Kind, String> {
    let value = headers.get(CONTENT_TYPE).ok_or("There is no Content-Type.")?;
    let value = value.to_str().map_err(|_| "The Content-Type cannot be read.")?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(AI_ERROR_TYPE) {
        return Ok(Kind::Error);
    }
    if essence.eq_ignore_ascii_case(EVENT_STREAM) {
        return Ok(Kind::Events);
    }
    if !essence.eq_ignore_ascii_case(MULTIPART_TYPE) {
        return Err(format!("A result is {MULTIPART_TYPE}, {EVENT_STREAM} or {AI_ERROR_TYPE}, not {essence:.60}."));
    }
    let boundary = boundary_from_content_type(value).map_err(|error| error.to_string())?;
    Ok(Kind::Whole { boundary })
}

fn is_of(headers: &HeaderMap, pipeline: Pipeline) -> bool {
    headers.get(PIPELINE).is_some_and(|value| value.as_bytes() == pipeline.name().as_bytes())
}

async fn error_text(
    claim: AiClaim,
    body: &mut Incoming,
    pace: Pace,
    help: Option<&str>,
) -> Result<Response<Body>, Response<Body>> {
    match upload::whole(body, MOST_ERROR, pace).await {
        Ok(bytes) => {
            claim.failed(failure(&String::from_utf8_lossy(&bytes)));
            Ok(reply::ok())
        }
        Err(broken) => Err(fail(claim, broken, help)),
    }
}

/// Whose fault a worker's error text tells of. It may go to strangers: our addresses stay out.
fn failure(text: &str) -> Failure {
    let text = text.trim();
    match classify(text) {
        _ if text == AI_BUSY => Failure::Busy,
        Blame::Caller => Failure::InputError(clean(text)),
        Blame::Worker => Failure::WorkerError(clean(text)),
    }
}

fn fail(claim: AiClaim, broken: Broken, help: Option<&str>) -> Response<Body> {
    claim.broken(&broken.why);
    reply::text(broken.status, reply::sentence(&broken.why, help))
}

pub(super) fn usage(usage: wire::ai::Usage) -> Usage {
    Usage { prompt: usage.prompt, made: usage.completion }
}

/// As a task of its own: a worker that hangs up after its last byte has still done the work.
pub(super) async fn settled(
    plane: &Plane,
    verdict: impl Future<Output = AiVerdict> + Send + 'static,
) -> Response<Body> {
    let help = plane.config.help_url.as_deref();
    let (tell, told) = oneshot::channel();
    plane.tasks.spawn("AI verdict", async move {
        // Nobody waits any more when the worker is gone.
        let _ = tell.send(verdict.await);
    });
    match told.await {
        Ok(verdict) => reply::ai_verdict(&verdict, help),
        Err(_) => reply::text(StatusCode::SERVICE_UNAVAILABLE, "a fault of ours; the result was not taken"),
    }
}

#[cfg(test)]
#[path = "ai_result_tests.rs"]
mod tests;
