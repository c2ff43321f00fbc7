//! One worker's right to one attempt of an AI job: the lease, and the door's hold on it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{AiItem, AiRequest, AiResult, Measure, Passed, Road, Usage};
use crate::domain::ai::AiJob;
use crate::domain::ids::{Address, ConnId, TaskId, WorkerName};
use crate::domain::ledger::{AiDone, Resulted, Step, Work};
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::policy::retry;
use crate::policy::route::Prediction;
use crate::pool::api::Recorded;
use crate::pool::table::{Line, Seating};
use crate::pool::{Inner, Rules};
use crate::telemetry;

pub struct AiLease {
    pub job: Arc<AiJob>,
    pub rules: Arc<Rules>,
    pub task: TaskId,
    /// Of the input's download.
    pub key: Arc<str>,
    pub conn: ConnId,
    pub worker: WorkerName,
    pub address: Option<Address>,
    pub road: Road,
    pub dispatched: Moment,
    pub prediction: Prediction,
    pub(super) shared: bool,
    pub(super) measure: Measure,
    /// The request, once it is given to a worker.
    pub(super) request: Mutex<Option<Arc<AiRequest>>>,
    pub(super) downloads: AtomicU32,
    /// Microseconds after dispatch; 0: none yet.
    first_byte: AtomicU64,
    /// Nobody wants the answer any more.
    gone: CancellationToken,
    pub(super) phase: Mutex<Phase>,
}

pub(super) enum Phase {
    /// Waiting for the worker.
    Open(oneshot::Sender<AiEnd>),
    /// An answer is being read.
    Reading(oneshot::Sender<AiEnd>),
    Streaming,
    /// `answered`: by a whole answer that was taken.
    Over {
        at: Moment,
        answered: bool,
    },
}

/// What the job hears of its lease.
pub enum AiEnd {
    Whole(Arc<AiResult>, Recorded),
    Stream(mpsc::Receiver<AiItem>),
    Failed(Failure),
}

/// The door's hold on a lease. Dropped unsettled, the attempt was given up.
pub struct AiAttempt {
    pub(super) inner: Arc<Inner>,
    pub(super) lease: Arc<AiLease>,
    pub(super) line: Line,
    pub(super) end: oneshot::Receiver<AiEnd>,
    settled: bool,
}

// === impl AiLease ===

impl AiLease {
    pub fn new(
        job: Arc<AiJob>,
        rules: Arc<Rules>,
        seating: &Seating,
        measure: Measure,
        now: Moment,
    ) -> (AiLease, oneshot::Receiver<AiEnd>) {
        let (end_tx, end) = oneshot::channel();
        let lease = AiLease {
            job,
            rules,
            task: seating.task,
            key: format!("{:032x}", seating.key).into(),
            conn: seating.pick.conn,
            worker: seating.worker.clone(),
            address: seating.address,
            road: seating.road,
            dispatched: now,
            prediction: seating.pick.prediction,
            shared: seating.line.shared,
            measure,
            request: Mutex::new(None),
            downloads: AtomicU32::new(0),
            first_byte: AtomicU64::new(0),
            gone: CancellationToken::new(),
            phase: Mutex::new(Phase::Open(end_tx)),
        };
        (lease, end)
    }

    pub fn ended(&self) -> Option<Moment> {
        match &*self.phase.lock() {
            Phase::Over { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// A whole answer was taken.
    fn answered(&self) -> bool {
        matches!(&*self.phase.lock(), Phase::Over { answered: true, .. })
    }

    /// The moment from which on `remember` is counted: a worker that was given up may answer much
    /// later, and its slot is free only then.
    pub fn forget_from(&self, later: Duration) -> Option<Moment> {
        match &*self.phase.lock() {
            Phase::Over { at, answered: true } => Some(*at),
            Phase::Over { at, answered: false } => Some(*at + later),
            _ => None,
        }
    }

    pub fn give(&self, request: Arc<AiRequest>) {
        *self.request.lock() = Some(request);
    }

    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// The job gave this attempt up; a later answer is late.
    pub fn over(&self, now: Moment) {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Over { .. }) {
            *phase = Phase::Over { at: now, answered: false };
        }
        drop(phase);
        *self.request.lock() = None;
        self.gone.cancel();
    }

    /// Ends the lease from outside the claim; the job hears why.
    pub fn fail(&self, failure: Failure, now: Moment) {
        if let Some(end) = self.take_end(Phase::Over { at: now, answered: false }) {
            let _ = end.send(AiEnd::Failed(failure));
        }
        self.gone.cancel();
    }

    pub(super) fn take_end(&self, next: Phase) -> Option<oneshot::Sender<AiEnd>> {
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, next) {
            Phase::Open(end) | Phase::Reading(end) => Some(end),
            other => {
                *phase = other;
                None
            }
        }
    }

    pub(super) fn first_byte(&self, now: Moment) {
        let after = u64::try_from(now.since(self.dispatched).as_micros()).unwrap_or(u64::MAX).max(1);
        let _ = self.first_byte.compare_exchange(0, after, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn resulted(&self, usage: Option<Usage>, bytes_in: u64, bytes_out: u64, inner: &Inner) -> Step {
        let now = inner.clock.now();
        self.first_byte(now);
        let response_ms = u64::try_from(now.since(self.dispatched).as_millis()).unwrap_or(u64::MAX);
        let job = &self.job;
        let done = AiDone {
            pipeline: job.key.pipeline,
            model: job.key.model.clone(),
            door: job.door,
            units: self.measure.units,
            prompt_tokens: usage.map(|usage| usage.prompt),
            made_tokens: usage.map(|usage| usage.made),
            streamed: job.stream,
            first_byte_ms: self.first_byte.load(Ordering::Relaxed) / 1000,
            response_ms,
            bytes_in,
            bytes_out,
        };
        Step::Resulted(Resulted {
            job: job.id,
            task: self.task,
            at_ms: inner.clock.unix_ms(),
            work: Work::Ai(done),
            price: self.rules.ai_price(&job.key),
            commission: self.rules.commission,
        })
    }

    pub(super) fn input_bytes(&self) -> u64 {
        let request = self.request.lock();
        let Some(request) = &*request else { return 0 };
        request.json.len() as u64 + request.file.as_ref().map_or(0, |file| file.body.len())
    }
}

// === impl AiAttempt ===

impl AiAttempt {
    pub(super) fn new(inner: Arc<Inner>, lease: Arc<AiLease>, line: Line, end: oneshot::Receiver<AiEnd>) -> AiAttempt {
        AiAttempt { inner, lease, line, end, settled: false }
    }

    pub fn road(&self) -> Road {
        self.lease.road
    }

    pub fn conn(&self) -> ConnId {
        self.lease.conn
    }

    pub fn worker(&self) -> &WorkerName {
        &self.lease.worker
    }

    pub fn task(&self) -> TaskId {
        self.lease.task
    }

    /// The first byte of the answer went to whoever asked.
    pub fn first_byte(&self) {
        self.lease.first_byte(self.inner.clock.now());
    }

    /// An answer that only passed through is whole: the worker's permit ends, its score learns, the
    /// ledger hears. `units`: when they are known only now.
    pub(super) fn passed(mut self, passed: Passed, units: Option<u64>) -> Recorded {
        self.settled = true;
        let now = self.inner.clock.now();
        let mut step = self.lease.resulted(passed.usage, passed.bytes_in, passed.bytes_out, &self.inner);
        if let (Step::Resulted(Resulted { work: Work::Ai(done), .. }), Some(units)) = (&mut step, units) {
            done.units = units;
        }
        let pipeline = self.lease.job.key.pipeline;
        let effort = units.map_or(self.lease.measure.effort, |units| pipeline.effort(units));
        self.inner.ai_succeeded(&self.lease, passed.scored.then_some(effort), now);
        self.lease.over(now);
        self.inner.recorded(step)
    }

    /// The attempt came to nothing.
    pub fn lost(mut self, failure: Failure) -> Failure {
        self.settle(&failure, false);
        failure
    }

    /// Its outcome is written already.
    pub(super) fn settled(&mut self) {
        self.settled = true;
        self.lease.over(self.inner.clock.now());
    }

    pub(super) fn settle(&mut self, failure: &Failure, busy: bool) {
        if self.settled {
            return;
        }
        self.settled = true;
        self.lease.over(self.inner.clock.now());
        self.inner.void(self.lease.job.id, self.lease.task, &failure.to_string());
        self.inner.ai_failed(&self.lease, failure, busy);
    }
}

impl Drop for AiAttempt {
    fn drop(&mut self) {
        // Whoever asked has left, or the deadline came: the worker is not to blame for the first.
        let late = self.inner.clock.now() >= self.lease.job.answer_by;
        let failure = if self.lease.answered() {
            // Its answer and our giving up crossed.
            Failure::Pool("the answer came in the moment when it was given up".into())
        } else if late {
            Failure::Timeout
        } else {
            Failure::Pool("nobody waits for the answer any more".into())
        };
        self.settle(&failure, true);
    }
}

// === impl Inner: what an end does to a seat ===

impl Inner {
    /// `effort`: None when its time says nothing of the worker's speed.
    pub(super) fn ai_succeeded(&self, lease: &AiLease, effort: Option<f64>, now: Moment) {
        let wall = now.secs_since(lease.dispatched);
        {
            let mut table = self.ai_table.lock();
            table.fleet.release(lease.conn, lease.task);
            if let Some(seat) = table.fleet.seat(lease.conn) {
                let params = &lease.rules.ai.score;
                if let Some(effort) = effort.map(|effort| effort.max(1e-6)) {
                    seat.scores.sample(lease.job.class, lease.prediction.concurrency, wall / effort, now, params);
                }
                seat.scores.succeeded(lease.job.class, now, params);
                retry::succeeded(seat, now);
            }
            if lease.rules.join.open {
                table.prove(lease.conn, &lease.rules.join);
            }
        }
        telemetry::ai_done(&lease.worker, &lease.job.key, wall);
        self.ai_freed();
    }

    fn ai_failed(&self, lease: &AiLease, failure: &Failure, busy: bool) {
        let now = self.clock.now();
        let params = &lease.rules.ai.score;
        {
            let mut table = self.ai_table.lock();
            // A runner hears of it when its connection closes; a worker cannot be told.
            if busy && lease.road == Road::Worker {
                table.fleet.abandon(lease.conn, lease.task);
            } else {
                table.fleet.release(lease.conn, lease.task);
            }
            let jitter = rand::Rng::random_range(&mut table.rng, 0.8..1.2);
            if let Some(seat) = table.fleet.seat(lease.conn) {
                let weight = retry::weight(failure);
                if weight > 0 {
                    seat.scores.failed(lease.job.class, f64::from(weight), now, params);
                }
                retry::failed(seat, failure, jitter, now, &lease.rules.retry);
            }
        }
        telemetry::ai_attempt_failed(&lease.worker, &lease.job.key, failure);
        self.ai_inflight.close_key(&lease.key);
        self.ai_freed();
    }

    pub(super) fn ai_release(&self, conn: ConnId, task: TaskId) {
        if self.ai_table.lock().fleet.release(conn, task) {
            self.ai_freed();
        }
    }
}
