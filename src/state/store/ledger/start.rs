//! Start-up: the chain's tail is checked, and what a crash left open is settled.
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row, TransactionBehavior};

use super::Recovery;
use super::post::{Books, Fail, Head};
use super::schema::{Entry, GENESIS};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::Step;
use crate::domain::money::Signed;
use crate::state::store::sqlite::StoreFault;

/// Entries that are checked at every start; `ledger verify` checks all.
const TAIL: i64 = 1_000;

const REMEDY: &str = "keep the file, run `ledger verify`, and restore the last good backup";

/// Recomputes the last entries' hashes and the sums of the jobs that lie wholly within them.
pub(super) fn check_tail(db: &Connection, path: &Path) -> Result<(), StoreFault> {
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let head = Head::read(db).map_err(fault)?;
    let first = (head.seq - TAIL + 1).max(1);
    let read =
        "SELECT seq, key, job, at_ms, account, amount, facts, prev, hash FROM entries WHERE seq >= ?1 ORDER BY seq";
    let mut statement = db.prepare(read).map_err(fault)?;
    let mut rows = statement.query([first]).map_err(fault)?;
    let (mut seq, mut before) = (first, (first == 1).then(|| GENESIS.to_vec()));
    let (mut job, mut sum, mut whole) = (String::new(), Signed::ZERO, true);
    let unbalanced = |job: &str| StoreFault::new(path, format!("the entries of job {job} do not sum to zero"), REMEDY);
    while let Some(row) = rows.next().map_err(fault)? {
        let (entry, hash) = read_entry(row).map_err(fault)?;
        let linked = before.as_ref().is_none_or(|hash| *hash == entry.prev);
        if entry.seq != seq || !linked || entry.hash() != *hash {
            let cause = format!("the chain is broken at entry {seq}: it is missing or was changed");
            return Err(StoreFault::new(path, cause, REMEDY));
        }
        if entry.job != job {
            if whole && !sum.is_zero() {
                return Err(unbalanced(&job));
            }
            // The first job of the tail may have begun before it.
            whole = !job.is_empty() || first == 1;
            (job, sum) = (entry.job.clone(), Signed::ZERO);
        }
        let amount = entry.amount.parse().and_then(|amount| sum.checked_add(amount));
        sum = amount.map_err(|e| StoreFault::new(path, format!("entry {seq}: {e}"), REMEDY))?;
        before = Some(hash);
        seq += 1;
    }
    if whole && !sum.is_zero() { Err(unbalanced(&job)) } else { Ok(()) }
}

/// An entry and the hash that is stored with it.
pub(super) fn read_entry(row: &Row<'_>) -> rusqlite::Result<(Entry, Vec<u8>)> {
    let entry = Entry {
        seq: row.get(0)?,
        key: row.get(1)?,
        job: row.get(2)?,
        at_ms: row.get(3)?,
        account: row.get(4)?,
        amount: row.get(5)?,
        facts: row.get(6)?,
        prev: row.get(7)?,
    };
    Ok((entry, row.get(8)?))
}

/// A result without an end is in doubt; an assignment without a result came to nothing.
pub(super) fn recover(db: &mut Connection, path: &Path, now_ms: u64) -> Result<(Head, Recovery), StoreFault> {
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let mut recovery = Recovery::default();
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    let head = Head::read(&tx).map_err(fault)?;
    let open = open_attempts(&tx).map_err(fault)?;
    let mut books = Books::new(&tx, head);
    for (job, task, resulted) in open {
        let job: JobId = job.parse().map_err(|e| StoreFault::new(path, format!("{e}"), REMEDY))?;
        let task = TaskId(task);
        let step = if resulted {
            recovery.in_doubt += 1;
            let why: Arc<str> = "the proxy stopped before the orchestrator's answer".into();
            Step::InDoubt { job, task, at_ms: now_ms, why }
        } else {
            recovery.voided += 1;
            Step::Voided { job, task, at_ms: now_ms, why: "the proxy stopped".into() }
        };
        books.take(&step).map_err(|fail| match fail {
            Fail::Refused(why) => StoreFault::new(path, why, REMEDY),
            Fail::Storage(error) => StoreFault::from_sqlite(path, &error),
        })?;
    }
    let head = books.head;
    tx.commit().map_err(fault)?;
    Ok((head, recovery))
}

/// Attempts under way, and whether their result is recorded.
pub(super) const OPEN: &str = "SELECT p.job, p.task, EXISTS (SELECT 1 FROM steps r \
     WHERE r.job = p.job AND r.task = p.task AND r.step = 'resulted') FROM pending p ORDER BY p.job, p.task";

fn open_attempts(db: &Connection) -> rusqlite::Result<Vec<(String, i64, bool)>> {
    db.prepare(OPEN)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}
