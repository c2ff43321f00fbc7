//! An AI job's ticket: let in, worked until it has an answer, closed by the orchestrator's word.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::api::{AiAnswer, AiItem, AiRequest, AiStream, Measure, NewAiJob, Passed};
use super::lease::{AiAttempt, AiEnd, AiLease};
use crate::domain::ai::AiJob;
use crate::domain::capability::Need;
use crate::domain::ids::{ConnId, JobId, SessionKey, TaskId};
use crate::domain::job::Class;
use crate::domain::ledger::{Assigned, Step};
use crate::domain::outcome::Failure;
use crate::domain::seat::{Roads, Wanted};
use crate::domain::time::Moment;
use crate::policy::retry;
use crate::policy::route::NoSeat;
use crate::pool::api::{Order, Recorded, Spool, Upstream};
use crate::pool::explain::Record;
use crate::pool::table::{Asking, Seating};
use crate::pool::ticket::NO_TASKS;
use crate::pool::{Inner, Pool, Rules};
use crate::telemetry;

/// A silent worker is looked at this often, once the least patience is over.
const PATIENCE_STEP: Duration = Duration::from_millis(500);
/// With less than this left a seat is of no use.
const TOO_LATE: Duration = Duration::from_millis(300);
/// What never ends by a deadline ends by this.
const ENDLESS: Duration = Duration::from_secs(30 * 24 * 3600);

/// An AI job that was let in. Dropping it before `close` voids what was recorded.
pub struct AiTicket {
    inner: Arc<Inner>,
    job: Arc<AiJob>,
    rules: Arc<Rules>,
    roads: Roads,
    wait: Duration,
    measure: Measure,
    /// Cancelled when the orchestrator that asked is gone.
    gone: CancellationToken,
    tried: Vec<ConnId>,
    winner: Option<TaskId>,
    record: Record,
}

// === impl Pool ===

impl Pool {
    /// Lets an AI job in: limits, storage health, deadline.
    pub fn submit_ai(&self, new: NewAiJob) -> Result<AiTicket, Failure> {
        let inner = &self.inner;
        let rules = self.rules();
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
        if inner.ai_jobs.len() >= rules.limits.jobs {
            return Err(Failure::Pool(format!("{} AI jobs in flight (limits.jobs)", rules.limits.jobs)));
        }
        let received = inner.clock.now();
        let unix_ms = inner.clock.unix_ms();
        let within = if new.endless { ENDLESS } else { rules.ai.deadline(new.key.pipeline, new.files) };
        let orchestrator = new.orchestrator.clone();
        let job = Arc::new(AiJob {
            id: JobId::new(unix_ms, rand::Rng::random(&mut rand::rng())),
            class: Class::of_model(&new.key),
            key: new.key,
            door: new.door,
            orchestrator: new.orchestrator,
            epoch: new.epoch,
            upstream_task: new.upstream_task,
            session: new.session.map(|session| SessionKey { orchestrator, session }),
            stream: new.stream,
            need: Need { bits: None, min_version: new.min_version },
            received,
            received_unix_ms: unix_ms,
            answer_by: received + within,
        });
        let gone = CancellationToken::new();
        inner.ai_jobs.insert(job.id, super::LiveAi { job: job.clone(), gone: gone.clone() });
        Ok(AiTicket {
            inner: inner.clone(),
            record: Record::ai(&job, within),
            job,
            rules,
            roads: new.roads,
            wait: new.wait,
            measure: Measure { units: 0, effort: 1.0 },
            gone,
            tried: Vec::new(),
            winner: None,
        })
    }
}

// === impl AiTicket ===

impl AiTicket {
    pub fn job(&self) -> &Arc<AiJob> {
        &self.job
    }

    /// What the job costs; before the first lease.
    pub fn measured(&mut self, measure: Measure) {
        self.measure = measure;
    }

    /// Room for the request's own file.
    pub fn spool(&self) -> Spool {
        let limits = &self.rules.limits;
        self.inner.shelf.spool(limits.memory_bytes, limits.source_bytes)
    }

    /// Cancelled when the orchestrator that asked is gone.
    pub fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// A permit on a seat that did not have this job yet: now, or as soon as one is free.
    pub async fn lease(&mut self) -> Result<AiAttempt, Failure> {
        let seating = self.wait_for_seat().await?;
        let now = self.inner.clock.now();
        let line = seating.line.clone();
        let (lease, end) = AiLease::new(self.job.clone(), self.rules.clone(), &seating, self.measure, now);
        let lease = Arc::new(lease);
        self.inner.ai_inflight.insert(lease.task, lease.key.clone(), lease.clone());
        self.record.attempt(&seating, now);
        self.tried.push(lease.conn);
        let mut attempt = AiAttempt::new(self.inner.clone(), lease.clone(), line, end);
        if let Err(down) = self.inner.ledger.append(Step::Assigned(assigned(&lease, &self.inner))) {
            let failure = Failure::Pool(down.to_string());
            attempt.settle(&failure, false);
            return Err(failure);
        }
        Ok(attempt)
    }

    /// Whether the job may go to another worker after this failure.
    pub fn again(&mut self, task: TaskId, failure: &Failure) -> bool {
        let now = self.inner.clock.now();
        self.record.ended(task, failure, now);
        let again = self.may_again(failure, now);
        if again {
            telemetry::retried(failure);
        }
        again
    }

    fn may_again(&self, failure: &Failure, now: Moment) -> bool {
        let attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        retry::again(failure, attempts, now, self.job.answer_by, &self.rules.retry)
    }

    /// An answer passed through a lease whole; `units` when they are known only now.
    pub fn passed(&mut self, attempt: AiAttempt, passed: Passed, units: Option<u64>) -> Recorded {
        let task = attempt.task();
        self.winner = Some(task);
        self.record.won_ai(task, units.unwrap_or(self.measure.units), self.job.key.pipeline, self.inner.clock.now());
        attempt.passed(passed, units)
    }

    /// Gives the request to one worker after another until there is an answer; returns at the
    /// latest when it is due.
    pub async fn work(&mut self, request: Arc<AiRequest>) -> AiAnswer {
        self.work_with(None, request).await
    }

    /// The same, beginning with a lease that was taken before.
    pub async fn work_from(&mut self, attempt: AiAttempt, request: Arc<AiRequest>) -> AiAnswer {
        self.work_with(Some(attempt), request).await
    }

    async fn work_with(&mut self, first: Option<AiAttempt>, request: Arc<AiRequest>) -> AiAnswer {
        let due = self.inner.clock.instant(self.job.answer_by);
        let gone = self.gone.clone();
        let worked = tokio::select! {
            worked = timeout_at(due, self.attempts(first, request)) => worked,
            () = gone.cancelled() => return AiAnswer::Gone,
        };
        match worked {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => self.fail(failure),
            Err(_) => {
                telemetry::deadline_guard();
                self.fail(Failure::Timeout)
            }
        }
    }

    /// The job is answered with this failure.
    pub fn fail(&mut self, failure: Failure) -> AiAnswer {
        telemetry::ai_failed(&self.job, &failure);
        self.record.answered(&failure.to_string(), self.inner.clock.now());
        AiAnswer::Error(failure)
    }

    async fn attempts(&mut self, mut first: Option<AiAttempt>, request: Arc<AiRequest>) -> Result<AiAnswer, Failure> {
        let mut last = None;
        loop {
            let leased = match first.take() {
                Some(attempt) => Ok(attempt),
                None => self.lease().await,
            };
            let mut attempt = match leased {
                Ok(attempt) => attempt,
                // What the last worker said tells more than that there is no other.
                Err(Failure::NoWorker(none)) => return Err(last.unwrap_or(Failure::NoWorker(none))),
                Err(failure) => return Err(failure),
            };
            let task = attempt.task();
            let failure = match self.attempt(&mut attempt, request.clone()).await {
                Ok(AiEnd::Whole(result, recorded)) => {
                    attempt.settled();
                    self.win(task);
                    return Ok(AiAnswer::Whole(result, recorded));
                }
                Ok(AiEnd::Stream(mut items)) => match items.recv().await {
                    Some(AiItem::Chunk(first)) => {
                        self.win(task);
                        return Ok(AiAnswer::Stream(AiStream { first: Some(first), items, attempt: Some(attempt) }));
                    }
                    Some(AiItem::Failed(failure)) => attempt.lost(failure),
                    Some(AiItem::End) | None => attempt.lost(Failure::BadUpload("an empty stream".into())),
                },
                Ok(AiEnd::Failed(failure)) => attempt.lost(failure),
                // Given up for another worker: this one may still be at it.
                Err(failure) => {
                    attempt.settle(&failure, true);
                    failure
                }
            };
            if !self.again(task, &failure) {
                return Err(failure);
            }
            last = Some(failure);
        }
    }

    fn win(&mut self, task: TaskId) {
        self.winner = Some(task);
        self.record.won_ai(task, self.measure.units, self.job.key.pipeline, self.inner.clock.now());
        if self.tried.len() > 1 {
            telemetry::saved_elsewhere();
            self.inner.count_saved();
        }
    }

    /// One worker's try: sends the order, waits for its end, or for a better one.
    async fn attempt(&self, attempt: &mut AiAttempt, request: Arc<AiRequest>) -> Result<AiEnd, Failure> {
        let lease = attempt.lease.clone();
        lease.give(request.clone());
        let order = Order::Ai { request, task: lease.task, key: lease.key.clone(), gone: lease.gone() };
        if attempt.line.orders.try_send(order).is_err() {
            return Ok(AiEnd::Failed(Failure::Disconnected));
        }
        let mut until = self.inner.clock.instant(lease.dispatched + self.rules.ai.least_patience);
        loop {
            tokio::select! {
                end = &mut attempt.end => return Ok(end.unwrap_or(AiEnd::Failed(Failure::Disconnected))),
                () = tokio::time::sleep_until(until) => {
                    if self.better_elsewhere(&lease) {
                        return Err(Failure::Timeout);
                    }
                    until += PATIENCE_STEP;
                }
            }
        }
    }

    fn better_elsewhere(&self, lease: &AiLease) -> bool {
        let now = self.inner.clock.now();
        // The last try waits to the end: given up, it would leave the job without any answer.
        if !self.may_again(&Failure::Timeout, now) {
            return false;
        }
        let route = self.rules.ai_route();
        let other = {
            let table = self.inner.ai_table.lock();
            table.best_other(&self.asking(&table), &self.tried, &route, now)
        };
        let Some(other) = other else { return false };
        let waited = now.secs_since(lease.dispatched);
        let left = self.job.answer_by.secs_since(now);
        let patience = crate::pool::RetryRules { patience: self.rules.ai.patience, ..self.rules.retry.clone() };
        retry::elsewhere(lease.prediction.time, waited, other, left, &patience)
    }

    /// The longest silence of a worker whose answer passes through: while another one could take the
    /// job, not much longer than what is predicted; else until the job is due.
    pub fn patience(&self, attempt: &AiAttempt) -> Duration {
        let now = self.inner.clock.now();
        let left = self.job.answer_by.since(now);
        if !self.may_again(&Failure::Timeout, now) {
            return left;
        }
        let route = self.rules.ai_route();
        let other = {
            let table = self.inner.ai_table.lock();
            table.best_other(&self.asking(&table), &self.tried, &route, now)
        };
        if other.is_none() {
            return left;
        }
        let predicted = (self.rules.ai.patience * attempt.lease.prediction.time).clamp(0.0, left.as_secs_f64());
        Duration::from_secs_f64(predicted).max(self.rules.ai.least_patience).min(left)
    }

    fn asking<'a>(&'a self, table: &crate::pool::table::Table) -> Asking<'a> {
        let usual = table.priors.of(self.job.class, &self.rules.ai_route());
        Asking {
            class: self.job.class,
            units: self.measure.effort,
            // Twice what the fleet's middle takes (routing 5.1).
            soft_target: (1.6 * usual * self.measure.effort).max(0.1),
            answer_by: self.job.answer_by,
            need: &self.job.need,
            model: Some(Wanted { key: &self.job.key, class: self.job.class, roads: self.roads }),
            session: self.job.session.as_ref(),
        }
    }

    async fn wait_for_seat(&self) -> Result<Seating, Failure> {
        let began = self.inner.clock.now();
        // Told before it is due that nobody was free: due, it would count as a worker's silence.
        let due = self.job.answer_by.since(began).saturating_sub(TOO_LATE);
        let give_up = began + due.min(self.wait);
        let mut waiting = None;
        let route = self.rules.ai_route();
        loop {
            let freed = self.inner.ai_freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let now = self.inner.clock.now();
            let none = {
                let mut table = self.inner.ai_table.lock();
                let asking = self.asking(&table);
                match table.seat(&asking, &self.tried, &route, now) {
                    Ok(seating) => return Ok(seating),
                    Err(none) => none,
                }
            };
            let hopeless = none.capability + none.version + none.tried == none.seats;
            if hopeless || now >= give_up {
                telemetry::ai_no_seat(&self.job.key, reason(&none));
                return Err(no_seat(&none, self.tried.is_empty()));
            }
            if waiting.is_none() {
                waiting = Some(self.inner.ai_wait_slot(self.rules.ai.waiting)?);
            }
            let until = self.inner.clock.instant(give_up.min(now + Duration::from_millis(500)));
            tokio::select! {
                _ = timeout_at(until, freed) => {}
                () = self.gone.cancelled() => return Err(Failure::Pool("the orchestrator is gone".into())),
            }
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

impl Drop for AiTicket {
    fn drop(&mut self) {
        self.inner.ai_jobs.remove(&self.job.id);
        if let Some(task) = self.winner.take() {
            self.inner.void(self.job.id, task, "the answer was not forwarded");
        }
        self.inner.keep(self.job.id, &mut self.record);
    }
}

fn assigned(lease: &AiLease, inner: &Inner) -> Assigned {
    Assigned {
        job: lease.job.id,
        task: lease.task,
        at_ms: inner.clock.unix_ms(),
        worker: lease.worker.clone(),
        address: lease.address,
        orchestrator: lease.job.orchestrator.clone(),
        epoch: lease.job.epoch.clone(),
        session: lease.job.session.as_ref().map_or_else(|| "".into(), |key| key.session.clone()),
        upstream_task: lease.job.upstream_task,
    }
}

/// Why nobody could take it, in one word for the metric.
fn reason(none: &NoSeat) -> &'static str {
    if none.seats == none.capability {
        "no_model"
    } else if none.full > 0 {
        "full"
    } else if none.resting > 0 {
        "resting"
    } else if none.too_slow > 0 {
        "slow"
    } else {
        "none"
    }
}

fn no_seat(none: &NoSeat, first: bool) -> Failure {
    // A full pool says so in the worker's own word: a door may answer it otherwise.
    if first && none.full > 0 {
        return Failure::Busy;
    }
    Failure::NoWorker(format!(
        "no AI worker could take it: {} here, {} without the model, {} too old, {} full, {} resting, {} leaving, {} tried, {} too slow",
        none.seats, none.capability, none.version, none.full, none.resting, none.draining, none.tried, none.too_slow
    ))
}
