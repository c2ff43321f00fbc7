//! The journal of decisions, for `explain`: never waits for anybody, may forget, says how much.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rusqlite::{Connection, OptionalExtension};

use super::sqlite::{self, StoreFault, Sync};
use crate::domain::ids::JobId;

const VERSION: i64 = 1;
const WHAT: &str = "journal";
/// Records that may wait; more are dropped and counted.
const QUEUE: usize = 4_096;
/// Records of one transaction.
const BATCH: usize = 500;
/// A record longer than this is dropped.
const LONGEST: usize = 256 * 1024;
/// Old rows go after so many new ones.
const PRUNE_EVERY: u64 = 2_000;

const DDL: &str = "
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, what TEXT NOT NULL) STRICT;
-- Jobs sort by time.
CREATE TABLE decisions (job TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
";

/// How long decisions stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub days: u32,
    pub jobs: u64,
}

/// The pool's handle.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: SyncSender<(JobId, String)>,
    dropped: Arc<AtomicU64>,
}

/// Runs on a thread of its own until every handle is gone.
#[derive(Debug)]
pub struct JournalWriter {
    db: Connection,
    path: PathBuf,
    keep: Keep,
    records: Receiver<(JobId, String)>,
    dropped: Arc<AtomicU64>,
}

// === impl Journal ===

impl Journal {
    pub fn open(path: &Path, keep: Keep) -> Result<(Journal, JournalWriter), StoreFault> {
        let mut db = sqlite::open_to_write(path, Sync::Normal)?;
        sqlite::settle_schema(&mut db, path, WHAT, &[DDL])?;
        let (queue, records) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = JournalWriter { db, path: path.to_owned(), keep, records, dropped: dropped.clone() };
        Ok((Journal { queue, dropped }, writer))
    }

    /// Queues a record, or drops it when the queue is full.
    pub fn record(&self, job: JobId, json: String) {
        if json.len() > LONGEST || self.queue.try_send((job, json)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were not kept: queue full, too long, or not written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// A job's record, while `serve` runs or not. None: never written, or forgotten.
    pub fn read(path: &Path, job: JobId) -> Result<Option<String>, StoreFault> {
        let db = sqlite::open_to_read(path)?;
        sqlite::check_schema(&db, path, WHAT, VERSION)?;
        let read = "SELECT record FROM decisions WHERE job = ?1";
        let record = db.query_row(read, [job.to_string()], |row| row.get(0)).optional();
        record.map_err(|e| StoreFault::from_sqlite(path, &e))
    }
}

// === impl JournalWriter ===

impl JournalWriter {
    /// Blocks. Ends when the last `Journal` is dropped and the queue is empty. `now_ms` is asked
    /// once for every pruning.
    pub fn run(mut self, now_ms: impl Fn() -> u64) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut since_pruned = PRUNE_EVERY;
        while let Ok(first) = self.records.recv() {
            batch.push(first);
            while batch.len() < BATCH
                && let Ok(next) = self.records.try_recv()
            {
                batch.push(next);
            }
            since_pruned += batch.len() as u64;
            if let Err(error) = self.write(&batch) {
                self.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                self.complain(&error);
            }
            batch.clear();
            if since_pruned >= PRUNE_EVERY {
                since_pruned = 0;
                if let Err(error) = self.prune(now_ms()) {
                    self.complain(&error);
                }
            }
        }
    }

    fn write(&mut self, batch: &[(JobId, String)]) -> rusqlite::Result<()> {
        let tx = self.db.transaction()?;
        for (job, record) in batch {
            let insert = "INSERT OR REPLACE INTO decisions (job, record) VALUES (?1, ?2)";
            tx.prepare_cached(insert)?.execute((job.to_string(), record))?;
        }
        tx.commit()
    }

    fn prune(&mut self, now_ms: u64) -> rusqlite::Result<()> {
        let oldest = now_ms.saturating_sub(u64::from(self.keep.days) * 86_400_000);
        self.db.execute("DELETE FROM decisions WHERE job < ?1", [JobId::new(oldest, 0).to_string()])?;
        let keep = i64::try_from(self.keep.jobs).unwrap_or(i64::MAX);
        let cut = "DELETE FROM decisions WHERE job <= \
                   (SELECT job FROM decisions ORDER BY job DESC LIMIT 1 OFFSET ?1)";
        self.db.execute(cut, [keep])?;
        Ok(())
    }

    fn complain(&self, error: &rusqlite::Error) {
        let fault = StoreFault::from_sqlite(&self.path, error);
        crate::telemetry::journal_fault(&fault.to_string());
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
