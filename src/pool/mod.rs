//! The verbs: login, join, submit, lease, settle, view.
//!
//! A job enters as a [`Ticket`], is worked under a lease, and leaves by the orchestrator's word.
pub mod ai;
pub mod api;
pub mod clock;
mod door;
mod explain;
mod lease;
mod rulebook;
mod seating;
mod sweep;
mod table;
mod ticket;
mod view;

pub use crate::policy::rules::{JobLimits, JoinRules, RetryRules, RouteRules, Rules};
pub use api::*;
pub use lease::Claim;
pub use seating::Seated;
pub use ticket::Ticket;
pub use view::{View, WorkerView};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{ConnId, Epoch, JobId, OrchestratorName, SessionKey, TaskId};
use crate::domain::job::Job;
use crate::domain::ledger::Step;
use crate::domain::outcome::Failure;
use crate::state::inflight::Inflight;
use crate::state::limits::Lockouts;
use crate::state::roster::Roster;
use crate::state::shelf::Shelf;
use crate::state::store::journal::Journal;
use crate::state::store::ledger::Ledger;
use crate::telemetry;
use clock::Clock;
use lease::Lease;
use rulebook::Rulebook;
use table::Table;

/// Where tickets, leases and receipts meet. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// What the pool is made of.
pub struct Parts {
    pub rules: Rules,
    pub clock: Clock,
    pub ledger: Ledger,
    pub journal: Journal,
    pub roster: Roster,
    pub shared_secret: Option<String>,
    /// The version that a worker without capabilities is taken to have.
    pub fallback_version: String,
    /// Seed of tie-breaks and samples.
    pub seed: u64,
}

struct Inner {
    rulebook: Rulebook,
    clock: Clock,
    ledger: Ledger,
    journal: Journal,
    roster: Roster,
    shared_secret: Option<String>,
    fallback_version: String,
    table: Mutex<Table>,
    inflight: Inflight<Lease>,
    jobs: DashMap<JobId, Live>,
    shelf: Shelf,
    lockouts: Lockouts,
    offer: watch::Sender<Offer>,
    /// AI workers and runners have a table of their own: a model's jobs and segments never share a
    /// seat, and never wait for one another's lock.
    ai_table: Mutex<Table>,
    ai_inflight: Inflight<ai::lease::AiLease>,
    ai_jobs: DashMap<JobId, ai::LiveAi>,
    ai_offer: watch::Sender<ai::AiOffer>,
    ai_freed: Notify,
    ai_waiting: AtomicUsize,
    /// A seat or a slot came free.
    freed: Notify,
    waiting: AtomicUsize,
    conns: AtomicU64,
    saved: AtomicU64,
    draining: AtomicBool,
    /// Memory in use, percent of the limit.
    memory: AtomicU8,
}

/// A job in flight, for those who may end it.
struct Live {
    job: Arc<Job>,
    gone: CancellationToken,
}

/// How many that wait look again when one slot comes free.
const WAKES: usize = 4;

/// A place among the waiting; given back on drop.
struct WaitSlot(Arc<Inner>);

// === impl Pool ===

impl Pool {
    pub fn new(parts: Parts) -> Pool {
        let table = Table::new(parts.seed, &parts.rules.route);
        let ai_table = Table::new(parts.seed.wrapping_add(1), &parts.rules.ai_route());
        let shelf = Shelf::new(parts.rules.limits.shelf_bytes);
        let lockouts = Lockouts::new(parts.rules.join.login_failures, parts.rules.join.lockout);
        let inner = Inner {
            rulebook: Rulebook::new(parts.rules),
            clock: parts.clock,
            ledger: parts.ledger,
            journal: parts.journal,
            roster: parts.roster,
            shared_secret: parts.shared_secret,
            fallback_version: parts.fallback_version,
            table: Mutex::new(table),
            inflight: Inflight::default(),
            jobs: DashMap::new(),
            shelf,
            lockouts,
            offer: watch::Sender::new(Offer::default()),
            ai_table: Mutex::new(ai_table),
            ai_inflight: Inflight::default(),
            ai_jobs: DashMap::new(),
            ai_offer: watch::Sender::new(ai::AiOffer::default()),
            ai_freed: Notify::new(),
            ai_waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            conns: AtomicU64::new(1),
            saved: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            memory: AtomicU8::new(0),
        };
        Pool { inner: Arc::new(inner) }
    }

    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    pub fn rules(&self) -> Arc<Rules> {
        self.inner.rulebook.current()
    }

    /// Another book from now on; running jobs keep theirs.
    pub fn replace_rules(&self, rules: Rules) {
        self.inner.rulebook.replace(rules);
    }

    /// What the pool offers upstream, as it changes.
    pub fn offer(&self) -> watch::Receiver<Offer> {
        self.inner.offer.subscribe()
    }

    /// The orchestrator ended a session: told to the worker that holds it.
    pub fn end_session(&self, session: &SessionKey, message: Option<Bytes>) {
        let mut table = self.inner.table.lock();
        let Some(conn) = table.fleet.end_session(session) else { return };
        if let Some(line) = table.fleet.line(conn) {
            let _ = line.orders.try_send(Order::EndSession { session: session.session.clone(), message });
        }
        drop(table);
        telemetry::session_ended();
        self.inner.seat_freed();
    }

    /// Another process answers there now: jobs of other epochs are dropped.
    pub fn epoch(&self, orchestrator: &OrchestratorName, epoch: &Epoch) {
        for live in &self.inner.jobs {
            if live.job.session.orchestrator == *orchestrator && live.job.epoch != *epoch {
                live.gone.cancel();
            }
        }
        self.inner.ai_epoch(orchestrator, epoch);
    }

    /// No new jobs from now on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Ends every registration with this sentence; running jobs may still be answered.
    pub fn goodbye(&self, text: &str) {
        let text: Arc<str> = text.into();
        for table in [&self.inner.table, &self.inner.ai_table] {
            Pool::send_away(&mut table.lock(), &text);
        }
    }

    fn send_away(table: &mut Table, text: &Arc<str>) {
        let seats: Vec<ConnId> = table.fleet.seats.iter().map(|seat| seat.conn).collect();
        for conn in seats {
            if let Some(seat) = table.fleet.seat(conn) {
                seat.state = crate::domain::seat::SeatState::Draining;
            }
            if let Some(line) = table.fleet.line(conn) {
                let _ = line.orders.try_send(Order::Goodbye(text.clone()));
            }
        }
    }

    /// How full our memory is, in percent; returns what was told before.
    pub fn memory(&self, percent: u8) -> u8 {
        self.inner.memory.swap(percent, Ordering::Relaxed)
    }

    pub fn is_draining(&self) -> bool {
        self.inner.draining()
    }

    /// Whether storage takes writes.
    pub fn healthy(&self) -> Result<(), String> {
        self.inner.ledger.health().map_err(|why| why.to_string())
    }

    /// Jobs in flight.
    pub fn jobs(&self) -> usize {
        self.inner.jobs.len() + self.inner.ai_jobs.len()
    }
}

// === impl Inner ===

impl Inner {
    fn next_conn(&self) -> u64 {
        self.conns.fetch_add(1, Ordering::Relaxed)
    }

    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn saved(&self) -> u64 {
        self.saved.load(Ordering::Relaxed)
    }

    fn count_saved(&self) {
        self.saved.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody who waits may look again: a few, lest a crowd scans the fleet for one slot. The
    /// first may not be able to use it; whoever waits also looks by himself now and then.
    fn seat_freed(&self) {
        self.wake(WAKES);
    }

    fn wake(&self, most: usize) {
        // Not bounded by the count of those who wait: one may be just about to.
        for _ in 0..most {
            self.freed.notify_one();
        }
    }

    /// Seats came or went: the offer may be another.
    fn fleet_changed(&self) {
        let offer = self.table.lock().offer();
        self.offer.send_if_modified(|now| {
            let changed = *now != offer;
            *now = offer;
            changed
        });
    }

    fn release(&self, conn: ConnId, task: TaskId) {
        if self.table.lock().fleet.release(conn, task) {
            self.seat_freed();
        }
    }

    fn wait_slot(self: &Arc<Self>, most: usize) -> Result<WaitSlot, Failure> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = WaitSlot(self.clone());
        if before >= most {
            return Err(Failure::NoWorker(format!("{most} jobs wait for a worker (limits.waiting)")));
        }
        Ok(slot)
    }

    /// Writes a step that nobody waits for; a fault shows in the ledger's health.
    fn write(&self, step: Step) {
        if let Err(down) = self.ledger.append(step) {
            telemetry::ledger_down(&down.to_string());
        }
    }

    fn void(&self, job: JobId, task: TaskId, why: &str) {
        self.write(Step::Voided { job, task, at_ms: self.clock.unix_ms(), why: why.into() });
    }

    /// Keeps what `explain` will tell.
    fn keep(&self, job: JobId, record: &mut explain::Record) {
        let decision = std::mem::take(&mut record.decision);
        match serde_json::to_string(&decision) {
            Ok(text) => self.journal.record(job, text),
            Err(fault) => telemetry::journal_fault(&fault.to_string()),
        }
    }
}

impl Drop for WaitSlot {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
