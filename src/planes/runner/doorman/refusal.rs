//! Failures in the words and statuses that an orchestrator's runner client survives.
use bytes::Bytes;
use http::StatusCode;

use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::Decision;
use crate::wire::ai::{self, BadRequest};

pub(super) fn failure(pipeline: Pipeline, failure: &Failure) -> Decision {
    let ours = |why: &str| why.to_owned();
    let text = match failure {
        Failure::InputError(text) | Failure::WorkerError(text) => text.clone(),
        Failure::Busy => ours("every worker of the pool that has this model is busy"),
        Failure::NoWorker(_) if pipeline == Pipeline::ImageToVideo => {
            ours("no HTTP runner of the pool can take this now; an AI worker's film cannot be given back as frames")
        }
        Failure::NoWorker(_) => ours("no worker of the pool can take this now"),
        Failure::Timeout => ours("no worker of the pool answered in time"),
        Failure::Disconnected => ours("the worker's connection ended"),
        Failure::BadUpload(_) | Failure::Refused(_) => ours("the worker's answer did not pass the pool's checks"),
        Failure::Source(_) | Failure::Pool(_) => ours("the pool cannot take this now"),
    };
    let (status, body) = ai::error_answer(pipeline, &text);
    answer(status, body)
}

pub(super) fn bad_request(bad: &BadRequest) -> Decision {
    answer(bad.status, bad.body())
}

fn answer(status: u16, body: Bytes) -> Decision {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Decision::Answer(Answer::json(status, body))
}
