//! AI jobs in the pool: the same verbs as for segments, for models, by two roads.
pub mod api;
mod claim;
pub mod lease;
mod load;
mod seating;
#[cfg(test)]
mod tests;
pub mod ticket;
pub mod view;

pub use api::*;
pub use claim::{AiClaim, AiFeed};
pub use lease::AiAttempt;
pub use load::{AiLoad, AiSeatLoad};
pub use ticket::AiTicket;

use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::Inner;
use super::api::Recorded;
use crate::domain::ai::AiJob;
use crate::domain::ids::{Epoch, OrchestratorName};
use crate::domain::ledger::Step;
use crate::domain::outcome::Failure;

/// An AI job in flight, for those who may end it.
pub(super) struct LiveAi {
    pub(super) job: Arc<AiJob>,
    pub(super) gone: CancellationToken,
}

/// A place among the waiting; given back on drop.
pub(super) struct AiWaitSlot(Arc<Inner>);

/// How many that wait look again when one slot comes free.
const WAKES: usize = 4;

/// Sorts a worker's error text (wire-protocol 3): the caller's fault, a full worker, or its own.
pub(super) fn classify(text: &str) -> Failure {
    let text = text.trim();
    let callers = [400, 401, 413, 415, 422];
    let container = |code: &u16| text.contains(&format!(" container returned {code}"));
    if text == "no workers can process job requested" {
        Failure::Busy
    } else if text.starts_with("AI request validation failed for ") || callers.iter().any(container) {
        Failure::InputError(text.to_owned())
    } else {
        Failure::WorkerError(text.to_owned())
    }
}

// === impl Inner ===

impl Inner {
    /// Somebody who waits for an AI worker may look again.
    pub(super) fn ai_freed(&self) {
        for _ in 0..WAKES {
            self.ai_freed.notify_one();
        }
    }

    /// Writes a step; the answer tells when it is durable.
    pub(super) fn recorded(&self, step: Step) -> Recorded {
        Recorded(self.ledger.append(step).map(FutureExt::shared).map_err(|down| down.to_string()))
    }

    pub(super) fn ai_wait_slot(self: &Arc<Self>, most: usize) -> Result<AiWaitSlot, Failure> {
        let before = self.ai_waiting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let slot = AiWaitSlot(self.clone());
        if before >= most {
            return Err(Failure::NoWorker(format!("{most} AI jobs wait for a worker (ai.waiting)")));
        }
        Ok(slot)
    }

    /// Another process answers there now: AI jobs of other epochs are dropped.
    pub(super) fn ai_epoch(&self, orchestrator: &OrchestratorName, epoch: &Epoch) {
        for live in &self.ai_jobs {
            if live.job.orchestrator == *orchestrator && live.job.epoch != *epoch {
                live.gone.cancel();
            }
        }
    }
}

impl Drop for AiWaitSlot {
    fn drop(&mut self) {
        self.0.ai_waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
