//! `ledger report` and `ledger verify`.
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};

use super::table::{Cell, Output, Sheet, grouped};
use crate::state::store::ledger::{self, Range, ReportRow, VerifyReport};

/// The ledger's file in the data folder.
pub const FILE: &str = "ledger.db";

#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// What a row stands for
    #[arg(long, value_enum, default_value = "worker")]
    pub by: By,
    /// First day, in UTC: 2026-11-23
    #[arg(long, value_name = "DAY")]
    pub from: Option<String>,
    /// Last day, in UTC
    #[arg(long, value_name = "DAY")]
    pub to: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    Worker,
    Orchestrator,
    Day,
    /// AI pipeline and model; segments are `transcoding`
    Pipeline,
}

/// Prints posted segments and AI jobs, and their wei.
pub fn report(args: &ReportArgs, data: &Path, out: &mut dyn Write) -> Result<()> {
    let (by, name) = match args.by {
        By::Worker => (ledger::By::Worker, "worker"),
        By::Orchestrator => (ledger::By::Orchestrator, "orchestrator"),
        By::Day => (ledger::By::Day, "day"),
        By::Pipeline => (ledger::By::Pipeline, "pipeline"),
    };
    let from_ms = args.from.as_deref().map(|text| midnight(text, "--from", 0)).transpose()?;
    let before_ms = args.to.as_deref().map(|text| midnight(text, "--to", 1)).transpose()?;
    if let (Some(from), Some(before)) = (from_ms, before_ms)
        && from >= before
    {
        return Err(anyhow!("--from lies after --to; swap them"));
    }
    let rows = ledger::report(&data.join(FILE), by, Range { from_ms, before_ms })?;
    let sheet = match args.by {
        By::Pipeline => sheet_of(&rows, &[&[name, "jobs", "unit", "units"], &MONEY[..]].concat(), pipeline_cells),
        _ => sheet_of(&rows, &[&[name], &FIGURES[..], &MONEY].concat(), cells),
    };
    sheet.print(args.output, out).context("printing the report")
}

const FIGURES: [&str; 7] =
    ["segments", "ai_jobs", "uncounted", "pixels_reported", "pixels_computed", "pixels_credited", "real_time_ratio"];

const MONEY: [&str; 4] = ["gross_wei", "commission_wei", "worker_wei", "rounding_wei"];

fn sheet_of(rows: &[ReportRow], columns: &[&'static str], cells: impl Fn(&ReportRow) -> Vec<Cell>) -> Sheet {
    let mut sheet = Sheet::new(columns);
    for row in rows {
        sheet.row(cells(row));
    }
    let total = rows.split_first().and_then(|(first, rest)| {
        let mut start = first.clone();
        start.key = "total".into();
        rest.iter().try_fold(start, |sum, row| sum.plus(row))
    });
    if let Some(total) = total.filter(|_| rows.len() > 1) {
        sheet.total(cells(&total));
    }
    sheet
}

fn cells(row: &ReportRow) -> Vec<Cell> {
    let mut cells = vec![
        Cell::text(row.key.clone()),
        Cell::count(row.segments),
        Cell::count(row.ai_jobs),
        Cell::count(row.uncounted),
        Cell::count(row.pixels_reported),
        Cell::count(row.pixels_computed),
        Cell::count(row.pixels_credited),
        Cell::milli(row.mean_real_time_milli()),
    ];
    cells.extend(money(row));
    cells
}

fn pipeline_cells(row: &ReportRow) -> Vec<Cell> {
    let jobs = row.segments.saturating_add(row.ai_jobs);
    let mut cells = vec![Cell::text(row.key.clone()), Cell::count(jobs)];
    // A total over several kinds of units has none.
    match row.unit.as_str() {
        "" => cells.extend([Cell::maybe(None::<String>), Cell::maybe(None::<String>)]),
        unit => cells.extend([Cell::text(unit), Cell::count(row.units)]),
    }
    cells.extend(money(row));
    cells
}

fn money(row: &ReportRow) -> [Cell; 4] {
    [Cell::wei(row.gross), Cell::wei(row.commission), Cell::wei(row.worker_share), Cell::wei(row.rounding)]
}

/// Checks the whole ledger; false when something is wrong with it: the process ends with 1 then.
pub fn verify(args: &VerifyArgs, data: &Path, out: &mut dyn Write) -> Result<bool> {
    let report = ledger::verify(&data.join(FILE))?;
    let printed = match args.output {
        Output::Table => print_verdict(&report, out),
        Output::Json => writeln!(out, "{:#}", serde_json::to_value(&report)?),
        Output::Csv => findings(&report).print(Output::Csv, out),
    };
    printed.context("printing the verdict")?;
    Ok(report.balanced)
}

fn print_verdict(report: &VerifyReport, out: &mut dyn Write) -> std::io::Result<()> {
    let count = |n: u64| grouped(&n.to_string());
    writeln!(
        out,
        "{} segments, {} AI jobs, {} posted, {} entries, {} steps, {} under way",
        count(report.segments),
        count(report.ai_jobs),
        count(report.posted),
        count(report.entries),
        count(report.steps),
        count(report.pending)
    )?;
    writeln!(out, "last entry #{} {}", report.head_entry, report.head_hash)?;
    let mut balances = Sheet::new(&["account", "balance_wei"]);
    for (account, sum) in &report.balances {
        balances.row(vec![Cell::text(account.clone()), Cell::wei(sum)]);
    }
    if !report.balances.is_empty() {
        balances.print(Output::Table, out)?;
        writeln!(out, "(what orchestrators owe is positive; what belongs to workers and the pool is negative)")?;
    }
    if report.in_doubt_total > 0 {
        writeln!(out, "{} in doubt, nothing paid for them yet:", count(report.in_doubt_total))?;
        for doubt in &report.in_doubt {
            let worker = doubt.worker.as_deref().unwrap_or("-");
            let why = doubt.why.as_deref().unwrap_or("-");
            writeln!(out, "  job {} task {} worker {worker}: {why}", doubt.job, doubt.task)?;
        }
    }
    if report.balanced {
        return writeln!(out, "the ledger is whole: every hash fits, every posting sums to zero");
    }
    for fault in &report.faults {
        writeln!(out, "FAULT {fault}")?;
    }
    writeln!(
        out,
        "{} faults: keep this file as it is, and restore the last backup that verifies",
        count(report.faults_total)
    )
}

/// Faults and doubts as rows, for programs.
fn findings(report: &VerifyReport) -> Sheet {
    let mut sheet = Sheet::new(&["finding", "job", "task", "text"]);
    for fault in &report.faults {
        let none = || Cell::maybe(None::<String>);
        sheet.row(vec![Cell::text("fault"), none(), none(), Cell::text(fault.clone())]);
    }
    for doubt in &report.in_doubt {
        let why = doubt.why.clone().unwrap_or_default();
        let task = Cell::text(doubt.task.to_string());
        sheet.row(vec![Cell::text("in_doubt"), Cell::text(doubt.job.clone()), task, Cell::text(why)]);
    }
    sheet
}

/// Midnight UTC of a day, or of so many days later.
fn midnight(text: &str, flag: &str, later: i64) -> Result<i64> {
    let bad = || anyhow!("{flag} `{text}` is not a day; write it as 2026-11-23");
    let day: jiff::civil::Date = text.parse().map_err(|_| bad())?;
    let at = jiff::tz::TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(|_| bad())?;
    Ok(at.as_millisecond().saturating_add(later.saturating_mul(86_400_000)))
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
pub(super) mod tests;
