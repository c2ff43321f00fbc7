//! `ledger verify`: everything recomputed from the facts, every fault in words.
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::due::lines;
use super::post::Head;
use super::read::{Reader, fact_row, select};
use super::schema::{Entry, GENESIS, Kind};
use super::start::read_entry;
use super::tables::VERSIONS;
use crate::domain::money::Signed;
use crate::state::store::sqlite::StoreFault;

/// Faults and doubts that are spelled out; more are counted.
pub(super) const SPELLED: usize = 200;

/// What a check of the whole ledger found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Nothing is wrong. Doubts are no fault: they wait for a person.
    pub balanced: bool,
    pub steps: u64,
    pub segments: u64,
    pub ai_jobs: u64,
    pub posted: u64,
    pub entries: u64,
    /// Attempts under way (or cut off by a crash, until the next start).
    pub pending: u64,
    /// The chain's last entry: note it down, and cut-off tails are found, too.
    pub head_entry: i64,
    pub head_hash: String,
    /// Sum of each account's entries, in wei.
    pub balances: BTreeMap<String, String>,
    pub in_doubt_total: u64,
    pub in_doubt: Vec<Doubt>,
    pub faults_total: u64,
    pub faults: Vec<String>,
}

/// A result of which nobody knows whether the orchestrator took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    pub job: String,
    pub task: i64,
    pub at_ms: i64,
    pub worker: Option<String>,
    pub orchestrator: Option<String>,
    pub why: Option<String>,
}

/// The lines of one posting, as they go by in the chain.
#[derive(Default)]
struct Posting {
    /// `post/<job>`: the key without its line.
    key: String,
    entries: Vec<Entry>,
}

/// Checks the ledger at `path`, beside a running proxy or not.
pub fn verify(path: &Path) -> Result<VerifyReport, StoreFault> {
    let reader = Reader::open(path)?;
    let mut report = VerifyReport::default();
    reader.pages(&mut report)?;
    reader.schema(&mut report)?;
    reader.chain(&mut report)?;
    report.segments = reader.facts(Kind::Segment, &mut report)?;
    report.ai_jobs = reader.facts(Kind::Ai, &mut report)?;
    reader.attempts(&mut report)?;
    reader.doubts(&mut report)?;
    report.balanced = report.faults_total == 0;
    Ok(report)
}

// === impl VerifyReport ===

impl VerifyReport {
    pub(super) fn fault(&mut self, text: String) {
        self.faults_total += 1;
        if self.faults.len() < SPELLED {
            self.faults.push(text);
        }
    }
}

// === impl Reader ===

impl Reader {
    fn pages(&self, report: &mut VerifyReport) -> Result<(), StoreFault> {
        let read = || -> rusqlite::Result<Vec<String>> {
            self.db.prepare("PRAGMA integrity_check(20)")?.query_map([], |row| row.get(0))?.collect()
        };
        for line in self.told(read())? {
            if line != "ok" {
                report.fault(format!("the file is damaged: {line}"));
            }
        }
        Ok(())
    }

    /// The tables, the triggers that keep them, and the view, against what this program makes.
    fn schema(&self, report: &mut VerifyReport) -> Result<(), StoreFault> {
        let made = Connection::open_in_memory().and_then(|fresh| {
            let known = usize::try_from(self.version).unwrap_or(0);
            VERSIONS.iter().take(known).try_for_each(|added| fresh.execute_batch(added))?;
            objects(&fresh)
        });
        let (made, found) = (self.told(made)?, self.told(objects(&self.db))?);
        for object in made.iter().filter(|object| !found.contains(object)) {
            let [kind, name, table, _] = object;
            let what = match name.rsplit_once('_') {
                Some((_, change)) if kind == "trigger" => format!("trigger that refuses {change} on {table}"),
                _ => format!("{kind} {name}"),
            };
            report.fault(format!("the {what} is gone or not as it was made: somebody was at the file"));
        }
        for [_, name, table, _] in found.iter().filter(|[kind, ..]| kind == "trigger") {
            if !made.iter().any(|[kind, known, ..]| kind == "trigger" && known == name) {
                report.fault(format!("the trigger {name} on {table} is not of this program: somebody was at the file"));
            }
        }
        Ok(())
    }

    /// Hashes, links, sums, and each posting against its facts.
    fn chain(&self, report: &mut VerifyReport) -> Result<(), StoreFault> {
        let read = "SELECT seq, key, job, at_ms, account, amount, facts, prev, hash FROM entries ORDER BY seq";
        let mut statement = self.told(self.db.prepare(read))?;
        let mut rows = self.told(statement.query([]))?;
        let mut balances: BTreeMap<String, Signed> = BTreeMap::new();
        let mut posting = Posting::default();
        let (mut next, mut before) = (1, GENESIS.to_vec());
        while let Some(row) = self.told(rows.next())? {
            let seq: i64 = self.told(row.get(0))?;
            if seq != next {
                report.fault(format!("entries {next} to {} are missing", seq - 1));
            }
            next = seq + 1;
            report.entries += 1;
            let (entry, hash) = match read_entry(row) {
                Ok(read) => read,
                Err(error) => {
                    report.fault(format!("entry {seq} cannot be read: {error}"));
                    continue;
                }
            };
            if entry.prev != before {
                report.fault(format!("entry {seq} does not follow the one before it: one of the two was changed"));
            }
            if entry.hash() != *hash {
                report.fault(format!("entry {seq} was changed: its hash does not fit"));
            }
            before = hash;
            add_up(&mut balances, &entry, report);
            let key = entry.key.rsplit_once('/').map_or("", |(posting, _)| posting);
            if key != posting.key {
                self.posting(&posting, report)?;
                posting = Posting { key: key.to_owned(), entries: Vec::new() };
            }
            posting.entries.push(entry);
        }
        self.posting(&posting, report)?;
        let head = self.told(Head::read(&self.db)).unwrap_or(Head { seq: next - 1, hash: GENESIS });
        report.head_entry = head.seq;
        report.head_hash = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        close_books(&balances, report);
        Ok(())
    }

    fn posting(&self, posting: &Posting, report: &mut VerifyReport) -> Result<(), StoreFault> {
        let Some(first) = posting.entries.first() else { return Ok(()) };
        let job = &first.job;
        if posting.key != format!("post/{job}") {
            report
                .fault(format!("entry {} has the key `{}`, which does not belong to job {job}", first.seq, first.key));
            return Ok(());
        }
        let sum = posting.entries.iter().try_fold(Signed::ZERO, |sum, entry| sum.checked_add(entry.amount.parse()?));
        if sum != Ok(Signed::ZERO) {
            report.fault(format!("the entries of job {job} (from {} on) do not sum to zero", first.seq));
        }
        let task = "SELECT task, at_ms FROM steps WHERE job = ?1 AND step = 'posted'";
        let task = self
            .db
            .prepare_cached(task)
            .and_then(|mut s| s.query_row([job], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional());
        let Some((task, at_ms)) = self.told(task)? else {
            report.fault(format!("entry {} pays for job {job}, which was never posted", first.seq));
            return Ok(());
        };
        let Some(fact) = self.told(self.fact(job, task))? else {
            report.fault(format!("entry {} pays for job {job}, of which there is no result", first.seq));
            return Ok(());
        };
        let wanted = match lines(job, &fact) {
            Ok(wanted) => wanted,
            Err(why) => {
                report.fault(format!("job {job}: {why}"));
                return Ok(());
            }
        };
        let found: Vec<_> =
            posting.entries.iter().map(|e| (e.key.as_str(), e.account.as_str(), e.amount.as_str())).collect();
        if found != wanted.iter().map(|(k, a, w)| (k.as_str(), a.as_str(), w.as_str())).collect::<Vec<_>>() {
            let text = format!("the entries of job {job} (from {} on) are not what its facts give", first.seq);
            report.fault(text);
        }
        for entry in &posting.entries {
            if entry.facts != fact.digest || entry.at_ms != at_ms {
                report.fault(format!("entry {} and the facts of job {job} do not belong together", entry.seq));
            }
        }
        Ok(())
    }

    /// Each segment's and AI job's digest and sums.
    fn facts(&self, kind: Kind, report: &mut VerifyReport) -> Result<u64, StoreFault> {
        let mut statement = self.told(self.db.prepare(&select(kind)))?;
        let mut rows = self.told(statement.query([]))?;
        let mut count = 0;
        while let Some(row) = self.told(rows.next())? {
            count += 1;
            let fact = match fact_row(kind, row) {
                Ok(fact) => fact,
                Err(error) => {
                    report.fault(format!("a row of {} cannot be read: {error}", kind.table()));
                    continue;
                }
            };
            let (job, task) = (fact.text("job").to_owned(), fact.number("task").unwrap_or_default());
            if kind.digest(&fact.row) != *fact.digest {
                let name = kind.name();
                report.fault(format!("the {name} of job {job}, task {task} was changed: its digest does not fit"));
            }
            if let Err(why) = lines(&job, &fact) {
                report.fault(format!("job {job}, task {task}: {why}"));
            }
        }
        Ok(count)
    }
}

/// Type, name, table and text of all that was made by a statement.
fn objects(db: &Connection) -> rusqlite::Result<Vec<[String; 4]>> {
    let read = "SELECT type, name, tbl_name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL";
    db.prepare(read)?.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?.collect()
}

fn add_up(balances: &mut BTreeMap<String, Signed>, entry: &Entry, report: &mut VerifyReport) {
    let sum = balances.entry(entry.account.clone()).or_default();
    match entry.amount.parse().and_then(|amount| sum.checked_add(amount)) {
        Ok(new) => *sum = new,
        Err(why) => report.fault(format!("entry {}: {why}", entry.seq)),
    }
}

fn close_books(balances: &BTreeMap<String, Signed>, report: &mut VerifyReport) {
    let total = balances.values().try_fold(Signed::ZERO, |sum, balance| sum.checked_add(*balance));
    match total {
        Ok(total) if total.is_zero() => {}
        Ok(total) => report.fault(format!("all accounts together hold {total} wei, not zero")),
        Err(why) => report.fault(format!("all accounts together: {why}")),
    }
    report.balances = balances.iter().map(|(account, sum)| (account.clone(), sum.to_string())).collect();
}
