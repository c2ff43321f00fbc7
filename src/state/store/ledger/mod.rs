//! The ledger: every step durable before it is answered, every wei in double entry.
mod attempts;
mod due;
mod facts;
mod post;
mod read;
mod report;
pub mod schema;
mod start;
pub mod tables;
mod verify;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};

use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::sqlite::{self, StoreFault, Sync};
use crate::domain::ledger::Step;

pub use read::{EntryRow, Fact, JobRecord, Reader, StepRow};
pub use report::{By, Range, ReportRow, day, report};
pub use verify::{Doubt, VerifyReport, verify};
pub use writer::Writer;

/// Steps that may wait for the writer.
pub const QUEUE: usize = 16_384;
/// Steps of one transaction.
pub const BATCH: usize = 1_000;

/// The ledger did not take a step; the sentence says why. Nothing is durable then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LedgerDown(pub Arc<str>);

/// What start-up found open and settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Results that the orchestrator may or may not have taken.
    pub in_doubt: u64,
    /// Attempts that came to nothing.
    pub voided: u64,
}

/// The pool's handle. Cheap to clone; the writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Ledger {
    queue: SyncSender<Command>,
    shared: Arc<Shared>,
}

/// Resolves once the step is on the disk.
#[derive(Debug)]
pub struct Durable(oneshot::Receiver<Result<(), LedgerDown>>);

#[derive(Debug)]
struct Command {
    step: Step,
    answer: oneshot::Sender<Result<(), LedgerDown>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    recovery: Recovery,
    /// Set once, by the writer, for good: a ledger that failed stays down until a restart.
    failed: RwLock<Option<Arc<str>>>,
}

// === impl Ledger ===

impl Ledger {
    /// Opens or makes the ledger, checks the chain's tail, settles what a crash left open.
    /// `now_ms` dates those settlements.
    pub fn open(path: &Path, now_ms: u64) -> Result<(Ledger, Writer), StoreFault> {
        let mut db = sqlite::open_to_write(path, Sync::Full)?;
        let lock = lock(path)?;
        sqlite::settle_schema(&mut db, path, schema::WHAT, &tables::VERSIONS)?;
        start::check_tail(&db, path)?;
        let (head, recovery) = start::recover(&mut db, path, now_ms)?;
        let (queue, commands) = sync_channel(QUEUE);
        let shared = Arc::new(Shared { path: path.to_owned(), recovery, failed: RwLock::new(None) });
        let writer = Writer::new(db, lock, head, commands, shared.clone());
        Ok((Ledger { queue, shared }, writer))
    }

    /// Puts a step in the queue at once; the future resolves after the commit that holds it.
    /// Steps are committed in the order of these calls.
    pub fn append(&self, step: Step) -> Result<Durable, LedgerDown> {
        self.health().map_err(LedgerDown)?;
        let (answer, durable) = oneshot::channel();
        match self.queue.try_send(Command { step, answer }) {
            Ok(()) => Ok(Durable(durable)),
            Err(TrySendError::Full(_)) => Err(LedgerDown("the ledger's queue is full: the disk is too slow".into())),
            Err(TrySendError::Disconnected(_)) => Err(LedgerDown(stopped())),
        }
    }

    /// Why nothing can be written, if so. New tasks are refused from then on.
    pub fn health(&self) -> Result<(), Arc<str>> {
        self.shared.failed.read().as_ref().map_or(Ok(()), |why| Err(why.clone()))
    }

    pub fn recovery(&self) -> Recovery {
        self.shared.recovery
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

// === impl Durable ===

impl Future for Durable {
    type Output = Result<(), LedgerDown>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|told| told.unwrap_or_else(|_| Err(LedgerDown(stopped()))))
    }
}

fn stopped() -> Arc<str> {
    "the ledger's writer has ended".into()
}

/// One proxy a ledger: a second one would settle the first one's running jobs as lost.
fn lock(path: &Path) -> Result<File, StoreFault> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let fault =
        |cause: String| StoreFault::new(path, cause, "end the other proxy, or give this one a `data` of its own");
    let file = File::options().create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(|e| fault(format!("its lock file cannot be made ({e})")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(fault("another proxy is running on it".into())),
    }
}

#[cfg(test)]
mod tests;
