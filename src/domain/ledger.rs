//! What the ledger is told of a job: the steps of its life, in the order they may come.
use std::sync::Arc;

use super::ids::{Address, Epoch, JobId, OrchestratorName, TaskId, WorkerName};
use super::money::{BasisPoints, Price};

/// One durable step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A worker got the lease: the entry is pending from here on.
    Assigned(Assigned),
    /// A verified result is in our hands. Durable before the worker gets its 200.
    Resulted(Resulted),
    /// The orchestrator took it: money moves.
    Posted { job: JobId, task: TaskId, at_ms: u64 },
    /// The attempt came to nothing; the text says why.
    Voided { job: JobId, task: TaskId, at_ms: u64, why: Arc<str> },
    /// We cannot tell whether the orchestrator took it.
    InDoubt { job: JobId, task: TaskId, at_ms: u64, why: Arc<str> },
}

#[derive(Clone, Debug)]
pub struct Assigned {
    pub job: JobId,
    /// Our number of the attempt; one job may have several.
    pub task: TaskId,
    pub at_ms: u64,
    pub worker: WorkerName,
    pub address: Option<Address>,
    pub orchestrator: OrchestratorName,
    pub epoch: Epoch,
    pub session: Arc<str>,
    pub upstream_task: i64,
}

#[derive(Clone, Debug)]
pub struct Resulted {
    pub job: JobId,
    pub task: TaskId,
    pub at_ms: u64,
    pub work: WorkDone,
    pub price: Price,
    pub commission: BasisPoints,
}

/// The facts of one accepted segment. Pixels; milliseconds.
#[derive(Clone, Debug)]
pub struct WorkDone {
    pub sequence: i64,
    /// `640x360@30 426x240@30`.
    pub profiles: Arc<str>,
    pub duration_ms: u64,
    pub response_ms: u64,
    pub decoded_reported: u64,
    /// None where the container or codec is not counted yet.
    pub decoded_computed: Option<u64>,
    pub encoded_reported: u64,
    pub encoded_computed: Option<u64>,
    /// What is paid: the lesser of reported and computed encoded pixels.
    pub encoded_credited: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

// === impl WorkDone ===

impl WorkDone {
    /// Segment duration / response time: higher is faster.
    pub fn real_time_ratio(&self) -> f64 {
        self.duration_ms as f64 / (self.response_ms.max(1)) as f64
    }
}
