//! What people see of an orchestrator: state in words, and counts.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

use super::config::OrchestratorConfig;

/// One orchestrator, for the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrchestratorStatus {
    pub name: String,
    pub url: String,
    /// In words.
    pub state: String,
    /// Registrations that stand, and that should.
    pub registrations: u64,
    pub registrations_wanted: u64,
    /// Sessions that the standing ones are registered for.
    pub capacity: u64,
    pub epoch: String,
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

/// The counts as they run.
#[derive(Default)]
pub(super) struct Status {
    pub(super) up: AtomicU64,
    pub(super) wanted: AtomicU64,
    pub(super) capacity: AtomicU64,
    pub(super) tasks_received: AtomicU64,
    pub(super) results_accepted: AtomicU64,
    pub(super) results_refused: AtomicU64,
    pub(super) errors_sent: AtomicU64,
    pub(super) answered_late: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) registrations_lost: AtomicU64,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    /// Why a registration does not stand now.
    now: Option<String>,
    last: Option<String>,
}

/// A registration that stands; its end is counted on drop.
pub(super) struct Up<'a> {
    status: &'a Status,
    capacity: u64,
}

// === impl Status ===

impl Status {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn up(&self, capacity: u32) -> Up<'_> {
        let capacity = u64::from(capacity);
        self.up.fetch_add(1, Relaxed);
        self.capacity.fetch_add(capacity, Relaxed);
        self.trouble.lock().now = None;
        Up { status: self, capacity }
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

    pub(super) fn show(&self, orchestrator: &OrchestratorConfig, epoch: String) -> OrchestratorStatus {
        let (up, wanted) = (self.up.load(Relaxed), self.wanted.load(Relaxed));
        let trouble = self.trouble.lock();
        OrchestratorStatus {
            name: orchestrator.name.to_string(),
            url: orchestrator.url.to_string(),
            state: in_words(up, wanted, trouble.now.as_deref()),
            registrations: up,
            registrations_wanted: wanted,
            capacity: self.capacity.load(Relaxed),
            epoch,
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

fn in_words(up: u64, wanted: u64, trouble: Option<&str>) -> String {
    match (up, wanted, trouble) {
        (0, 0, _) => "waiting for workers".into(),
        (0, _, None) => "registering".into(),
        (0, _, Some(why)) => format!("not registered: {why}"),
        (up, wanted, Some(why)) if up < wanted => format!("{up} of {wanted} registrations stand: {why}"),
        _ => "registered".into(),
    }
}

// === impl Up ===

impl Up<'_> {
    /// Whether it is the last one that stands.
    pub(super) fn is_last(&self) -> bool {
        self.status.up.load(Relaxed) <= 1
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.status.up.fetch_sub(1, Relaxed);
        self.status.capacity.fetch_sub(self.capacity, Relaxed);
    }
}
