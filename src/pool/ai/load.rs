//! How much AI work is under way.
use serde::Serialize;

use crate::pool::Pool;

/// Counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AiLoad {
    /// Jobs that were let in and are not closed.
    pub jobs: usize,
    /// Of them, jobs that wait for a seat.
    pub waiting: usize,
    /// Permits that are given, on all seats.
    pub running: usize,
    /// Attempts that are under way, or are remembered for late answers.
    pub leases: usize,
}

impl Pool {
    pub fn ai_load(&self) -> AiLoad {
        let inner = &self.inner;
        AiLoad {
            jobs: inner.ai_jobs.len(),
            waiting: inner.ai_waiting.load(std::sync::atomic::Ordering::Relaxed),
            running: inner.ai_table.lock().fleet.seats.iter().map(|seat| seat.running.len()).sum(),
            leases: inner.ai_inflight.len(),
        }
    }
}
