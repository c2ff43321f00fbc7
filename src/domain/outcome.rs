//! How an attempt or a job ended: what, whose fault, and whether again.
use std::fmt;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Uplink,
    Worker,
    Pool,
    Caller,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The worker answered with an error text.
    WorkerError(String),
    /// The worker's text blames the input; it goes up verbatim.
    InputError(String),
    /// The worker says that it is full (`TranscoderBusy`).
    Busy,
    /// No answer within the attempt's own time.
    Timeout,
    /// The worker's stream ended while it held the lease.
    Disconnected,
    /// The result's upload broke off or was not a result at all.
    BadUpload(String),
    /// The result was whole but not true.
    Refused(String),
    /// The source could not be had from the orchestrator.
    Source(String),
    /// Nobody could take it.
    NoWorker(String),
    /// Our own storage or limits.
    Pool(String),
}

// === impl Failure ===

impl Failure {
    pub fn fault(&self) -> Fault {
        match self {
            Failure::WorkerError(_) | Failure::Timeout | Failure::Disconnected => Fault::Worker,
            Failure::BadUpload(_) | Failure::Refused(_) | Failure::Busy => Fault::Worker,
            Failure::InputError(_) => Fault::Caller,
            Failure::Source(_) => Fault::Uplink,
            Failure::NoWorker(_) | Failure::Pool(_) => Fault::Pool,
        }
    }

    /// Whether another worker may do better.
    pub fn again(&self) -> bool {
        self.fault() == Fault::Worker
    }

    /// One word for metrics and the journal.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::WorkerError(_) => "worker_error",
            Failure::InputError(_) => "input_error",
            Failure::Busy => "busy",
            Failure::Timeout => "timeout",
            Failure::Disconnected => "disconnected",
            Failure::BadUpload(_) => "bad_upload",
            Failure::Refused(_) => "refused",
            Failure::Source(_) => "source",
            Failure::NoWorker(_) => "no_worker",
            Failure::Pool(_) => "pool",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Busy => f.write_str("the worker says that it is full"),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::Disconnected => f.write_str("the worker's connection ended"),
            Failure::WorkerError(t) | Failure::InputError(t) | Failure::BadUpload(t) => f.write_str(t),
            Failure::Refused(t) | Failure::Source(t) | Failure::NoWorker(t) | Failure::Pool(t) => f.write_str(t),
        }
    }
}
