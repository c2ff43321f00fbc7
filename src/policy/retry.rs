//! What a failure does: to the job (again or answer), to the seat (rest), to the text that goes up.
use std::sync::Arc;
use std::time::Duration;

use super::rules::RetryRules;
use crate::domain::outcome::{Failure, Fault};
use crate::domain::seat::{Seat, SeatState};
use crate::domain::time::Moment;

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;

/// Texts that a gateway takes as final and that blame the input: up verbatim, no other try.
const INPUT_TEXTS: [&str; 12] = [
    "TranscoderInvalidVideo",
    "TranscoderInvalidResolution",
    "TranscoderUnrecognizedFormat",
    "TranscoderUnrecognizedProfile",
    "TranscoderInvalidGOP",
    "Unsupported input pixel format",
    "Unsupported input codec",
    "No keyframes in input",
    "Too many outputs",
    "Encoded frames runaway",
    "Invalid argument",
    "Option not found",
];

/// Texts that a gateway takes as final too, but that rather blame the worker: another try
/// first, up verbatim when nobody did better.
const WORKER_TEXTS: [&str; 7] = [
    "Unrecoverable state, restart process",
    "Decoder not found",
    "Encoder not found",
    "Muxer not found",
    "Demuxer not found",
    "Error initializing filtergraph",
    "TranscoderIncompatibleDevices",
];

/// Seconds that a worker's "I am full" holds.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// Another try needs this many times its predicted time.
const TRY_ROOM: f64 = 1.2;
/// With less than this left no other try is worth its dispatch.
const LEAST_ROOM: Duration = Duration::from_millis(300);
/// Verified segments that take one from the count of rests: about a minute of one session.
const HEALTHY_SEGMENTS: u64 = 30;
/// Characters of a worker's own words that are kept.
const MOST_WORDS: usize = 200;

/// Sorts a worker's error text (wire-protocol, "what an orchestrator does to us"): verbatim
/// when the input is to blame, `Busy` for `TranscoderBusy`, else the worker's own.
pub fn classify(text: &str) -> Failure {
    let text = text.trim();
    if text == "TranscoderBusy" {
        Failure::Busy
    } else if INPUT_TEXTS.contains(&text) {
        Failure::InputError(text.to_owned())
    } else {
        Failure::WorkerError(text.to_owned())
    }
}

/// The text for the orchestrator: its own non-retryable texts verbatim, all else replaced by
/// ours; never a URL of ours, never `%`.
pub fn upstream_text(failure: &Failure) -> String {
    let text = match failure {
        Failure::InputError(text) if INPUT_TEXTS.contains(&text.as_str()) => text,
        Failure::WorkerError(text) if WORKER_TEXTS.contains(&text.as_str()) => text,
        Failure::WorkerError(_) | Failure::InputError(_) => {
            "OpenPoolAttemptsFailed: the workers that tried this segment answered with errors"
        }
        Failure::Disconnected => "OpenPoolAttemptsFailed: the worker's connection ended",
        Failure::BadUpload(_) => "OpenPoolAttemptsFailed: a result's upload broke off",
        Failure::Refused(_) => "OpenPoolAttemptsFailed: the results did not pass the pool's checks",
        Failure::Busy => "OpenPoolBusy: the workers that can do this segment are full",
        Failure::Timeout => "OpenPoolTimeout: no worker answered in time",
        Failure::Source(_) => "OpenPoolSourceFailed: the pool could not fetch the segment from the orchestrator",
        Failure::NoWorker(_) => "OpenPoolNoWorker: no worker can take this segment now",
        Failure::Pool(_) => "OpenPoolUnavailable: the pool cannot take segments now",
    };
    text.to_owned()
}

/// Whether a job that has waited `waited` seconds for an answer goes to another seat, predicted
/// to take `other`, while `left` seconds remain: when the other can still make it, and the
/// present one is overdue, or a fresh start elsewhere takes less than half of what is predicted
/// to be left here, or this is the last moment at which the other can make it.
pub fn elsewhere(predicted: f64, waited: f64, other: f64, left: f64, rules: &RetryRules) -> bool {
    let fits = other * TRY_ROOM < left;
    let overdue = waited >= rules.patience * predicted;
    let hopeless = predicted - waited > 2.0 * other;
    let last_call = waited >= predicted && left < 3.0 * other;
    fits && (overdue || hopeless || last_call)
}

/// Whether to try again after `failure`. A refusal because the worker is full cost nothing, so
/// it is allowed twice as often.
pub fn again(failure: &Failure, attempts: u32, now: Moment, answer_by: Moment, rules: &RetryRules) -> bool {
    let most = if *failure == Failure::Busy { rules.attempts.saturating_mul(2) } else { rules.attempts };
    failure.again() && attempts < most && answer_by.since(now) > LEAST_ROOM
}

/// What a failure weighs against the worker: 0 when it is not its fault.
pub fn weight(failure: &Failure) -> u32 {
    match failure {
        Failure::Busy => 0,
        Failure::Timeout => 2,
        Failure::Refused(_) => 3,
        other if other.fault() == Fault::Worker => 1,
        _ => 0,
    }
}

/// Marks a success on the seat's health. A rest that has run out ends here.
pub fn succeeded(seat: &mut Seat, now: Moment) {
    seat.successes = seat.successes.saturating_add(1);
    seat.consecutive = 0;
    if seat.successes.is_multiple_of(HEALTHY_SEGMENTS) {
        seat.rested = seat.rested.saturating_sub(1);
    }
    if seat.full_until.is_some_and(|(until, _)| until <= now) {
        seat.full_until = None;
    }
    if matches!(seat.state, SeatState::Resting { .. }) && !seat.resting(now) {
        seat.state = SeatState::Ready;
    }
}

/// Marks a failure: counts, and rest with doubling when it happened too often in a row.
/// `jitter` is drawn by the caller from [0.8, 1.2]. Call it when the attempt has left
/// `seat.running`: what is left there is what a busy worker can hold.
pub fn failed(seat: &mut Seat, failure: &Failure, jitter: f64, now: Moment, rules: &RetryRules) {
    if *failure == Failure::Busy {
        let held = u32::try_from(seat.running.len()).unwrap_or(u32::MAX);
        seat.full_until = Some((now + BUSY_FOR, held));
        return;
    }
    let weight = weight(failure);
    if weight == 0 {
        return;
    }
    let words: Arc<str> = failure.to_string().chars().take(MOST_WORDS).collect::<String>().into();
    seat.failures = seat.failures.saturating_add(1);
    seat.consecutive = seat.consecutive.saturating_add(weight);
    if let Failure::Refused(_) = failure {
        seat.consecutive = seat.consecutive.max(rules.rest_after);
    }
    seat.last_failure = Some(words.clone());
    // A job that was under way when the rest began must not double it; one that leaves stays so.
    if seat.consecutive < rules.rest_after || seat.resting(now) || seat.state == SeatState::Draining {
        return;
    }
    seat.rested = seat.rested.saturating_add(1);
    let until = now + rest_time(seat.rested, jitter, rules);
    seat.state = SeatState::Resting { until, why: words };
}

/// `rest` doubled for each rest before, at most `longest_rest`, times the jitter.
fn rest_time(times: u32, jitter: f64, rules: &RetryRules) -> Duration {
    let doubled = rules.rest.saturating_mul(1 << times.saturating_sub(1).min(20));
    let jitter = if jitter.is_finite() { jitter.clamp(0.8, 1.2) } else { 1.0 };
    doubled.min(rules.longest_rest).mul_f64(jitter)
}
