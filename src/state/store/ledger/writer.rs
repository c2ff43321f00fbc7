//! The one writer: takes what is queued, one transaction, one fsync, then answers all.
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::post::{Books, Fail, Head};
use super::{BATCH, Command, LedgerDown, Shared};
use crate::state::store::sqlite::StoreFault;

/// Between two tries to commit.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs on a thread of its own until every handle is gone.
#[derive(Debug)]
pub struct Writer {
    pub(super) db: Connection,
    /// Held as long as the writer lives.
    _lock: File,
    head: Head,
    commands: Receiver<Command>,
    shared: Arc<Shared>,
}

type Verdict = Result<(), LedgerDown>;

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        db: Connection,
        lock: File,
        head: Head,
        commands: Receiver<Command>,
        shared: Arc<Shared>,
    ) -> Writer {
        Writer { db, _lock: lock, head, commands, shared }
    }

    /// Blocks. Ends when the last `Ledger` is dropped and the queue is empty.
    pub fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = self.commands.recv() {
            batch.push(first);
            while batch.len() < BATCH
                && let Ok(next) = self.commands.try_recv()
            {
                batch.push(next);
            }
            self.settle(&mut batch);
        }
        // The next start finds one tidy file; when it fails, the WAL still holds everything.
        let _ = self.db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }

    fn settle(&mut self, batch: &mut Vec<Command>) {
        let verdicts = match self.commit_patiently(batch) {
            Ok(verdicts) => verdicts,
            Err(why) => {
                *self.shared.failed.write() = Some(why.clone());
                vec![Err(LedgerDown(why)); batch.len()]
            }
        };
        for (command, verdict) in batch.drain(..).zip(verdicts) {
            // A caller that went away does not care.
            let _ = command.answer.send(verdict);
        }
    }

    fn commit_patiently(&mut self, batch: &[Command]) -> Result<Vec<Verdict>, Arc<str>> {
        if let Some(why) = self.shared.failed.read().as_ref() {
            return Err(why.clone());
        }
        let mut tries = 1;
        loop {
            let error = match self.commit(batch) {
                Ok(verdicts) => return Ok(verdicts),
                Err(error) => error,
            };
            if tries >= tries_for(&error) {
                let fault = StoreFault::from_sqlite(&self.shared.path, &error);
                return Err(format!("the ledger cannot be written: {fault}").into());
            }
            tries += 1;
            thread::sleep(PAUSE);
        }
    }

    /// All or nothing: the head moves only when the commit is on the disk.
    fn commit(&mut self, batch: &[Command]) -> Result<Vec<Verdict>, rusqlite::Error> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut books = Books::new(&tx, self.head);
        let mut verdicts = Vec::with_capacity(batch.len());
        for command in batch {
            verdicts.push(match books.take(&command.step) {
                Ok(()) => Ok(()),
                Err(Fail::Refused(why)) => Err(LedgerDown(why.into())),
                Err(Fail::Storage(error)) => return Err(error),
            });
        }
        let head = books.head;
        tx.commit()?;
        self.head = head;
        Ok(verdicts)
    }
}

/// How often a commit is tried that failed so: more than once only where nothing was written for
/// sure and the cause may go away. After a failed fsync nobody knows what the disk holds.
fn tries_for(error: &rusqlite::Error) -> u32 {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => 8,
        // Each try has waited for the lock already.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => 3,
        _ => 1,
    }
}
