//! A lease: one worker's right to one attempt of a job, and the claim by which it is answered.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::api::{Mode, Recorded, SourceReader, Spool, TranscodeResult, Unclaimable, Verdict, Worker};
use super::{Inner, Pool, Rules};
use crate::domain::ids::{Address, ConnId, TaskId, WorkerName};
use crate::domain::job::Job;
use crate::domain::ledger::{Resulted, Step, Work, WorkDone};
use crate::domain::outcome::{Failure, Fault};
use crate::domain::time::Moment;
use crate::domain::work::{MediaFacts, Profile};
use crate::policy::retry;
use crate::policy::route::Prediction;
use crate::policy::session::{self, SegmentEnd};
use crate::policy::verify::{Announced, Credit, PartClaim, check};
use crate::state::shelf::SourceWriter;
use crate::state::store::ledger::Durable;
use crate::telemetry;

pub struct Lease {
    pub job: Arc<Job>,
    pub rules: Arc<Rules>,
    pub task: TaskId,
    pub key: Arc<str>,
    pub conn: ConnId,
    pub worker: WorkerName,
    /// Came in by the pool's one secret.
    pub shared: bool,
    pub address: Option<Address>,
    pub dispatched: Moment,
    pub prediction: Prediction,
    pub warm: bool,
    pub source: SourceWriter,
    downloads: AtomicU32,
    phase: Mutex<Phase>,
}

enum Phase {
    /// Waiting for the worker.
    Open(oneshot::Sender<LeaseEnd>),
    /// A result is being read.
    Reading(oneshot::Sender<LeaseEnd>),
    /// A result was accepted; its print tells repeats from conflicts. Not yet with the ledger: None.
    Answered { print: u64, at: Moment, durable: Option<Shared<Durable>> },
    /// Given up, failed or refused.
    Over { at: Moment },
}

/// What the job hears of its lease.
#[derive(Debug)]
pub enum LeaseEnd {
    Result(Arc<TranscodeResult>, Credit, u64, Recorded),
    Failed(Failure),
}

/// The right to answer one task, once. Dropping it counts as a broken upload.
pub struct Claim {
    inner: Arc<Inner>,
    lease: Arc<Lease>,
    /// The task was answered before, with this print.
    repeat: Option<(u64, Shared<Durable>)>,
    done: bool,
}

// === impl Lease ===

impl Lease {
    pub fn new(
        job: Arc<Job>,
        rules: Arc<Rules>,
        seating: &super::table::Seating,
        source: SourceWriter,
        now: Moment,
        end: oneshot::Sender<LeaseEnd>,
    ) -> Lease {
        Lease {
            job,
            rules,
            task: seating.task,
            key: format!("{:032x}", seating.key).into(),
            conn: seating.pick.conn,
            worker: seating.worker.clone(),
            shared: seating.line.shared,
            address: seating.address,
            dispatched: now,
            prediction: seating.pick.prediction,
            warm: seating.warm,
            source,
            downloads: AtomicU32::new(0),
            phase: Mutex::new(Phase::Open(end)),
        }
    }

    pub fn ended(&self) -> Option<Moment> {
        match &*self.phase.lock() {
            Phase::Open(_) | Phase::Reading(_) => None,
            Phase::Answered { at, .. } | Phase::Over { at } => Some(*at),
        }
    }

    /// Ends the lease from outside the claim; the job hears why.
    pub fn fail(&self, failure: Failure) {
        if let Some(end) = self.take_end(Phase::Over { at: self.dispatched }) {
            let _ = end.send(LeaseEnd::Failed(failure));
        }
    }

    /// The job gave this attempt up; a later answer is late.
    pub fn over(&self, now: Moment) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Open(_) | Phase::Reading(_)) {
            *phase = Phase::Over { at: now };
        }
    }

    /// A result was accepted.
    pub fn answered(&self) -> bool {
        matches!(&*self.phase.lock(), Phase::Answered { .. })
    }

    fn set(&self, next: Phase) {
        *self.phase.lock() = next;
    }

    fn take_end(&self, next: Phase) -> Option<oneshot::Sender<LeaseEnd>> {
        let mut phase = self.phase.lock();
        if !matches!(*phase, Phase::Open(_) | Phase::Reading(_)) {
            return None;
        }
        match std::mem::replace(&mut *phase, next) {
            Phase::Open(end) | Phase::Reading(end) => Some(end),
            Phase::Answered { .. } | Phase::Over { .. } => None,
        }
    }
}

// === impl Pool: what workers do with a lease ===

impl Pool {
    /// The source behind a lease's secret address; None for anything but a live lease within its
    /// number of downloads.
    pub fn source(&self, key: &str) -> Option<SourceReader> {
        let lease = self.inner.inflight.key(key)?;
        if lease.ended().is_some() {
            return None;
        }
        let most = lease.rules.limits.downloads_per_lease;
        (lease.downloads.fetch_add(1, Ordering::Relaxed) < most).then(|| lease.source.reader())
    }

    /// The right to answer `task`.
    pub fn claim(&self, worker: &Worker, task: TaskId) -> Result<Claim, Unclaimable> {
        let lease = self.inner.inflight.task(task).ok_or(Unclaimable::Unknown)?;
        // The fork's worker names its address when it registers and not when it posts; the pool's
        // secret and a task number that cannot be guessed are its proof.
        let shared = lease.shared && worker.mode == Mode::Shared && worker.address.is_none();
        if lease.worker != worker.name && !shared {
            telemetry::result_not_theirs(&worker.name, &lease.worker);
            return Err(Unclaimable::NotYours);
        }
        let repeat = {
            let mut phase = lease.phase.lock();
            match std::mem::replace(&mut *phase, Phase::Over { at: lease.dispatched }) {
                Phase::Open(end) => {
                    *phase = Phase::Reading(end);
                    None
                }
                reading @ Phase::Reading(_) => {
                    *phase = reading;
                    return Err(Unclaimable::Busy);
                }
                Phase::Answered { print, at, durable } => {
                    *phase = Phase::Answered { print, at, durable: durable.clone() };
                    Some((print, durable.ok_or(Unclaimable::Busy)?))
                }
                Phase::Over { at } => {
                    *phase = Phase::Over { at };
                    drop(phase);
                    // The worker is free again, though its answer comes too late.
                    self.inner.release(lease.conn, task);
                    return Err(Unclaimable::Ended);
                }
            }
        };
        Ok(Claim { inner: self.inner.clone(), lease, repeat, done: false })
    }
}

// === impl Claim ===

impl Claim {
    pub fn profiles(&self) -> &[Profile] {
        &self.lease.job.profiles
    }

    /// The body must have arrived by then.
    pub fn answer_by(&self) -> Moment {
        self.lease.job.answer_by
    }

    /// Room for one part.
    pub fn spool(&self) -> Spool {
        let limits = &self.lease.rules.limits;
        self.inner.shelf.spool(limits.memory_bytes, limits.part_bytes)
    }

    /// The whole result arrived: verified, recorded durably, handed to the job; then the verdict.
    pub async fn result(mut self, result: TranscodeResult) -> Verdict {
        self.done = true;
        let print = result.print();
        if let Some((before, durable)) = self.repeat.take() {
            if before != print {
                return Verdict::Conflict;
            }
            // The first 200 waits for the disk, and so does the second.
            return durable.await.map_or_else(|down| Verdict::Storage(down.to_string()), |()| Verdict::Repeated);
        }
        let now = self.inner.clock.now();
        let credit = match self.judge(&result) {
            Ok(credit) => credit,
            Err(sentence) => {
                self.end_badly(Failure::Refused(sentence.clone()), now);
                return Verdict::Refused(sentence);
            }
        };
        self.accept(result, print, credit, now).await
    }

    fn judge(&self, result: &TranscodeResult) -> Result<Credit, String> {
        let claims: Vec<PartClaim> = result
            .parts
            .iter()
            .filter_map(|part| {
                let reported = part.pixels?;
                Some(PartClaim { reported, bytes: part.body.len(), facts: part.facts.clone() })
            })
            .collect();
        let source = self.lease.source.ended().and_then(Result::ok);
        let job = &self.lease.job;
        let duration_ms = u64::try_from(job.duration.as_millis()).unwrap_or(u64::MAX);
        let announced = Announced { duration_ms, clip: job.clip };
        check(&job.profiles, source.as_ref(), announced, &claims)
    }

    async fn accept(self, result: TranscodeResult, print: u64, credit: Credit, now: Moment) -> Verdict {
        let lease = &self.lease;
        let Some(end) = lease.take_end(Phase::Answered { print, at: now, durable: None }) else {
            self.inner.release(lease.conn, lease.task);
            return Verdict::Late;
        };
        let step = self.resulted(&result, &credit, now);
        self.inner.succeeded(lease, now);
        let durable = match self.inner.ledger.append(Step::Resulted(step)) {
            Ok(durable) => durable.shared(),
            Err(down) => {
                lease.set(Phase::Over { at: now });
                let _ = end.send(LeaseEnd::Failed(Failure::Pool(down.to_string())));
                return Verdict::Storage(down.to_string());
            }
        };
        lease.set(Phase::Answered { print, at: now, durable: Some(durable.clone()) });
        telemetry::pixels_processed(credit.credited);
        let received = now.since(lease.dispatched).as_micros();
        let received = u64::try_from(received).unwrap_or(u64::MAX);
        let recorded = Recorded(Ok(durable.clone()));
        if end.send(LeaseEnd::Result(Arc::new(result), credit, received, recorded)).is_err() {
            self.inner.void(lease.job.id, lease.task, "the job was answered without it");
            lease.set(Phase::Over { at: now });
            return Verdict::Late;
        }
        match durable.await {
            Ok(()) => Verdict::Accepted,
            Err(down) => Verdict::Storage(down.to_string()),
        }
    }

    fn resulted(&self, result: &TranscodeResult, credit: &Credit, now: Moment) -> Resulted {
        let lease = &self.lease;
        let job = &lease.job;
        let decoded_computed = match lease.source.ended() {
            Some(Ok(MediaFacts::Counted(facts))) => Some(facts.pixels()),
            _ => None,
        };
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let work = WorkDone {
            sequence: job.sequence,
            profiles: profiles_text(&job.profiles).into(),
            duration_ms: ms(job.duration),
            response_ms: ms(now.since(lease.dispatched)),
            decoded_reported: result.decoded_pixels,
            decoded_computed,
            encoded_reported: credit.reported,
            encoded_computed: credit.computed,
            encoded_credited: credit.credited,
            bytes_in: lease.source.bytes(),
            bytes_out: result.parts.iter().map(|part| part.body.len()).sum(),
        };
        Resulted {
            job: job.id,
            task: lease.task,
            at_ms: self.inner.clock.unix_ms(),
            work: Work::Segment(work),
            price: lease.rules.price_for(&job.session.orchestrator),
            commission: lease.rules.commission,
        }
    }

    /// An error result.
    pub fn error(mut self, text: &str) -> Verdict {
        self.done = true;
        if self.repeat.is_some() {
            return Verdict::Conflict;
        }
        let now = self.inner.clock.now();
        self.end_badly(retry::classify(text), now);
        Verdict::Noted
    }

    /// The upload broke off or was not a result; the job goes elsewhere.
    pub fn broken(mut self, why: &str) {
        self.done = true;
        if self.repeat.is_none() {
            let now = self.inner.clock.now();
            self.end_badly(Failure::BadUpload(why.to_owned()), now);
        }
    }

    fn end_badly(&self, failure: Failure, now: Moment) {
        match self.lease.take_end(Phase::Over { at: now }) {
            Some(end) => {
                let _ = end.send(LeaseEnd::Failed(failure));
            }
            None => self.inner.release(self.lease.conn, self.lease.task),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.done && self.repeat.is_none() {
            let now = self.inner.clock.now();
            self.end_badly(Failure::BadUpload("the upload broke off".into()), now);
        }
    }
}

// === impl Inner: what an end does to seat and session ===

impl Inner {
    fn succeeded(&self, lease: &Lease, now: Moment) {
        let wall = now.secs_since(lease.dispatched);
        let units = lease.job.units();
        let class = lease.job.class();
        let params = &lease.rules.route.score;
        {
            let mut table = self.table.lock();
            table.fleet.release(lease.conn, lease.task);
            if let Some(seat) = table.fleet.seat(lease.conn) {
                if lease.warm {
                    seat.scores.sample(class, lease.prediction.concurrency, wall / units, now, params);
                } else {
                    let extra = (wall - units * lease.prediction.ratio).max(0.0);
                    seat.scores.init_sample(class, extra, now);
                    // A cold sample teaches the ratio only where nothing else does yet.
                    if seat.successes == 0 {
                        seat.scores.sample(class, lease.prediction.concurrency, wall / units, now, params);
                    }
                }
                seat.scores.succeeded(class, now, params);
                retry::succeeded(seat, now);
            }
            let real_time_ratio = session::real_time_ratio(wall, lease.job.duration.as_secs_f64());
            table.session_ended(&lease.job, lease.conn, SegmentEnd::Done { real_time_ratio }, now);
            if lease.rules.join.open {
                table.prove(lease.conn, &lease.rules.join);
            }
        }
        telemetry::segment_done(&lease.worker, wall, lease.job.duration.as_secs_f64());
        self.seat_freed();
    }

    /// An attempt came to nothing. `busy`: the worker may still be at it.
    pub fn attempt_failed(&self, lease: &Lease, failure: &Failure, busy: bool) {
        let now = self.clock.now();
        let params = &lease.rules.route.score;
        {
            let mut table = self.table.lock();
            if busy {
                table.fleet.abandon(lease.conn, lease.task);
            } else {
                table.fleet.release(lease.conn, lease.task);
            }
            let jitter = rand::Rng::random_range(&mut table.rng, 0.8..1.2);
            if let Some(seat) = table.fleet.seat(lease.conn) {
                let weight = retry::weight(failure);
                if weight > 0 {
                    seat.scores.failed(lease.job.class(), f64::from(weight), now, params);
                }
                retry::failed(seat, failure, jitter, now, &lease.rules.retry);
            }
            // A source that could not be had does not make the session look elsewhere.
            if failure.fault() == Fault::Worker {
                table.session_ended(&lease.job, lease.conn, SegmentEnd::Failed, now);
            }
        }
        telemetry::attempt_failed(&lease.worker, failure);
        self.inflight.close_key(&lease.key);
        self.seat_freed();
    }
}

/// `640x360@30 426x240@source`.
pub fn profiles_text(profiles: &[Profile]) -> String {
    let one = |p: &Profile| match (p.fps, p.fps_den) {
        (0, _) => format!("{}x{}", p.width, p.height),
        (fps, 0 | 1) => format!("{}x{}@{fps}", p.width, p.height),
        (fps, den) => format!("{}x{}@{fps}/{den}", p.width, p.height),
    };
    profiles.iter().map(one).collect::<Vec<_>>().join(" ")
}
