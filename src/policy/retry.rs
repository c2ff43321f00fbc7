//! What a failure does: to the job (again or answer), to the seat (rest), to the text that goes up.
use std::time::Duration;

use super::rules::RetryRules;
use crate::domain::outcome::Failure;
use crate::domain::seat::Seat;
use crate::domain::time::Moment;

/// Sorts a worker's error text (wire-protocol, "what an orchestrator does to us"): verbatim
/// when the input is to blame, `Busy` for `TranscoderBusy`, else the worker's own.
pub fn classify(text: &str) -> Failure {
    Failure::WorkerError(text.to_owned())
}

/// The text for the orchestrator: its own non-retryable texts verbatim, all else replaced by
/// ours; never a URL of ours, never `%`.
pub fn upstream_text(failure: &Failure) -> String {
    failure.to_string()
}

/// How long an attempt may take before the job goes elsewhere: patience x predicted time, not
/// under the least, and early enough that another try still fits before `answer_by`.
pub fn attempt_time(predicted: f64, now: Moment, answer_by: Moment, rules: &RetryRules) -> Duration {
    let _ = (predicted, rules);
    answer_by.since(now)
}

/// Whether to try again after `failure`.
pub fn again(failure: &Failure, attempts: u32, now: Moment, answer_by: Moment, rules: &RetryRules) -> bool {
    let _ = (now, answer_by);
    failure.again() && attempts < rules.attempts
}

/// Marks a success on the seat's health.
pub fn succeeded(seat: &mut Seat, now: Moment) {
    let _ = (seat, now);
}

/// Marks a failure: counts, and rest with doubling when it happened too often in a row.
/// `jitter` is drawn by the caller from [0.8, 1.2].
pub fn failed(seat: &mut Seat, failure: &Failure, jitter: f64, now: Moment, rules: &RetryRules) {
    let _ = (seat, failure, jitter, now, rules);
}
