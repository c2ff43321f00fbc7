//! `explain JOB`: who was looked at, who was chosen and why, what came of it, what it paid.
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::table::{Cell, Output, Sheet, grouped};
use crate::domain::decision::{Answer, Attempt, Decision};
use crate::domain::ids::JobId;
use crate::state::store::journal::Journal;
use crate::state::store::ledger::{Fact, JobRecord, Reader};

/// The journal's file in the data folder.
pub const FILE: &str = "journal.db";

#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The job's 26 characters, as logs and reports print them
    pub job: JobId,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: ExplainOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainOutput {
    /// For people.
    Table,
    Json,
}

/// Prints all that journal and ledger know of a job. One of the two may be missing.
pub fn run(args: &ExplainArgs, data: &Path, out: &mut dyn Write) -> Result<()> {
    let (journal, ledger) = (data.join(FILE), data.join(super::ledger::FILE));
    let decision = if journal.exists() { Journal::read(&journal, args.job)? } else { None };
    let decision: Option<Decision> =
        decision.map(|text| serde_json::from_str(&text)).transpose().context("the journal's record is not readable")?;
    let record =
        if ledger.exists() { Reader::open(&ledger)?.job(&args.job.to_string())? } else { JobRecord::default() };
    if decision.is_none() && record.steps.is_empty() {
        return Err(anyhow!(
            "nothing is known of job {} in {}; decisions are kept for a time only, and only for this pool's jobs",
            args.job,
            data.display()
        ));
    }
    let printed = match args.output {
        ExplainOutput::Json => writeln!(out, "{:#}", as_json(args.job, decision.as_ref(), &record)?),
        ExplainOutput::Table => print(args.job, decision.as_ref(), &record, out),
    };
    printed.context("printing the explanation")
}

fn print(job: JobId, decision: Option<&Decision>, record: &JobRecord, out: &mut dyn Write) -> io::Result<()> {
    match decision {
        Some(decision) => print_decision(decision, out)?,
        None => writeln!(out, "job {job}: its decisions are no longer kept")?,
    }
    for segment in &record.segments {
        print_segment(segment, record, out)?;
    }
    for job in &record.ai_jobs {
        print_ai_job(job, record, out)?;
    }
    for step in &record.steps {
        let why = step.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let worker = step.worker.as_deref().map(|worker| format!(" to {worker}")).unwrap_or_default();
        writeln!(out, " ledger {}  task {}  {}{worker}{why}", clock(step.at_ms), step.task, step.step)?;
    }
    for entry in &record.entries {
        writeln!(out, " entry #{}  {}  {} wei", entry.seq, entry.account, grouped(&entry.amount))?;
    }
    Ok(())
}

fn print_decision(decision: &Decision, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "segment {}  session {}  seq {}  {} -> {}   orchestrator {}, budget {}",
        decision.job,
        decision.session,
        decision.sequence,
        seconds(decision.duration_ms),
        decision.profiles,
        decision.orchestrator,
        seconds(decision.budget_ms)
    )?;
    for (number, attempt) in decision.attempts.iter().enumerate() {
        print_attempt(number + 1, attempt, out)?;
    }
    match &decision.answer {
        Answer::Pending => writeln!(out, " not answered yet"),
        Answer::Delivered { after_ms } => writeln!(out, " delivered after {after_ms} ms"),
        Answer::Error { after_ms, text } => writeln!(out, " answered with an error after {after_ms} ms: {text}"),
    }
}

fn print_attempt(number: usize, attempt: &Attempt, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, " attempt {number}: task {} to {} ({})", attempt.task, attempt.worker, reason(&attempt.reason))?;
    let mut sheet =
        Sheet::new(&["", "candidate", "filter", "s/unit", "at_load", "time_s", "effective_s", "cost", "choice"]);
    for seat in &attempt.candidates {
        let passed = seat.filter == "passed";
        // On trial or at its ramp it is predicted, too: it gets the job when nobody else is free.
        let able = passed || seat.cost > 0.0;
        let figure = |value: f64| Cell::text(if able { format!("{value:.3}") } else { "-".into() });
        let choice = if seat.worker == attempt.worker {
            "chosen"
        } else if Some(&seat.worker) == attempt.runner_up.as_ref() {
            "runner-up"
        } else {
            ""
        };
        sheet.row(vec![
            Cell::text(" "),
            Cell::text(seat.worker.clone()),
            Cell::text(if passed { "√ passed".to_owned() } else { format!("x {}", seat.filter.replace('_', " ")) }),
            figure(seat.ratio),
            figure(seat.concurrency),
            figure(seat.time),
            figure(seat.effective),
            figure(seat.cost),
            Cell::text(choice),
        ]);
    }
    if !attempt.candidates.is_empty() {
        sheet.print(Output::Table, out)?;
    }
    let ended = attempt.ended_ms_after.map_or("not ended".into(), |ms| format!("ended after {ms} ms"));
    let text = if attempt.text.is_empty() { String::new() } else { format!(": {}", attempt.text) };
    writeln!(out, "   sent after {} ms, {ended}: {}{text}", attempt.started_ms_after, attempt.outcome)
}

fn print_segment(segment: &Fact, record: &JobRecord, out: &mut dyn Write) -> io::Result<()> {
    let count = |name: &str| segment.number(name).map_or("not counted".into(), |n| grouped(&n.to_string()));
    let milli = segment.count("real_time_milli");
    writeln!(
        out,
        " result of {} in {} ms ({}.{:02}x real time)   pixels encoded: reported {}, found {}, credited {}",
        segment.text("worker"),
        count("response_ms"),
        milli / 1000,
        milli % 1000 / 10,
        count("encoded_reported"),
        count("encoded_computed"),
        count("encoded_credited")
    )?;
    print_money(segment, "pixels", record, out)
}

fn print_ai_job(job: &Fact, record: &JobRecord, out: &mut dyn Write) -> io::Result<()> {
    let count = |name: &str| grouped(&job.count(name).to_string());
    let tokens = match job.number("made_tokens") {
        Some(_) => format!("   tokens made {} after {} read", count("made_tokens"), count("prompt_tokens")),
        None => String::new(),
    };
    writeln!(
        out,
        " result of {} in {} ms, first byte after {} ms   {} {}, asked by {}{tokens}",
        job.text("worker"),
        count("response_ms"),
        count("first_byte_ms"),
        job.text("pipeline"),
        job.text("model"),
        job.text("door")
    )?;
    print_money(job, job.text("unit"), record, out)
}

fn print_money(fact: &Fact, unit: &str, record: &JobRecord, out: &mut dyn Write) -> io::Result<()> {
    let units = fact.text("price_units");
    let per = if units == "1" { String::new() } else { format!(" / {}", grouped(units)) };
    let money = |name: &str| grouped(fact.text(name));
    let task = fact.number("task").unwrap_or_default();
    writeln!(
        out,
        " {} {unit} x {}{per} wei = {} wei   worker {}   pool {}   rounding {}   {}",
        grouped(&fact.units().to_string()),
        grouped(fact.text("price_wei")),
        money("gross"),
        money("worker_share"),
        money("commission"),
        money("rounding"),
        standing(record, task)
    )
}

/// Where an attempt's money stands, with the entries' numbers.
fn standing(record: &JobRecord, task: i64) -> String {
    let last = record.steps.iter().rfind(|step| step.task == task).map(|step| step.step.as_str());
    match (last, record.entries.first(), record.entries.last()) {
        (Some("posted"), Some(first), Some(end)) => format!("posted, entries #{} to #{}", first.seq, end.seq),
        (Some("posted"), ..) => "posted, worth nothing".into(),
        (Some("voided"), ..) => "not paid: voided".into(),
        (Some("in_doubt"), ..) => "not paid yet: in doubt".into(),
        _ => "pending".into(),
    }
}

fn as_json(job: JobId, decision: Option<&Decision>, record: &JobRecord) -> Result<Value> {
    let steps: Vec<Value> = record
        .steps
        .iter()
        .map(|s| json!({"task": s.task, "step": s.step, "at_ms": s.at_ms, "worker": s.worker, "why": s.why}))
        .collect();
    let entries: Vec<Value> = record
        .entries
        .iter()
        .map(|e| json!({"entry": e.seq, "at_ms": e.at_ms, "account": e.account, "wei": e.amount}))
        .collect();
    let rows = |facts: &[Fact]| facts.iter().map(Fact::json).collect::<Vec<Value>>();
    let decision = decision.map(serde_json::to_value).transpose()?;
    Ok(json!({
        "job": job.to_string(),
        "decision": decision,
        "ledger": {"steps": steps, "segments": rows(&record.segments), "ai_jobs": rows(&record.ai_jobs), "entries": entries},
    }))
}

fn reason(code: &str) -> &str {
    match code {
        "sticky" => "sticky: the session is here",
        "least" => "least cost",
        "moved" => "moved: the session was late where it was",
        "best_effort" => "best effort: nobody was fast enough",
        other => other,
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn clock(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or("no date".into(), |at| at.to_string())
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
