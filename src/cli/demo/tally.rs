//! What a demo came to: the object that `--json` prints.
use serde::Serialize;

use super::ai::AiRole;
use super::cast::Role;
use crate::sim::OrchestratorCounters;
use crate::state::store::ledger::ReportRow;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Tally {
    pub(super) segments_sent: u64,
    pub(super) segments_delivered: u64,
    pub(super) errors_returned: u64,
    /// Delivered by another worker than the one that was asked first.
    pub(super) retried_elsewhere: u64,
    pub(super) answered_late: u64,
    pub(super) registrations_lost: u64,
    /// Neither delivered nor answered by an error.
    pub(super) unanswered: u64,
    /// Never sent: a session's buffer was full, or no transcoder was there.
    pub(super) dropped_by_buffer: u64,
    pub(super) no_transcoder: u64,
    /// Delivered, but other bytes or pixels than true ones.
    pub(super) wrong_bytes: u64,
    pub(super) wrong_pixels: u64,
    pub(super) ledger_balanced: bool,
    pub(super) workers: Vec<WorkerTally>,
    /// With `--ai`: all ten, those without a job too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pipelines: Vec<PipelineTally>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ai_workers: Vec<AiWorkerTally>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct PipelineTally {
    pub(super) name: &'static str,
    pub(super) jobs: u64,
    pub(super) delivered: u64,
    /// Answered by an error.
    pub(super) errors: u64,
    /// Not answered so that an orchestrator survives it well.
    pub(super) lost: u64,
    /// Of what was delivered, as the orchestrators charge it.
    pub(super) units: u64,
    pub(super) unit: &'static str,
    pub(super) p95_ms: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// An AI worker or a runner, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AiWorkerTally {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) road: &'static str,
    pub(super) jobs: u64,
    pub(super) earned_wei: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WorkerTally {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) segments: u64,
    pub(super) pixels: u64,
    /// Duration / response time as the ledger has it: higher is faster.
    pub(super) real_time_ratio: f64,
    /// Decimal digits: it may not fit a JSON number.
    pub(super) earned_wei: String,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(
        seen: &[OrchestratorCounters],
        saved: u64,
        ledger_balanced: bool,
        workers: Vec<WorkerTally>,
    ) -> Tally {
        let sum = |count: fn(&OrchestratorCounters) -> u64| seen.iter().map(count).sum();
        Tally {
            segments_sent: sum(|c| c.segments_sent),
            segments_delivered: sum(|c| c.delivered),
            errors_returned: sum(|c| c.errors_returned),
            retried_elsewhere: saved,
            answered_late: sum(|c| c.answered_late),
            registrations_lost: sum(|c| c.registrations_lost),
            unanswered: sum(|c| c.unanswered),
            dropped_by_buffer: sum(|c| c.dropped_by_buffer),
            no_transcoder: sum(|c| c.no_transcoder),
            wrong_bytes: sum(|c| c.wrong_bytes),
            wrong_pixels: sum(|c| c.wrong_pixels),
            ledger_balanced,
            workers,
            pipelines: Vec::new(),
            ai_workers: Vec::new(),
        }
    }
}

// === impl AiWorkerTally ===

impl AiWorkerTally {
    pub(super) fn new(role: &AiRole, row: Option<&ReportRow>) -> AiWorkerTally {
        let row = row.cloned().unwrap_or_default();
        AiWorkerTally {
            name: role.name.to_owned(),
            address: role.address.to_string(),
            road: if role.runner { "runner" } else { "worker" },
            jobs: row.ai_jobs,
            earned_wei: row.worker_share.to_string(),
        }
    }
}

// === impl WorkerTally ===

impl WorkerTally {
    /// A worker that posted nothing has no row in the ledger.
    pub(super) fn new(role: &Role, row: Option<&ReportRow>) -> WorkerTally {
        let row = row.cloned().unwrap_or_default();
        WorkerTally {
            name: role.name.clone(),
            address: role.address.to_string(),
            segments: row.segments,
            pixels: row.pixels_credited,
            real_time_ratio: row.mean_real_time_milli() as f64 / 1000.0,
            earned_wei: row.worker_share.to_string(),
        }
    }
}
