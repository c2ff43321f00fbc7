//! What the ledger is told of a job: the steps of its life, in the order they may come.
use std::sync::Arc;

use super::ai::{ModelKey, Pipeline};
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
    pub work: Work,
    /// For a unit: a pixel of a segment, `pipeline.unit()` of an AI job.
    pub price: Price,
    pub commission: BasisPoints,
}

/// What was done, and is paid for.
#[derive(Clone, Debug)]
pub enum Work {
    Segment(WorkDone),
    Ai(AiDone),
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

/// The facts of one delivered AI job. Milliseconds since the attempt was sent to its worker.
#[derive(Clone, Debug)]
pub struct AiDone {
    pub pipeline: Pipeline,
    /// The model, the BYOC capability, or the app.
    pub model: Arc<str>,
    pub door: AiDoor,
    /// What is charged, in `pipeline.unit()`.
    pub units: u64,
    /// As the answer's `usage` tells, for the record: nothing is paid by them.
    pub prompt_tokens: Option<u64>,
    pub made_tokens: Option<u64>,
    pub streamed: bool,
    pub first_byte_ms: u64,
    pub response_ms: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// By which of our doors an AI job came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AiDoor {
    /// An orchestrator that knows us as its AI worker.
    Grpc,
    /// An orchestrator that knows our address as a runner's.
    RunnerApi,
    Byoc,
    /// Live runners and live video.
    Live,
}

// === impl Work ===

impl Work {
    /// The units that the price is for.
    pub fn charged(&self) -> u64 {
        match self {
            Work::Segment(done) => done.encoded_credited,
            Work::Ai(done) => done.units,
        }
    }
}

// === impl AiDone ===

impl AiDone {
    pub fn key(&self) -> ModelKey {
        ModelKey { pipeline: self.pipeline, model: self.model.clone() }
    }
}

// === impl AiDoor ===

impl AiDoor {
    pub const ALL: [AiDoor; 4] = [AiDoor::Grpc, AiDoor::RunnerApi, AiDoor::Byoc, AiDoor::Live];

    /// As the ledger writes it.
    pub fn name(self) -> &'static str {
        match self {
            AiDoor::Grpc => "grpc",
            AiDoor::RunnerApi => "runner-api",
            AiDoor::Byoc => "byoc",
            AiDoor::Live => "live",
        }
    }
}

// === impl WorkDone ===

impl WorkDone {
    /// Segment duration / response time: higher is faster.
    pub fn real_time_ratio(&self) -> f64 {
        self.duration_ms as f64 / (self.response_ms.max(1)) as f64
    }
}
