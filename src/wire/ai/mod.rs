//! AI jobs by both roads: requests, answers, streams, errors and units, without any IO.
mod answer;
mod audio;
mod carry;
mod chunks;
mod errors;
mod form;
mod job;
mod json;
mod keys;
mod llm;
mod measure;
mod request;
mod sse;

#[cfg(test)]
mod answer_tests;
#[cfg(test)]
mod error_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod stream_tests;

pub use answer::{AnswerFacts, MOST_FILES, check_answer};
pub use audio::{BadAudio, audio_ms, audio_ms_of};
pub use carry::{Base64Feed, DecodedFile, Piece, RunnerAnswer, answer_to_runner, plan_runner_answer, runner_to_answer};
pub use chunks::{ChunkFixer, Fixed};
pub use errors::{
    Blame, MOST_ERROR_BODY, MOST_TEXT, classify, clean, error_answer, error_body, runner_error, status_for,
};
pub use form::{BadForm, FormEvent, FormFile, FormReader, FormWriter};
pub use job::{JobData, patch_job, read_job, write_job};
pub use llm::Usage;
pub use measure::{FileMeasure, ImageSize, MOST_IMAGE_HEAD, Measure, charge, image_size};
pub use request::{BadRequest, RequestFacts, check_request, form_to_request, request_to_form};
pub use sse::{Line, LineTooLong, MOST_LINE, SSE_DONE, SseReader, sse_event};

/// Bytes of a request's JSON: with its address it still fits into a notice.
pub const MOST_REQUEST: usize = crate::wire::messages::MOST_AI_NOTICE - (64 << 10);
/// Bytes of an address.
pub const MOST_URL: usize = 8 << 10;
