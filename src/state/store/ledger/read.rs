//! Reading the ledger beside a running proxy: one snapshot, nothing written.
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};

use super::schema::{self, Kind};
use super::tables;
use crate::domain::money::Wei;
use crate::state::store::sqlite::{self, StoreFault};

/// A read-only connection that sees one moment of the ledger.
#[derive(Debug)]
pub struct Reader {
    pub(super) db: Connection,
    pub(super) path: PathBuf,
    /// Of the file's schema.
    pub(super) version: i64,
}

/// The row of a segment or an AI job as stored, with its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub(super) kind: Kind,
    /// In the order of the kind's fields.
    pub(super) row: Vec<Value>,
    pub(super) digest: Vec<u8>,
}

/// One step as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    pub seq: i64,
    pub task: i64,
    pub step: String,
    pub at_ms: i64,
    pub why: Option<String>,
    /// Of an assignment.
    pub worker: Option<String>,
}

/// One entry as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    pub seq: i64,
    pub at_ms: i64,
    pub account: String,
    pub amount: String,
}

/// All that the ledger holds of one job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobRecord {
    pub steps: Vec<StepRow>,
    pub segments: Vec<Fact>,
    pub ai_jobs: Vec<Fact>,
    pub entries: Vec<EntryRow>,
}

// === impl Reader ===

impl Reader {
    pub fn open(path: &Path) -> Result<Reader, StoreFault> {
        let db = sqlite::open_to_read(path)?;
        // All that follows sees the ledger as it was at the first look.
        db.execute_batch("BEGIN DEFERRED").map_err(|e| StoreFault::from_sqlite(path, &e))?;
        let version = sqlite::check_schema(&db, path, schema::WHAT, schema::VERSION)?;
        let reader = Reader { db, path: path.to_owned(), version };
        reader.told(reader.complete())?;
        Ok(reader)
    }

    pub(super) fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreFault> {
        result.map_err(|e| StoreFault::from_sqlite(&self.path, &e))
    }

    /// What a file of an older schema lacks is there for this reader, empty, in its memory only.
    fn complete(&self) -> rusqlite::Result<()> {
        let known = usize::try_from(self.version).unwrap_or(0);
        for added in tables::VERSIONS.iter().skip(known) {
            let temporary = added.replace("CREATE ", "CREATE TEMP ");
            self.db.execute_batch(&format!("PRAGMA query_only = OFF; {temporary} PRAGMA query_only = ON;"))?;
        }
        Ok(())
    }

    /// The facts of one attempt, of whichever kind.
    pub(super) fn fact(&self, job: &str, task: i64) -> rusqlite::Result<Option<Fact>> {
        for kind in Kind::ALL {
            let read = format!("{} WHERE job = ?1 AND task = ?2", select(kind));
            let mut read = self.db.prepare_cached(&read)?;
            if let Some(fact) = read.query_row((job, task), |row| fact_row(kind, row)).optional()? {
                return Ok(Some(fact));
            }
        }
        Ok(None)
    }

    fn facts_of(&self, kind: Kind, job: &str) -> rusqlite::Result<Vec<Fact>> {
        let read = format!("{} WHERE job = ?1 ORDER BY task", select(kind));
        self.db.prepare(&read)?.query_map([job], |row| fact_row(kind, row))?.collect()
    }

    /// The paid job with the most to tell: the one that took the most steps.
    pub fn eventful_job(&self) -> Result<Option<String>, StoreFault> {
        let find = "SELECT job FROM steps GROUP BY job HAVING sum(step = 'posted') = 1 ORDER BY count(*) DESC LIMIT 1";
        self.told(self.db.query_row(find, [], |row| row.get(0)).optional())
    }

    /// One job, for `explain`.
    pub fn job(&self, job: &str) -> Result<JobRecord, StoreFault> {
        let read = || -> rusqlite::Result<JobRecord> {
            let steps = "SELECT seq, task, step, at_ms, why, worker FROM steps WHERE job = ?1 ORDER BY seq";
            let steps = self.db.prepare(steps)?.query_map([job], step_row)?.collect::<Result<_, _>>()?;
            // Keys of a job's posting sort together: `/` is followed by `0`.
            let entries = "SELECT seq, at_ms, account, amount FROM entries \
                           WHERE key >= 'post/' || ?1 || '/' AND key < 'post/' || ?1 || '0' ORDER BY seq";
            let entries = self.db.prepare(entries)?.query_map([job], entry_row)?.collect::<Result<_, _>>()?;
            let (segments, ai_jobs) = (self.facts_of(Kind::Segment, job)?, self.facts_of(Kind::Ai, job)?);
            Ok(JobRecord { steps, segments, ai_jobs, entries })
        };
        self.told(read())
    }
}

// === impl Fact ===

impl Fact {
    pub(super) fn field(&self, name: &str) -> &Value {
        let at = self.kind.fields().iter().position(|field| *field == name);
        at.and_then(|at| self.row.get(at)).unwrap_or(&Value::Null)
    }

    /// A text column; empty when NULL.
    pub fn text(&self, name: &str) -> &str {
        if let Value::Text(text) = self.field(name) { text } else { "" }
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        if let Value::Integer(number) = self.field(name) { Some(*number) } else { None }
    }

    /// What the price is multiplied by.
    pub fn units(&self) -> u64 {
        self.count(self.kind.units())
    }

    /// A count of pixels, units or bytes; 0 when NULL.
    pub fn count(&self, name: &str) -> u64 {
        self.number(name).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    /// All columns by their names, as stored: amounts of wei are texts.
    pub fn json(&self) -> serde_json::Value {
        let value = |field: &Value| match field {
            Value::Integer(number) => serde_json::Value::from(*number),
            Value::Text(text) => serde_json::Value::from(text.as_str()),
            _ => serde_json::Value::Null,
        };
        self.kind.fields().iter().zip(&self.row).map(|(name, field)| ((*name).to_owned(), value(field))).collect()
    }

    /// An amount; None when the text is none.
    pub fn wei(&self, name: &str) -> Option<Wei> {
        self.text(name).parse().ok()
    }
}

pub(super) fn select(kind: Kind) -> String {
    format!("SELECT {}, digest FROM {}", kind.fields().join(", "), kind.table())
}

pub(super) fn fact_row(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Fact> {
    let fields = kind.fields().len();
    Ok(Fact { kind, row: (0..fields).map(|at| row.get(at)).collect::<Result<_, _>>()?, digest: row.get(fields)? })
}

fn step_row(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        seq: row.get(0)?,
        task: row.get(1)?,
        step: row.get(2)?,
        at_ms: row.get(3)?,
        why: row.get(4)?,
        worker: row.get(5)?,
    })
}

fn entry_row(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow { seq: row.get(0)?, at_ms: row.get(1)?, account: row.get(2)?, amount: row.get(3)? })
}
