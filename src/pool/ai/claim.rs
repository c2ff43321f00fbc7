//! The claim by which a worker answers an AI task, and the feed of a streamed answer.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::api::{AiItem, AiRequest, AiResult, AiVerdict, Usage};
use super::classify;
use super::lease::{AiEnd, AiLease, Phase};
use crate::domain::ai::AiJob;
use crate::domain::ids::{TaskId, WorkerName};
use crate::domain::outcome::Failure;
use crate::pool::api::{Mode, Spool, Unclaimable, Worker};
use crate::pool::{Inner, Pool};
use crate::telemetry;

/// Chunks of a streamed answer that wait for a slow reader.
const CHUNKS: usize = 64;

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
    /// Room for its last item, so that no slow reader holds up the end; taken by the end.
    last: Option<mpsc::OwnedPermit<AiItem>>,
    bytes: u64,
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
            let over = Phase::Over { at: lease.dispatched, answered: false };
            match std::mem::replace(&mut *phase, over) {
                Phase::Open(end) => *phase = Phase::Reading(end),
                busy @ (Phase::Reading(_) | Phase::Streaming) => {
                    *phase = busy;
                    return Err(Unclaimable::Busy);
                }
                Phase::Over { at, answered } => {
                    *phase = Phase::Over { at, answered };
                    drop(phase);
                    // The worker is free again, though its answer comes too late.
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
        let Some(end) = self.lease.take_end(Phase::Over { at: now, answered: true }) else {
            self.inner.ai_release(self.lease.conn, self.lease.task);
            return AiVerdict::Late;
        };
        self.inner.ai_succeeded(&self.lease, Some(self.lease.measure.effort), now);
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
        let (items, reader) = mpsc::channel(CHUNKS + 1);
        let last = items.clone().try_reserve_owned().ok();
        let feed = AiFeed { inner: self.inner.clone(), lease: self.lease.clone(), items, last, bytes: 0 };
        // Dropped where nobody takes it, the feed frees the worker's slot.
        let end = self.lease.take_end(Phase::Streaming)?;
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
        match self.lease.take_end(Phase::Over { at: now, answered: false }) {
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
        let now = self.inner.clock.now();
        if self.items.is_closed() || self.lease.ended().is_some() {
            return AiVerdict::Late;
        }
        let step = self.lease.resulted(usage, self.lease.input_bytes(), self.bytes, &self.inner);
        self.inner.ai_succeeded(&self.lease, Some(self.lease.measure.effort), now);
        let (item, verdict) = match self.inner.recorded(step).wait().await {
            Ok(()) => (AiItem::End, AiVerdict::Accepted),
            Err(down) => (AiItem::Failed(Failure::Pool(down.clone())), AiVerdict::Storage(down)),
        };
        // Nobody reads: the ticket's close says what became of it.
        self.last(item);
        verdict
    }

    /// It broke off.
    pub async fn failed(mut self, failure: Failure) {
        self.last(AiItem::Failed(failure));
    }

    /// Cancelled when nobody wants the answer any more.
    pub fn gone(&self) -> CancellationToken {
        self.lease.gone()
    }

    fn last(&mut self, item: AiItem) {
        if let Some(last) = self.last.take() {
            last.send(item);
        }
    }
}

impl Drop for AiFeed {
    fn drop(&mut self) {
        self.last(AiItem::Failed(Failure::Disconnected));
        // Given up before this: with its upload the worker is done, and its slot is free again.
        if self.items.is_closed() || self.lease.ended().is_some() {
            self.inner.ai_release(self.lease.conn, self.lease.task);
        }
    }
}
