//! What an orchestrator reads when a job came to nothing.
use crate::domain::outcome::Failure;
use crate::wire::ai::clean;
use crate::wire::headers::AI_BUSY;

/// The caller's faults and a container's own words go up, in the stock worker's form; the rest is
/// told in ours. Never an address of ours, never `%`.
pub(super) fn upstream_text(failure: &Failure) -> String {
    let text = match failure {
        Failure::InputError(text) => text,
        Failure::WorkerError(text) if text.contains(" container returned ") => text,
        Failure::WorkerError(_) => "OpenPoolAttemptsFailed: the workers that tried this job answered with errors",
        Failure::Disconnected => "OpenPoolAttemptsFailed: the worker's connection ended",
        Failure::BadUpload(_) => "OpenPoolAttemptsFailed: an answer's upload broke off",
        Failure::Refused(_) => "OpenPoolAttemptsFailed: the answers did not pass the pool's checks",
        Failure::Busy | Failure::NoWorker(_) => AI_BUSY,
        Failure::Timeout => "OpenPoolTimeout: no worker answered in time",
        Failure::Source(_) => "OpenPoolSourceFailed: the pool could not fetch the input from the orchestrator",
        Failure::Pool(_) => "OpenPoolUnavailable: the pool cannot take AI jobs now",
    };
    clean(text)
}
