//! `ledger report`: posted segments summed by worker, orchestrator or day, exact to the wei.
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Row;

use super::read::Reader;
use crate::domain::money::Wei;
use crate::state::store::sqlite::StoreFault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Worker,
    Orchestrator,
    /// In UTC.
    Day,
}

/// From and before, in Unix milliseconds of the posting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub from_ms: Option<i64>,
    pub before_ms: Option<i64>,
}

/// One line of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportRow {
    /// The worker, the orchestrator, or the day as `2026-11-23`.
    pub key: String,
    pub segments: u64,
    /// Of these, segments whose pixels could not be counted here.
    pub uncounted: u64,
    /// Encoded pixels.
    pub pixels_reported: u64,
    pub pixels_computed: u64,
    pub pixels_credited: u64,
    /// Sum over the segments, in thousandths.
    real_time_milli: u64,
    pub gross: Wei,
    pub commission: Wei,
    pub worker_share: Wei,
    pub rounding: Wei,
}

const READ: &str = "SELECT s.worker, s.orchestrator, p.at_ms, s.encoded_reported, s.encoded_computed, \
     s.encoded_credited, s.real_time_milli, s.gross, s.commission, s.worker_share, s.rounding, s.job \
     FROM steps p JOIN segments s ON s.job = p.job AND s.task = p.task \
     WHERE p.step = 'posted' AND p.at_ms >= ?1 AND p.at_ms < ?2";

/// The rows in the order of their keys.
pub fn report(path: &Path, by: By, range: Range) -> Result<Vec<ReportRow>, StoreFault> {
    let reader = Reader::open(path)?;
    let mut rows: BTreeMap<String, ReportRow> = BTreeMap::new();
    let mut statement = reader.told(reader.db.prepare(READ))?;
    let bounds = (range.from_ms.unwrap_or(i64::MIN), range.before_ms.unwrap_or(i64::MAX));
    let mut posted = reader.told(statement.query(bounds))?;
    while let Some(row) = reader.told(posted.next())? {
        let key = reader.told(key_of(row, by))?;
        let line = rows.entry(key.clone()).or_insert_with(|| ReportRow { key, ..ReportRow::default() });
        if reader.told(line.take(row))?.is_none() {
            let job: String = reader.told(row.get(11))?;
            let remedy = "run `ledger verify`, and restore the last good backup";
            return Err(StoreFault::new(path, format!("the figures of job {job} cannot be added up"), remedy));
        }
    }
    Ok(rows.into_values().collect())
}

/// The date of a moment, in UTC.
pub fn day(at_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(at_ms) {
        Ok(at) => jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string(),
        Err(_) => "no date".into(),
    }
}

fn key_of(row: &Row<'_>, by: By) -> rusqlite::Result<String> {
    match by {
        By::Worker => row.get(0),
        By::Orchestrator => row.get(1),
        By::Day => row.get(2).map(day),
    }
}

// === impl ReportRow ===

impl ReportRow {
    /// Adds a posted segment; None when a figure is damaged or does not fit.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<()>> {
        let computed: Option<i64> = row.get(4)?;
        let counts: [i64; 4] = [row.get(3)?, computed.unwrap_or(0), row.get(5)?, row.get(6)?];
        let amounts: [String; 4] = [row.get(7)?, row.get(8)?, row.get(9)?, row.get(10)?];
        Ok(self.add(computed.is_none(), counts, &amounts))
    }

    fn add(&mut self, uncounted: bool, counts: [i64; 4], amounts: &[String; 4]) -> Option<()> {
        self.segments += 1;
        self.uncounted += u64::from(uncounted);
        let sums = [
            &mut self.pixels_reported,
            &mut self.pixels_computed,
            &mut self.pixels_credited,
            &mut self.real_time_milli,
        ];
        for (sum, count) in sums.into_iter().zip(counts) {
            *sum = sum.checked_add(u64::try_from(count).ok()?)?;
        }
        let sums = [&mut self.gross, &mut self.commission, &mut self.worker_share, &mut self.rounding];
        for (sum, amount) in sums.into_iter().zip(amounts) {
            *sum = sum.plus(amount.parse().ok()?).ok()?;
        }
        Some(())
    }

    /// Sums two rows, for the last line of a table.
    pub fn plus(mut self, other: &ReportRow) -> Option<ReportRow> {
        let amounts = [other.gross, other.commission, other.worker_share, other.rounding].map(|wei| wei.to_string());
        let counts = [other.pixels_reported, other.pixels_computed, other.pixels_credited, other.real_time_milli];
        let mut signed = [0; 4];
        for (to, from) in signed.iter_mut().zip(counts) {
            *to = i64::try_from(from).ok()?;
        }
        self.add(false, signed, &amounts)?;
        self.segments += other.segments - 1;
        self.uncounted += other.uncounted;
        Some(self)
    }

    /// Mean of duration / response time, in thousandths.
    pub fn mean_real_time_milli(&self) -> u64 {
        self.real_time_milli / self.segments.max(1)
    }
}
