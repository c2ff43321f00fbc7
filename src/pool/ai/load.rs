//! How much AI work is under way.
use serde::Serialize;

use crate::domain::seat::Seat;
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

/// One registration of an AI worker or runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AiSeatLoad {
    pub worker: String,
    pub running: usize,
    pub capacity: u32,
    pub successes: u64,
    pub failures: u64,
    pub resting: bool,
    pub last_failure: Option<String>,
}

impl Pool {
    /// Every seat for AI work, in no order.
    pub fn ai_seats(&self) -> Vec<AiSeatLoad> {
        let now = self.inner.clock.now();
        let one = |seat: &Seat| AiSeatLoad {
            worker: seat.worker.to_string(),
            running: seat.running.len(),
            capacity: seat.capacity(),
            successes: seat.successes,
            failures: seat.failures,
            resting: seat.resting(now),
            last_failure: seat.last_failure.as_ref().map(ToString::to_string),
        };
        self.inner.ai_table.lock().fleet.seats.iter().map(one).collect()
    }

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
