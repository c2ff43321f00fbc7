//! AI jobs by both roads: requests, answers, streams, errors and units, without any IO.
mod answer;
mod job;
mod json;
mod keys;
mod llm;
mod measure;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{
    AnswerFacts, Base64Feed, DecodedFile, Piece, RunnerAnswer, Usage, answer_to_runner, check_answer,
    plan_runner_answer, runner_to_answer,
};
pub use job::{JobData, patch_job, read_job, write_job};
pub use measure::{FileMeasure, ImageSize, MOST_IMAGE_HEAD, image_size};
pub use request::{BadRequest, Measure, RequestFacts, check_request, form_to_request, request_to_form};

/// Bytes of a request's JSON: with its address it still fits into a notice.
pub const MOST_REQUEST: usize = crate::wire::messages::MOST_AI_NOTICE - (64 << 10);
/// Bytes of an address.
pub const MOST_URL: usize = 8 << 10;
