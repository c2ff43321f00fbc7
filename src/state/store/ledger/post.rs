//! One step into the tables: what may follow what, and the entries of a posting.
use std::sync::LazyLock;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::facts;
use super::schema::{self, Entry, GENESIS, Hash, Kind};
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::{Assigned, Resulted, Step};
use crate::domain::money::Signed;

static INSERT_SEGMENT: LazyLock<String> = LazyLock::new(|| insert_into(Kind::Segment));
static INSERT_AI_JOB: LazyLock<String> = LazyLock::new(|| insert_into(Kind::Ai));

fn insert_into(kind: Kind) -> String {
    let (fields, marks) = (kind.fields().join(", "), "?, ".repeat(kind.fields().len()));
    format!("INSERT INTO {} ({fields}, digest) VALUES ({marks}?)", kind.table())
}

/// Why a step was not written.
#[derive(Debug)]
pub(super) enum Fail {
    /// This step makes no sense or does not fit; the ledger itself is well.
    Refused(String),
    Storage(rusqlite::Error),
}

/// The last link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) hash: Hash,
}

/// What is known of one attempt.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    assigned: bool,
    resulted: bool,
    posted: bool,
    voided: bool,
    in_doubt: bool,
}

/// The tables within one transaction, and where the chain stands in it.
pub(super) struct Books<'t> {
    db: &'t Connection,
    pub(super) head: Head,
}

// === impl Fail ===

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Fail {
        Fail::Storage(error)
    }
}

pub(super) fn refused<T>(why: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Refused(why.into()))
}

// === impl Books ===

impl<'t> Books<'t> {
    pub(super) fn new(db: &'t Connection, head: Head) -> Books<'t> {
        Books { db, head }
    }

    /// Writes a step. Everything that can be refused is refused before the first write, so that
    /// a refusal leaves nothing half done. A step that is there already is no fault.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), Fail> {
        match step {
            Step::Assigned(assigned) => self.assigned(assigned),
            Step::Resulted(resulted) => self.resulted(resulted),
            Step::Posted { job, task, at_ms } => self.posted(*job, *task, millis(*at_ms)?),
            Step::Voided { job, task, at_ms, why } => self.voided(*job, *task, millis(*at_ms)?, why),
            Step::InDoubt { job, task, at_ms, why } => self.in_doubt(*job, *task, millis(*at_ms)?, why),
        }
    }

    fn assigned(&self, step: &Assigned) -> Result<(), Fail> {
        let at_ms = millis(step.at_ms)?;
        let job = step.job.to_string();
        if self.known(&job, step.task)?.any() {
            return Ok(());
        }
        let insert = "INSERT INTO steps (job, task, step, at_ms, worker, address, orchestrator, epoch, session, \
                      upstream_task) VALUES (?1, ?2, 'assigned', ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.db.prepare_cached(insert)?.execute(params![
            job,
            step.task.0,
            at_ms,
            &*step.worker.0,
            step.address.map(|a| a.to_string()),
            &*step.orchestrator.0,
            &*step.epoch.0,
            &*step.session,
            step.upstream_task
        ])?;
        self.db
            .prepare_cached("INSERT OR IGNORE INTO pending (job, task) VALUES (?1, ?2)")?
            .execute((job, step.task.0))?;
        Ok(())
    }

    fn resulted(&self, step: &Resulted) -> Result<(), Fail> {
        let at_ms = millis(step.at_ms)?;
        let job = step.job.to_string();
        let known = self.known(&job, step.task)?;
        if known.resulted {
            return Ok(());
        }
        if !known.assigned || known.posted || known.voided || known.in_doubt {
            let why = if known.assigned { "is settled already" } else { "was never assigned" };
            return refused(format!("a result for job {job}, task {}, which {why}", step.task));
        }
        let (kind, row) = facts::row(self.db, &job, step, at_ms)?;
        self.note(&job, step.task, "resulted", at_ms, None)?;
        let digest = Value::Blob(kind.digest(&row).to_vec());
        let insert = match kind {
            Kind::Segment => &INSERT_SEGMENT,
            Kind::Ai => &INSERT_AI_JOB,
        };
        self.db.prepare_cached(insert)?.execute(rusqlite::params_from_iter(row.iter().chain([&digest])))?;
        Ok(())
    }

    /// The only step that moves money.
    fn posted(&mut self, job: JobId, task: TaskId, at_ms: i64) -> Result<(), Fail> {
        let job = job.to_string();
        let known = self.known(&job, task)?;
        if known.posted {
            return Ok(());
        }
        if known.voided {
            return self.doubt(&job, task, at_ms, "the orchestrator took it after it was voided", known);
        }
        if self.paid_task(&job)?.is_some() {
            self.note(&job, task, "voided", at_ms, Some("another attempt of this job is posted"))?;
            return self.close(&job, task);
        }
        let Some(facts) = facts::read(self.db, &job, task)? else {
            return self.doubt(&job, task, at_ms, "posted without a recorded result", known);
        };
        let (lines, total) = facts::posting(&facts)?;
        if !total.is_zero() {
            return self.doubt(&job, task, at_ms, "its split does not sum to the gross", known);
        }
        self.note(&job, task, "posted", at_ms, None)?;
        for (line, account, amount) in lines {
            if !amount.is_zero() {
                self.enter(schema::posting_key(&job, line), &job, at_ms, account, amount, &facts.digest)?;
            }
        }
        self.close(&job, task)
    }

    fn voided(&self, job: JobId, task: TaskId, at_ms: i64, why: &str) -> Result<(), Fail> {
        let job = job.to_string();
        let known = self.known(&job, task)?;
        if known.posted {
            return refused(format!("job {job}, task {task} is posted; what is paid is not voided"));
        }
        if !known.voided {
            self.note(&job, task, "voided", at_ms, Some(why))?;
        }
        self.close(&job, task)
    }

    fn in_doubt(&self, job: JobId, task: TaskId, at_ms: i64, why: &str) -> Result<(), Fail> {
        let job = job.to_string();
        let known = self.known(&job, task)?;
        if known.posted || known.voided {
            return Ok(());
        }
        self.doubt(&job, task, at_ms, why, known)
    }

    fn doubt(&self, job: &str, task: TaskId, at_ms: i64, why: &str, known: Known) -> Result<(), Fail> {
        if !known.in_doubt {
            self.note(job, task, "in_doubt", at_ms, Some(why))?;
        }
        self.close(job, task)
    }

    fn enter(
        &mut self,
        key: String,
        job: &str,
        at_ms: i64,
        account: String,
        amount: Signed,
        facts: &[u8],
    ) -> Result<(), Fail> {
        let entry = Entry {
            seq: self.head.seq + 1,
            key,
            job: job.to_owned(),
            at_ms,
            account,
            amount: amount.to_string(),
            facts: facts.to_vec(),
            prev: self.head.hash.to_vec(),
        };
        let hash = entry.hash();
        let insert = "INSERT INTO entries (seq, key, job, at_ms, account, amount, facts, prev, hash) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        self.db.prepare_cached(insert)?.execute(params![
            entry.seq,
            entry.key,
            entry.job,
            entry.at_ms,
            entry.account,
            entry.amount,
            entry.facts,
            entry.prev,
            hash
        ])?;
        self.head = Head { seq: entry.seq, hash };
        Ok(())
    }

    fn note(&self, job: &str, task: TaskId, step: &str, at_ms: i64, why: Option<&str>) -> Result<(), Fail> {
        let insert = "INSERT INTO steps (job, task, step, at_ms, why) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.db.prepare_cached(insert)?.execute((job, task.0, step, at_ms, why))?;
        Ok(())
    }

    fn close(&self, job: &str, task: TaskId) -> Result<(), Fail> {
        self.db.prepare_cached("DELETE FROM pending WHERE job = ?1 AND task = ?2")?.execute((job, task.0))?;
        Ok(())
    }

    fn known(&self, job: &str, task: TaskId) -> Result<Known, Fail> {
        let mut known = Known::default();
        let mut read = self.db.prepare_cached("SELECT step FROM steps WHERE job = ?1 AND task = ?2")?;
        let mut rows = read.query((job, task.0))?;
        while let Some(row) = rows.next()? {
            match row.get_ref(0)?.as_str().unwrap_or_default() {
                "assigned" => known.assigned = true,
                "resulted" => known.resulted = true,
                "posted" => known.posted = true,
                "voided" => known.voided = true,
                _ => known.in_doubt = true,
            }
        }
        Ok(known)
    }

    fn paid_task(&self, job: &str) -> Result<Option<i64>, Fail> {
        let read = "SELECT task FROM steps WHERE job = ?1 AND step = 'posted'";
        Ok(self.db.prepare_cached(read)?.query_row([job], |row| row.get(0)).optional()?)
    }
}

// === impl Known ===

impl Known {
    fn any(self) -> bool {
        self.assigned || self.resulted || self.posted || self.voided || self.in_doubt
    }
}

// === impl Head ===

impl Head {
    pub(super) fn read(db: &Connection) -> rusqlite::Result<Head> {
        let last = db
            .query_row("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok(Head { seq: row.get(0)?, hash: row.get(1)? })
            })
            .optional()?;
        Ok(last.unwrap_or(Head { seq: 0, hash: GENESIS }))
    }
}

fn millis(at_ms: u64) -> Result<i64, Fail> {
    i64::try_from(at_ms).map_err(|_| Fail::Refused(format!("{at_ms} ms is no date")))
}
