//! What people see of an orchestrator: state in words, and counts, of segments and of AI jobs.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::config::OrchestratorConfig;
use super::registration::{Kind, Registration, What};

/// One orchestrator, for the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrchestratorStatus {
    pub name: String,
    pub url: String,
    pub epoch: String,
    /// As its transcoder.
    #[serde(flatten)]
    pub transcoder: SideStatus,
    /// As its AI worker.
    pub ai: AiStatus,
}

/// What stands and what was done of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SideStatus {
    /// In words.
    pub state: String,
    /// Registrations that stand, and that should.
    pub registrations: u64,
    pub registrations_wanted: u64,
    /// Sessions, or AI jobs at once, that the standing ones are registered for.
    pub capacity: u64,
    pub tasks_received: u64,
    pub results_accepted: u64,
    pub results_refused: u64,
    pub errors_sent: u64,
    /// Answers that came after the orchestrator's budget.
    pub answered_late: u64,
    /// Tasks to which no answer could be sent.
    pub unanswered: u64,
    pub registrations_lost: u64,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AiStatus {
    #[serde(flatten)]
    pub side: SideStatus,
    /// What the standing registration offers.
    pub models: Vec<ModelStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelStatus {
    pub pipeline: &'static str,
    pub model: String,
    pub capacity: u32,
    pub warm: bool,
}

/// The counts as they run, by kind.
#[derive(Default)]
pub(super) struct Status {
    transcoder: Side,
    ai: Side,
}

#[derive(Default)]
pub(super) struct Side {
    up: AtomicU64,
    pub(super) wanted: AtomicU64,
    capacity: AtomicU64,
    pub(super) tasks_received: AtomicU64,
    pub(super) results_accepted: AtomicU64,
    pub(super) results_refused: AtomicU64,
    pub(super) errors_sent: AtomicU64,
    pub(super) answered_late: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) registrations_lost: AtomicU64,
    /// A registration came up.
    pub(super) came_up: Notify,
    trouble: Mutex<Trouble>,
    models: Mutex<Vec<ModelStatus>>,
}

#[derive(Default)]
struct Trouble {
    /// Why a registration does not stand now.
    now: Option<String>,
    last: Option<String>,
}

/// A registration that stands; its end is counted on drop.
pub(super) struct Up<'a> {
    side: &'a Side,
    capacity: u64,
}

// === impl Status ===

impl Status {
    pub(super) fn of(&self, kind: Kind) -> &Side {
        match kind {
            Kind::Transcoder => &self.transcoder,
            Kind::Ai => &self.ai,
        }
    }

    /// Registrations that stand, of both kinds.
    pub(super) fn standing(&self) -> u64 {
        self.transcoder.up.load(Relaxed) + self.ai.up.load(Relaxed)
    }

    pub(super) fn show(&self, orchestrator: &OrchestratorConfig, epoch: String) -> OrchestratorStatus {
        let models = self.ai.models.lock().clone();
        OrchestratorStatus {
            name: orchestrator.name.to_string(),
            url: orchestrator.url.to_string(),
            epoch,
            transcoder: self.transcoder.show("waiting for workers"),
            ai: AiStatus { side: self.ai.show("waiting for AI workers"), models },
        }
    }
}

// === impl Side ===

impl Side {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn up(&self, registration: &Registration) -> Up<'_> {
        let capacity = u64::from(registration.capacity);
        self.up.fetch_add(1, Relaxed);
        self.capacity.fetch_add(capacity, Relaxed);
        self.trouble.lock().now = None;
        *self.models.lock() = models(registration);
        Up { side: self, capacity }
    }

    /// Notes a fault; true when it is another than the last, so worth a line in the log.
    pub(super) fn trouble(&self, why: &str) -> bool {
        let mut trouble = self.trouble.lock();
        let news = trouble.now.as_deref() != Some(why);
        trouble.now = Some(why.to_owned());
        trouble.last = trouble.now.clone();
        news
    }

    /// Notes a fault that has nothing to do with registrations.
    pub(super) fn note(&self, why: &str) {
        self.trouble.lock().last = Some(why.to_owned());
    }

    fn show(&self, idle: &str) -> SideStatus {
        let (up, wanted) = (self.up.load(Relaxed), self.wanted.load(Relaxed));
        let trouble = self.trouble.lock();
        SideStatus {
            state: in_words(up, wanted, idle, trouble.now.as_deref()),
            registrations: up,
            registrations_wanted: wanted,
            capacity: self.capacity.load(Relaxed),
            tasks_received: self.tasks_received.load(Relaxed),
            results_accepted: self.results_accepted.load(Relaxed),
            results_refused: self.results_refused.load(Relaxed),
            errors_sent: self.errors_sent.load(Relaxed),
            answered_late: self.answered_late.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            registrations_lost: self.registrations_lost.load(Relaxed),
            last_error: trouble.last.clone(),
        }
    }
}

fn models(registration: &Registration) -> Vec<ModelStatus> {
    let What::Ai(offer) = &registration.what else { return Vec::new() };
    let one = |model: &crate::domain::ai::ModelOffer| ModelStatus {
        pipeline: model.key.pipeline.name(),
        model: model.key.model.to_string(),
        capacity: model.capacity,
        warm: model.warm,
    };
    offer.models.iter().map(one).collect()
}

fn in_words(up: u64, wanted: u64, idle: &str, trouble: Option<&str>) -> String {
    match (up, wanted, trouble) {
        (0, 0, _) => idle.into(),
        (0, _, None) => "registering".into(),
        (0, _, Some(why)) => format!("not registered: {why}"),
        (up, wanted, Some(why)) if up < wanted => format!("{up} of {wanted} registrations stand: {why}"),
        _ => "registered".into(),
    }
}

// === impl Up ===

impl Drop for Up<'_> {
    fn drop(&mut self) {
        // While one follows another both stand; the models shown are the new one's.
        if self.side.up.fetch_sub(1, Relaxed) <= 1 {
            self.side.models.lock().clear();
        }
        self.side.capacity.fetch_sub(self.capacity, Relaxed);
    }
}
