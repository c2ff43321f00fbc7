//! One worker's right to one attempt of an AI job: the lease, the door's hold on it, and the claim
//! by which a worker answers.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::api::{AiInput, AiItem, AiRequest, AiResult, AiVerdict, Measure, Passed, Road, Usage};
use super::classify;
use crate::domain::ai::AiJob;
use crate::domain::ids::{Address, ConnId, TaskId, WorkerName};
use crate::domain::ledger::{AiDone, Resulted, Step, Work};
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::policy::retry;
use crate::policy::route::Prediction;
use crate::pool::api::{Mode, Recorded, Spool, Unclaimable, Worker};
use crate::pool::table::{Line, Seating};
use crate::pool::{Inner, Pool, Rules};
use crate::telemetry;

/// Chunks of a streamed answer that wait for a slow reader.
const CHUNKS: usize = 64;

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
    shared: bool,
    measure: Measure,
    /// The request, once it is given to a worker.
    request: Mutex<Option<Arc<AiRequest>>>,
    downloads: AtomicU32,
    /// Microseconds after dispatch; 0: none yet.
    first_byte: AtomicU64,
    /// Nobody wants the answer any more.
    gone: CancellationToken,
    phase: Mutex<Phase>,
}

enum Phase {
    /// Waiting for the worker.
    Open(oneshot::Sender<AiEnd>),
    /// An answer is being read.
    Reading(oneshot::Sender<AiEnd>),
    Streaming,
    Over {
        at: Moment,
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

/// The right to answer one AI task, once. Dropping it counts as a broken upload.
pub struct AiClaim {
    inner: Arc<Inner>,
    lease: Arc<AiLease>,
    done: bool,
}

/// A worker's streamed answer on its way. Dropping it before `end` is a failure.
pub struct AiFeed {
    inner: Arc<Inner>,
    lease: Arc<AiLease>,
    items: mpsc::Sender<AiItem>,
    bytes: u64,
    done: bool,
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
            Phase::Over { at } => Some(*at),
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
            *phase = Phase::Over { at: now };
        }
        drop(phase);
        *self.request.lock() = None;
        self.gone.cancel();
    }

    /// Ends the lease from outside the claim; the job hears why.
    pub fn fail(&self, failure: Failure) {
        if let Some(end) = self.take_end(Phase::Over { at: self.dispatched }) {
            let _ = end.send(AiEnd::Failed(failure));
        }
        self.gone.cancel();
    }

    fn take_end(&self, next: Phase) -> Option<oneshot::Sender<AiEnd>> {
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, next) {
            Phase::Open(end) | Phase::Reading(end) => Some(end),
            other => {
                *phase = other;
                None
            }
        }
    }

    fn first_byte(&self, now: Moment) {
        let after = u64::try_from(now.since(self.dispatched).as_micros()).unwrap_or(u64::MAX).max(1);
        let _ = self.first_byte.compare_exchange(0, after, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn resulted(&self, usage: Option<Usage>, bytes_in: u64, bytes_out: u64, inner: &Inner) -> Step {
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

    fn input_bytes(&self) -> u64 {
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
        self.inner.ai_succeeded(&self.lease, passed.scored, now);
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
        let failure =
            if late { Failure::Timeout } else { Failure::Pool("nobody waits for the answer any more".into()) };
        self.settle(&failure, true);
    }
}

// === impl Pool: what AI workers do with a lease ===

impl Pool {
    /// The input behind a lease's secret address; None for anything but a live lease within its
    /// number of downloads.
    pub fn ai_input(&self, key: &str) -> Option<Arc<AiRequest>> {
        let lease = self.inner.ai_inflight.key(key)?;
        if lease.ended().is_some() {
            return None;
        }
        let most = lease.rules.limits.downloads_per_lease;
        if lease.downloads.fetch_add(1, Ordering::Relaxed) >= most {
            return None;
        }
        let request = lease.request.lock().clone()?;
        request.file.is_some().then_some(request)
    }

    /// The right to answer `task`.
    pub fn ai_claim(&self, worker: &Worker, task: TaskId) -> Result<AiClaim, Unclaimable> {
        let lease = self.inner.ai_inflight.task(task).ok_or(Unclaimable::Unknown)?;
        let shared = lease.shared && worker.mode == Mode::Shared && worker.address.is_none();
        if lease.worker != worker.name && !shared {
            telemetry::result_not_theirs(&worker.name, &lease.worker);
            return Err(Unclaimable::NotYours);
        }
        {
            let mut phase = lease.phase.lock();
            let over = Phase::Over { at: lease.dispatched };
            match std::mem::replace(&mut *phase, over) {
                Phase::Open(end) => *phase = Phase::Reading(end),
                busy @ (Phase::Reading(_) | Phase::Streaming) => {
                    *phase = busy;
                    return Err(Unclaimable::Busy);
                }
                Phase::Over { at } => {
                    *phase = Phase::Over { at };
                    drop(phase);
                    self.inner.ai_release(lease.conn, task);
                    return Err(Unclaimable::Ended);
                }
            }
        }
        Ok(AiClaim { inner: self.inner.clone(), lease, done: false })
    }
}

// === impl AiClaim ===

impl AiClaim {
    pub fn job(&self) -> &Arc<AiJob> {
        &self.lease.job
    }

    pub fn worker(&self) -> &WorkerName {
        &self.lease.worker
    }

    /// Cancelled when nobody wants the answer any more.
    pub fn gone(&self) -> CancellationToken {
        self.lease.gone()
    }

    /// Room for one file of the answer.
    pub fn spool(&self) -> Spool {
        let limits = &self.lease.rules.limits;
        self.inner.shelf.spool(limits.memory_bytes, limits.part_bytes)
    }

    /// A whole answer whose shape was checked: recorded durably, handed to the job.
    pub async fn whole(mut self, result: AiResult) -> AiVerdict {
        self.done = true;
        let now = self.inner.clock.now();
        let bytes_out = result.json.len() as u64 + result.files.iter().map(|file| file.body.len()).sum::<u64>();
        let step = self.lease.resulted(result.usage, self.lease.input_bytes(), bytes_out, &self.inner);
        let Some(end) = self.lease.take_end(Phase::Over { at: now }) else {
            self.inner.ai_release(self.lease.conn, self.lease.task);
            return AiVerdict::Late;
        };
        self.inner.ai_succeeded(&self.lease, true, now);
        let recorded = self.inner.recorded(step);
        if end.send(AiEnd::Whole(Arc::new(result), recorded.clone())).is_err() {
            self.inner.void(self.lease.job.id, self.lease.task, "the job was answered without it");
            return AiVerdict::Late;
        }
        match recorded.wait().await {
            Ok(()) => AiVerdict::Accepted,
            Err(down) => AiVerdict::Storage(down),
        }
    }

    /// A streamed answer begins. None: the job has gone elsewhere.
    pub fn stream(mut self) -> Option<AiFeed> {
        self.done = true;
        let (items, reader) = mpsc::channel(CHUNKS);
        let end = self.lease.take_end(Phase::Streaming)?;
        let feed = AiFeed { inner: self.inner.clone(), lease: self.lease.clone(), items, bytes: 0, done: false };
        end.send(AiEnd::Stream(reader)).is_ok().then_some(feed)
    }

    /// An error result.
    pub fn error(mut self, text: &str) -> AiVerdict {
        self.done = true;
        self.end_badly(classify(text));
        AiVerdict::Noted
    }

    /// The answer arrived whole and is not true.
    pub fn refused(mut self, sentence: &str) {
        self.done = true;
        self.end_badly(Failure::Refused(sentence.to_owned()));
    }

    /// The upload broke off or was no answer; the job goes elsewhere.
    pub fn broken(mut self, why: &str) {
        self.done = true;
        self.end_badly(Failure::BadUpload(why.to_owned()));
    }

    /// Any other failure, as the caller calls it.
    pub fn failed(mut self, failure: Failure) {
        self.done = true;
        self.end_badly(failure);
    }

    fn end_badly(&self, failure: Failure) {
        let now = self.inner.clock.now();
        match self.lease.take_end(Phase::Over { at: now }) {
            Some(end) => {
                let _ = end.send(AiEnd::Failed(failure));
            }
            None => self.inner.ai_release(self.lease.conn, self.lease.task),
        }
    }
}

impl Drop for AiClaim {
    fn drop(&mut self) {
        if !self.done {
            self.end_badly(Failure::BadUpload("the upload broke off".into()));
        }
    }
}

// === impl AiFeed ===

impl AiFeed {
    /// One chunk, JSON text; waits for a slow reader. False: nobody reads any more.
    pub async fn chunk(&mut self, chunk: bytes::Bytes) -> bool {
        self.lease.first_byte(self.inner.clock.now());
        self.bytes += chunk.len() as u64;
        self.items.send(AiItem::Chunk(chunk)).await.is_ok()
    }

    /// The answer is whole: recorded durably, then the reader hears its end.
    pub async fn end(mut self, usage: Option<Usage>) -> AiVerdict {
        self.done = true;
        let now = self.inner.clock.now();
        if self.items.is_closed() || self.lease.ended().is_some() {
            self.inner.ai_release(self.lease.conn, self.lease.task);
            return AiVerdict::Late;
        }
        let step = self.lease.resulted(usage, self.lease.input_bytes(), self.bytes, &self.inner);
        self.inner.ai_succeeded(&self.lease, true, now);
        let recorded = self.inner.recorded(step);
        match recorded.wait().await {
            Ok(()) => {
                // Nobody reads: the ticket's close says what became of it.
                let _ = self.items.send(AiItem::End).await;
                AiVerdict::Accepted
            }
            Err(down) => {
                let _ = self.items.send(AiItem::Failed(Failure::Pool(down.clone()))).await;
                AiVerdict::Storage(down)
            }
        }
    }

    /// It broke off.
    pub async fn failed(mut self, failure: Failure) {
        self.done = true;
        let _ = self.items.send(AiItem::Failed(failure)).await;
    }

    /// Cancelled when nobody wants the answer any more.
    pub fn gone(&self) -> CancellationToken {
        self.lease.gone()
    }
}

impl Drop for AiFeed {
    fn drop(&mut self) {
        if !self.done {
            // A full channel is closed by the drop, which the reader takes for a disconnect.
            let _ = self.items.try_send(AiItem::Failed(Failure::Disconnected));
        }
    }
}

// === impl Inner: what an end does to a seat ===

impl Inner {
    fn ai_succeeded(&self, lease: &AiLease, scored: bool, now: Moment) {
        let wall = now.secs_since(lease.dispatched);
        {
            let mut table = self.ai_table.lock();
            table.fleet.release(lease.conn, lease.task);
            if let Some(seat) = table.fleet.seat(lease.conn) {
                let params = &lease.rules.ai.score;
                if scored {
                    let effort = lease.measure.effort.max(1e-6);
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

    fn ai_release(&self, conn: ConnId, task: TaskId) {
        if self.ai_table.lock().fleet.release(conn, task) {
            self.ai_freed();
        }
    }
}

/// What an input is, for who sends it on.
impl AiInput {
    pub fn len(&self) -> u64 {
        self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}
