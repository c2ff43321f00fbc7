//! A ticket: a job that was let in, worked until it has an answer, and closed by the
//! orchestrator's word. One answer, always before its time.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::api::{Answer, NewJob, Order, SourceWriter, Upstream};
use super::explain::Record;
use super::lease::{Lease, LeaseEnd};
use super::table::Asking;
use super::{Inner, Pool, Rules};
use crate::domain::ids::{ConnId, JobId, TaskId};
use crate::domain::job::{Job, budget};
use crate::domain::ledger::{Assigned, Step};
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::policy::retry;
use crate::policy::route::NoSeat;
use crate::telemetry;

/// A silent worker is looked at this often, once the least patience is over.
const PATIENCE_STEP: Duration = Duration::from_millis(250);
/// A job stops waiting for a seat this long before its answer is due.
const NO_SEAT_MARGIN: Duration = Duration::from_millis(1000);

/// From so many percent of the memory's limit no job is let in.
pub(super) const NO_TASKS: u8 = 90;

/// A job that was let in. Dropping it before `close` voids it.
pub struct Ticket {
    inner: Arc<Inner>,
    job: Arc<Job>,
    rules: Arc<Rules>,
    source: SourceWriter,
    /// Cancelled when the orchestrator that asked is gone.
    gone: CancellationToken,
    /// The attempt whose result was handed out.
    winner: Option<TaskId>,
    record: Record,
}

/// A lease under way; dropped unsettled, it was given up.
struct Attempt {
    inner: Arc<Inner>,
    lease: Arc<Lease>,
    end: oneshot::Receiver<LeaseEnd>,
    settled: bool,
}

/// How one attempt ended for the job.
enum Tried {
    Won(Answer, TaskId),
    Lost(ConnId, Failure),
}

// === impl Pool ===

impl Pool {
    /// Lets a job in: limits, storage health, deadline.
    pub fn submit(&self, new: NewJob) -> Result<Ticket, Failure> {
        let inner = &self.inner;
        let rules = self.rules();
        if new.profiles.is_empty() {
            return Err(Failure::InputError("no profiles asked for".into()));
        }
        if new.duration > rules.limits.longest_segment {
            return Err(Failure::InputError("invalid duration".into()));
        }
        if inner.draining() {
            return Err(Failure::Pool("the pool is restarting".into()));
        }
        if let Err(why) = inner.ledger.health() {
            return Err(Failure::Pool(format!("the ledger has stopped: {why}")));
        }
        let memory = inner.memory.load(Ordering::Relaxed);
        if memory >= NO_TASKS {
            return Err(Failure::Pool(format!("memory is {memory} percent full (limits.memory_limit)")));
        }
        if inner.jobs.len() >= rules.limits.jobs {
            return Err(Failure::Pool(format!("{} jobs in flight (limits.jobs)", rules.limits.jobs)));
        }
        let received = inner.clock.now();
        let unix_ms = inner.clock.unix_ms();
        let answer_by = received + budget(new.duration).saturating_sub(rules.retry.answer_margin);
        let job = Arc::new(Job {
            id: JobId::new(unix_ms, rand::Rng::random(&mut rand::rng())),
            session: new.session,
            epoch: new.epoch,
            upstream_task: new.upstream_task,
            manifest: new.manifest,
            sequence: new.sequence,
            duration: new.duration,
            profiles: new.profiles.into(),
            need: new.need,
            wants_hash: new.wants_hash,
            clip: new.clip,
            message: new.message,
            received,
            received_unix_ms: unix_ms,
            answer_by,
        });
        let gone = CancellationToken::new();
        inner.jobs.insert(job.id, super::Live { job: job.clone(), gone: gone.clone() });
        let source = inner.shelf.source(rules.limits.source_bytes);
        let record = Record::new(&job);
        Ok(Ticket { inner: inner.clone(), job, rules, source, gone, winner: None, record })
    }
}

// === impl Ticket ===

impl Ticket {
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// Where the source goes; `end` it in any case.
    pub fn source(&self) -> SourceWriter {
        self.source.clone()
    }

    /// Works the job until it has an answer; returns at the latest at `job().answer_by`.
    pub async fn work(&mut self) -> Answer {
        let due = self.inner.clock.instant(self.job.answer_by);
        let gone = self.gone.clone();
        let worked = tokio::select! {
            worked = timeout_at(due, self.attempts()) => worked,
            () = gone.cancelled() => return Answer::Gone,
        };
        match worked {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => self.fail(&failure),
            Err(_) => {
                telemetry::deadline_guard();
                self.fail(&Failure::Timeout)
            }
        }
    }

    fn fail(&mut self, failure: &Failure) -> Answer {
        let text = retry::upstream_text(failure);
        telemetry::job_failed(&self.job, failure);
        self.record.answered(&text, self.inner.clock.now());
        Answer::Error(text)
    }

    /// Attempt after attempt; the error is the last failure.
    async fn attempts(&mut self) -> Result<Answer, Failure> {
        let mut tried: Vec<ConnId> = Vec::new();
        loop {
            let failure = match self.attempt(&tried).await? {
                Tried::Won(answer, task) => {
                    self.winner = Some(task);
                    if !tried.is_empty() {
                        telemetry::saved_elsewhere();
                        self.inner.count_saved();
                    }
                    return Ok(answer);
                }
                Tried::Lost(conn, failure) => {
                    tried.push(conn);
                    failure
                }
            };
            let now = self.inner.clock.now();
            let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            if !retry::again(&failure, attempts, now, self.job.answer_by, &self.rules.retry) {
                return Err(failure);
            }
            telemetry::retried(&failure);
        }
    }

    /// One lease, from pick to end.
    async fn attempt(&mut self, tried: &[ConnId]) -> Result<Tried, Failure> {
        let seating = self.wait_for_seat(tried).await?;
        let now = self.inner.clock.now();
        let (end_tx, end) = oneshot::channel();
        let lease = Lease::new(self.job.clone(), self.rules.clone(), &seating, self.source.clone(), now, end_tx);
        let lease = Arc::new(lease);
        self.inner.inflight.insert(lease.task, lease.key.clone(), lease.clone());
        self.record.attempt(&seating, now);
        let mut attempt = Attempt { inner: self.inner.clone(), lease: lease.clone(), end, settled: false };
        // Nobody waits for this step: the result's own commit comes after it in the same queue.
        if let Err(down) = self.inner.ledger.append(Step::Assigned(assigned(&lease, &self.inner))) {
            return Err(attempt.settle(Failure::Pool(down.to_string()), false));
        }
        let order = Order::Segment { message: self.job.message.clone(), task: lease.task, key: lease.key.clone() };
        if seating.line.orders.try_send(order).is_err() {
            let failure = attempt.settle(Failure::Disconnected, false);
            self.record.ended(lease.task, &failure, self.inner.clock.now());
            return Ok(Tried::Lost(lease.conn, failure));
        }
        let end = self.wait_for_end(&mut attempt, tried).await?;
        let now = self.inner.clock.now();
        match end {
            LeaseEnd::Result(result, credit, micros, recorded) => {
                attempt.settled = true;
                self.inner.inflight.close_key(&lease.key);
                self.record.won(lease.task, &credit, micros, now);
                Ok(Tried::Won(Answer::Result(result, recorded), lease.task))
            }
            LeaseEnd::Failed(failure) => {
                let failure = self.blame(failure);
                let failure = attempt.settle(failure, false);
                self.record.ended(lease.task, &failure, now);
                Ok(Tried::Lost(lease.conn, failure))
            }
        }
    }

    /// A worker is not to blame when the source could not be had.
    fn blame(&self, failure: Failure) -> Failure {
        match (&failure, self.source.ended()) {
            (Failure::WorkerError(_), Some(Err(source))) => source,
            _ => failure,
        }
    }

    /// The lease's end; the source's failure; or that somebody else will be done sooner.
    async fn wait_for_end(&mut self, attempt: &mut Attempt, tried: &[ConnId]) -> Result<LeaseEnd, Failure> {
        let lease = attempt.lease.clone();
        let mut until = self.inner.clock.instant(lease.dispatched + self.rules.retry.least_patience);
        let source = self.source.clone();
        let source_failed = async move {
            match source.wait().await {
                Err(failure) => failure,
                Ok(_) => std::future::pending().await,
            }
        };
        tokio::pin!(source_failed);
        let mut spent = tried.to_vec();
        spent.push(lease.conn);
        loop {
            tokio::select! {
                end = &mut attempt.end => {
                    return Ok(end.unwrap_or(LeaseEnd::Failed(Failure::Disconnected)));
                }
                failure = &mut source_failed => {
                    self.record.ended(lease.task, &failure, self.inner.clock.now());
                    return Err(attempt.settle(failure, true));
                }
                () = tokio::time::sleep_until(until) => {
                    let now = self.inner.clock.now();
                    if self.better_elsewhere(&lease, &spent, now) {
                        lease.over(now);
                        return Ok(LeaseEnd::Failed(attempt.settle(Failure::Timeout, true)));
                    }
                    until += PATIENCE_STEP;
                }
            }
        }
    }

    fn better_elsewhere(&self, lease: &Lease, spent: &[ConnId], now: Moment) -> bool {
        // The last try waits to the end: given up, it would leave the job without any answer.
        if spent.len() >= self.rules.retry.attempts as usize {
            return false;
        }
        let Some(other) =
            self.inner.table.lock().best_other(&Asking::segment(&self.job), spent, &self.rules.route, now)
        else {
            return false;
        };
        let waited = now.secs_since(lease.dispatched);
        let left = self.job.answer_by.secs_since(now);
        retry::elsewhere(lease.prediction.time, waited, other, left, &self.rules.retry)
    }

    /// A seat now, or as soon as one is free while there is time.
    async fn wait_for_seat(&self, tried: &[ConnId]) -> Result<super::table::Seating, Failure> {
        let mut waiting = None;
        loop {
            // Before the look, so that a seat freed in between wakes us.
            let freed = self.inner.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let now = self.inner.clock.now();
            let none = match self.inner.table.lock().seat(&Asking::segment(&self.job), tried, &self.rules.route, now) {
                Ok(seating) => return Ok(seating),
                Err(none) => none,
            };
            let hopeless = none.seats > 0 && none.capability + none.version + none.tried == none.seats;
            let give_up = self.job.answer_by.before(NO_SEAT_MARGIN);
            if hopeless || now >= give_up {
                return Err(Failure::NoWorker(no_seat_text(&none)));
            }
            if waiting.is_none() {
                waiting = Some(self.inner.wait_slot(self.rules.limits.waiting)?);
            }
            let until = self.inner.clock.instant(give_up.min(now + Duration::from_millis(500)));
            let _ = timeout_at(until, freed).await;
        }
    }

    /// The orchestrator's word on the answer: the books are closed.
    pub fn close(mut self, upstream: &Upstream) {
        let Some(task) = self.winner.take() else { return };
        let (job, at_ms) = (self.job.id, self.inner.clock.unix_ms());
        let step = match upstream {
            Upstream::Accepted => Step::Posted { job, task, at_ms },
            Upstream::Unsure(why) => Step::InDoubt { job, task, at_ms, why: why.as_str().into() },
            Upstream::Refused(why) | Upstream::Unsent(why) => {
                Step::Voided { job, task, at_ms, why: why.as_str().into() }
            }
        };
        self.record.closed(upstream, self.inner.clock.now());
        self.inner.write(step);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.inner.jobs.remove(&self.job.id);
        self.source.end(Err(Failure::Source("the job is over".into())));
        // Leases are remembered for late answers; the segment's bytes are not.
        self.source.clear();
        if let Some(task) = self.winner.take() {
            self.inner.void(self.job.id, task, "the answer was not forwarded");
        }
        self.inner.keep(self.job.id, &mut self.record);
    }
}

// === impl Attempt ===

impl Attempt {
    /// Ends a lost attempt once: books, seat, score.
    fn settle(&mut self, failure: Failure, busy: bool) -> Failure {
        if !self.settled {
            self.settled = true;
            let now = self.inner.clock.now();
            self.lease.over(now);
            self.inner.void(self.lease.job.id, self.lease.task, &failure.to_string());
            self.inner.attempt_failed(&self.lease, &failure, busy);
        }
        failure
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // The answer was due and this worker did not give it, or nobody wants it any more.
        let gone = self.inner.jobs.get(&self.lease.job.id).is_none_or(|live| live.gone.is_cancelled());
        let failure = if self.lease.answered() {
            // Its result and our giving up crossed.
            Failure::Pool("the result came in the moment of the answer".into())
        } else if gone {
            Failure::Pool("the orchestrator is gone".into())
        } else {
            Failure::Timeout
        };
        self.settle(failure, true);
    }
}

fn assigned(lease: &Lease, inner: &Inner) -> Assigned {
    Assigned {
        job: lease.job.id,
        task: lease.task,
        at_ms: inner.clock.unix_ms(),
        worker: lease.worker.clone(),
        address: lease.address,
        orchestrator: lease.job.session.orchestrator.clone(),
        epoch: lease.job.epoch.clone(),
        session: lease.job.session.session.clone(),
        upstream_task: lease.job.upstream_task,
    }
}

fn no_seat_text(none: &NoSeat) -> String {
    format!(
        "no worker could take it: {} seats, {} lack a capability, {} are too old, {} full, {} resting, {} leaving, {} tried, {} too slow",
        none.seats, none.capability, none.version, none.full, none.resting, none.draining, none.tried, none.too_slow
    )
}
