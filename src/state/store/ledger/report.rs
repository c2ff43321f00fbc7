//! `ledger report`: what was posted, summed by worker, orchestrator, day or pipeline, exact to the wei.
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
    /// AI pipeline and model; segments are one more, `transcoding`.
    Pipeline,
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
    /// The worker, the orchestrator, the day as `2026-11-23`, or `text-to-image org/model`.
    pub key: String,
    pub segments: u64,
    pub ai_jobs: u64,
    /// Of the segments, those whose pixels could not be counted here.
    pub uncounted: u64,
    /// Encoded pixels.
    pub pixels_reported: u64,
    pub pixels_computed: u64,
    pub pixels_credited: u64,
    /// Sum over the segments, in thousandths.
    real_time_milli: u64,
    /// `By::Pipeline` only: what is charged. Empty elsewhere: units of several kinds have no sum.
    pub unit: String,
    pub units: u64,
    pub gross: Wei,
    pub commission: Wei,
    pub worker_share: Wei,
    pub rounding: Wei,
}

/// In this order: `works` goes by once, and each step is found by its key.
pub(super) const READ: &str = "SELECT w.worker, w.orchestrator, p.at_ms, w.job, w.pipeline, w.model, w.unit, w.units, \
     w.encoded_reported, w.encoded_computed, w.real_time_milli, w.gross, w.commission, w.worker_share, w.rounding \
     FROM works w CROSS JOIN steps p ON p.job = w.job AND p.task = w.task AND p.step = 'posted' \
     WHERE p.at_ms >= ?1 AND p.at_ms < ?2";

/// The rows in the order of their keys.
pub fn report(path: &Path, by: By, range: Range) -> Result<Vec<ReportRow>, StoreFault> {
    let reader = Reader::open(path)?;
    let mut rows: BTreeMap<(String, String), ReportRow> = BTreeMap::new();
    let mut statement = reader.told(reader.db.prepare(READ))?;
    let bounds = (range.from_ms.unwrap_or(i64::MIN), range.before_ms.unwrap_or(i64::MAX));
    let mut posted = reader.told(statement.query(bounds))?;
    while let Some(row) = reader.told(posted.next())? {
        let at = reader.told(key_of(row, by))?;
        let line = rows.entry(at).or_insert_with_key(|(key, unit)| ReportRow {
            key: key.clone(),
            unit: unit.clone(),
            ..ReportRow::default()
        });
        let sum = reader.told(one(row, &line.unit))?.and_then(|one| line.plus(&one));
        let Some(sum) = sum else {
            let job: String = reader.told(row.get("job"))?;
            let remedy = "run `ledger verify`, and restore the last good backup";
            return Err(StoreFault::new(path, format!("the figures of job {job} cannot be added up"), remedy));
        };
        *line = sum;
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

/// The key, and the unit where there is one.
fn key_of(row: &Row<'_>, by: By) -> rusqlite::Result<(String, String)> {
    let key = match by {
        By::Worker => row.get("worker")?,
        By::Orchestrator => row.get("orchestrator")?,
        By::Day => day(row.get("at_ms")?),
        By::Pipeline => {
            let (pipeline, model): (String, String) = (row.get("pipeline")?, row.get("model")?);
            let key = if model.is_empty() { pipeline } else { format!("{pipeline} {model}") };
            return Ok((key, row.get("unit")?));
        }
    };
    Ok((key, String::new()))
}

/// One posted segment or AI job; None when a figure of it is damaged.
fn one(row: &Row<'_>, unit: &str) -> rusqlite::Result<Option<ReportRow>> {
    let units: i64 = row.get("units")?;
    // An AI job has none of these.
    let reported: Option<i64> = row.get("encoded_reported")?;
    let computed: Option<i64> = row.get("encoded_computed")?;
    let real_time: Option<i64> = row.get("real_time_milli")?;
    let amount = |name: &str| row.get::<_, String>(name).map(|text| text.parse::<Wei>().ok());
    let amounts = (amount("gross")?, amount("commission")?, amount("worker_share")?, amount("rounding")?);
    let (Some(gross), Some(commission), Some(worker_share), Some(rounding)) = amounts else { return Ok(None) };
    let count = |figure: i64| u64::try_from(figure).ok();
    let filled = || {
        let line = ReportRow { gross, commission, worker_share, rounding, ..ReportRow::default() };
        let line = match reported {
            Some(reported) => ReportRow {
                segments: 1,
                uncounted: u64::from(computed.is_none()),
                pixels_reported: count(reported)?,
                pixels_computed: count(computed.unwrap_or(0))?,
                pixels_credited: count(units)?,
                real_time_milli: count(real_time?)?,
                ..line
            },
            None => ReportRow { ai_jobs: 1, ..line },
        };
        Some(if unit.is_empty() { line } else { ReportRow { unit: unit.to_owned(), units: count(units)?, ..line } })
    };
    Ok(filled())
}

// === impl ReportRow ===

impl ReportRow {
    /// Sums two rows under the first one's key; None when a sum does not fit. Units of two kinds
    /// have no sum: `unit` is empty then.
    pub fn plus(&self, other: &ReportRow) -> Option<ReportRow> {
        let alike = self.unit == other.unit;
        Some(ReportRow {
            key: self.key.clone(),
            segments: self.segments.checked_add(other.segments)?,
            ai_jobs: self.ai_jobs.checked_add(other.ai_jobs)?,
            uncounted: self.uncounted.checked_add(other.uncounted)?,
            pixels_reported: self.pixels_reported.checked_add(other.pixels_reported)?,
            pixels_computed: self.pixels_computed.checked_add(other.pixels_computed)?,
            pixels_credited: self.pixels_credited.checked_add(other.pixels_credited)?,
            real_time_milli: self.real_time_milli.checked_add(other.real_time_milli)?,
            unit: if alike { self.unit.clone() } else { String::new() },
            units: if alike { self.units.checked_add(other.units)? } else { 0 },
            gross: self.gross.plus(other.gross).ok()?,
            commission: self.commission.plus(other.commission).ok()?,
            worker_share: self.worker_share.plus(other.worker_share).ok()?,
            rounding: self.rounding.plus(other.rounding).ok()?,
        })
    }

    /// Mean of duration / response time of the segments, in thousandths.
    pub fn mean_real_time_milli(&self) -> u64 {
        self.real_time_milli / self.segments.max(1)
    }
}
