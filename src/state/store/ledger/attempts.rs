//! Part of `ledger verify`: every attempt has one end, and what is in doubt.
use super::read::Reader;
use super::verify::{Doubt, SPELLED, VerifyReport};
use crate::state::store::sqlite::StoreFault;

/// What must not be, and the attempts of which it is so. (The view `works` within a subquery would be read whole for it.)
pub(super) const CHECKS: [(&str, &str); 8] = [
    (
        "has a result recorded, but no segment and no AI job",
        "SELECT r.job, r.task FROM steps r WHERE r.step = 'resulted' \
         AND NOT EXISTS (SELECT 1 FROM segments s WHERE s.job = r.job AND s.task = r.task) \
         AND NOT EXISTS (SELECT 1 FROM ai_jobs a WHERE a.job = r.job AND a.task = r.task)",
    ),
    (
        "has a segment, but no recorded result",
        "SELECT s.job, s.task FROM segments s LEFT JOIN steps r ON r.job = s.job AND r.task = s.task \
         AND r.step = 'resulted' WHERE r.job IS NULL",
    ),
    (
        "has an AI job, but no recorded result",
        "SELECT a.job, a.task FROM ai_jobs a LEFT JOIN steps r ON r.job = a.job AND r.task = a.task \
         AND r.step = 'resulted' WHERE r.job IS NULL",
    ),
    (
        "is a segment and an AI job",
        "SELECT a.job, a.task FROM ai_jobs a JOIN segments s ON s.job = a.job AND s.task = a.task",
    ),
    (
        "is posted without a segment or an AI job",
        "SELECT p.job, p.task FROM steps p WHERE p.step = 'posted' \
         AND NOT EXISTS (SELECT 1 FROM segments s WHERE s.job = p.job AND s.task = p.task) \
         AND NOT EXISTS (SELECT 1 FROM ai_jobs a WHERE a.job = p.job AND a.task = p.task)",
    ),
    (
        "is posted, but has no entries",
        "SELECT p.job, p.task FROM steps p WHERE p.step = 'posted' \
         AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.key = 'post/' || p.job || '/receivable') \
         AND (EXISTS (SELECT 1 FROM segments s WHERE s.job = p.job AND s.task = p.task AND s.gross <> '0') \
         OR EXISTS (SELECT 1 FROM ai_jobs a WHERE a.job = p.job AND a.task = p.task AND a.gross <> '0'))",
    ),
    (
        "has no end, and is not among those under way",
        "SELECT a.job, a.task FROM steps a WHERE a.step = 'assigned' AND NOT EXISTS (SELECT 1 FROM steps e \
         WHERE e.job = a.job AND e.task = a.task AND e.step IN ('posted', 'voided', 'in_doubt')) \
         AND NOT EXISTS (SELECT 1 FROM pending p WHERE p.job = a.job AND p.task = a.task)",
    ),
    (
        "is posted and voided",
        "SELECT p.job, p.task FROM steps p JOIN steps v ON v.job = p.job AND v.task = p.task \
         AND v.step = 'voided' WHERE p.step = 'posted'",
    ),
];

// === impl Reader ===

impl Reader {
    /// Steps against segments, AI jobs, entries and the list of what is under way.
    pub(super) fn attempts(&self, report: &mut VerifyReport) -> Result<(), StoreFault> {
        report.steps = self.number("SELECT count(*) FROM steps")?;
        report.pending = self.number("SELECT count(*) FROM pending")?;
        report.posted = self.number("SELECT count(*) FROM steps WHERE step = 'posted'")?;
        for (what, sql) in CHECKS {
            let read = || -> rusqlite::Result<Vec<(String, i64)>> {
                self.db.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            };
            for (job, task) in self.told(read())? {
                report.fault(format!("job {job}, task {task} {what}"));
            }
        }
        Ok(())
    }

    /// The attempts whose doubt nobody has settled.
    pub(super) fn doubts(&self, report: &mut VerifyReport) -> Result<(), StoreFault> {
        let open = "FROM steps d LEFT JOIN steps a ON a.job = d.job AND a.task = d.task AND a.step = 'assigned' \
                    WHERE d.step = 'in_doubt' AND NOT EXISTS (SELECT 1 FROM steps e WHERE e.job = d.job \
                    AND e.task = d.task AND e.step IN ('posted', 'voided') AND e.seq > d.seq)";
        report.in_doubt_total = self.number(&format!("SELECT count(*) {open}"))?;
        let read = format!(
            "SELECT d.job, d.task, d.at_ms, a.worker, a.orchestrator, d.why {open} ORDER BY d.seq LIMIT {SPELLED}"
        );
        let list = || -> rusqlite::Result<Vec<Doubt>> {
            let doubt = |row: &rusqlite::Row<'_>| {
                Ok(Doubt {
                    job: row.get(0)?,
                    task: row.get(1)?,
                    at_ms: row.get(2)?,
                    worker: row.get(3)?,
                    orchestrator: row.get(4)?,
                    why: row.get(5)?,
                })
            };
            self.db.prepare(&read)?.query_map([], doubt)?.collect()
        };
        report.in_doubt = self.told(list())?;
        Ok(())
    }

    fn number(&self, sql: &str) -> Result<u64, StoreFault> {
        let number: i64 = self.told(self.db.query_row(sql, [], |row| row.get(0)))?;
        Ok(u64::try_from(number).unwrap_or(0))
    }
}
