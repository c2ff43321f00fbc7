//! The facts of a result: the row that is written, and the lines that it is paid by.
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::post::{Fail, refused};
use super::schema::{self, Kind};
use crate::domain::ids::TaskId;
use crate::domain::ledger::{AiDone, Resulted, Work, WorkDone};
use crate::domain::money::{BadMoney, Signed, Split};

/// What `Posted` needs of a segment or an AI job.
pub(super) struct Facts {
    orchestrator: String,
    worker: String,
    gross: String,
    commission: String,
    share: String,
    rounding: String,
    pub(super) digest: Vec<u8>,
}

/// The table of a result, and its row in the order of that table's fields.
pub(super) fn row(db: &Connection, job: &str, step: &Resulted, at_ms: i64) -> Result<(Kind, Vec<Value>), Fail> {
    let read = "SELECT orchestrator, epoch, upstream_task, session, worker, address FROM steps \
                WHERE job = ?1 AND task = ?2 AND step = 'assigned'";
    let told: [Value; 6] = db.prepare_cached(read)?.query_row((job, step.task.0), |row| {
        Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?])
    })?;
    let [orchestrator, epoch, upstream, session, worker, address] = told;
    let mut row = vec![
        Value::Text(job.to_owned()),
        Value::Integer(step.task.0),
        Value::Integer(at_ms),
        orchestrator,
        epoch,
        upstream,
        session,
    ];
    let kind = match &step.work {
        Work::Segment(done) => {
            row.extend([Value::Integer(done.sequence), worker, address]);
            segment(job, done, &mut row)?;
            Kind::Segment
        }
        Work::Ai(done) => {
            row.extend([worker, address]);
            ai_job(done, &mut row)?;
            Kind::Ai
        }
    };
    money(step, &mut row)?;
    Ok((kind, row))
}

/// From `profiles` to `bytes_out`.
fn segment(job: &str, done: &WorkDone, row: &mut Vec<Value>) -> Result<(), Fail> {
    let least = done.encoded_computed.unwrap_or(u64::MAX).min(done.encoded_reported);
    if done.encoded_credited > least {
        return refused(format!("job {job}: {} pixels credited, {least} found at most", done.encoded_credited));
    }
    let pace = done.duration_ms.saturating_mul(1000) / done.response_ms.max(1);
    row.extend([
        Value::Text(done.profiles.to_string()),
        count(done.duration_ms)?,
        count(done.response_ms)?,
        count(pace)?,
        count(done.decoded_reported)?,
        maybe(done.decoded_computed)?,
        count(done.encoded_reported)?,
        maybe(done.encoded_computed)?,
        count(done.encoded_credited)?,
        count(done.bytes_in)?,
        count(done.bytes_out)?,
    ]);
    Ok(())
}

/// From `pipeline` to `bytes_out`.
fn ai_job(done: &AiDone, row: &mut Vec<Value>) -> Result<(), Fail> {
    let text = |text: &str| Value::Text(text.to_owned());
    row.extend([
        text(done.pipeline.name()),
        text(&done.model),
        text(done.door.name()),
        text(done.pipeline.unit().name()),
        count(done.units)?,
        maybe(done.prompt_tokens)?,
        maybe(done.made_tokens)?,
        Value::Integer(i64::from(done.streamed)),
        count(done.first_byte_ms)?,
        count(done.response_ms)?,
        count(done.bytes_in)?,
        count(done.bytes_out)?,
    ]);
    Ok(())
}

/// From `price_wei` to `rounding`.
fn money(step: &Resulted, row: &mut Vec<Value>) -> Result<(), Fail> {
    if step.price.units == 0 {
        return refused("a price for 0 units");
    }
    let gross = step.price.of(step.work.charged());
    let split = gross.and_then(|gross| Split::of(gross, step.commission)).map_err(|e| Fail::Refused(e.to_string()))?;
    let text = |amount: &dyn ToString| Value::Text(amount.to_string());
    row.extend([
        text(&step.price.wei),
        text(&step.price.units),
        Value::Integer(i64::from(step.commission.get())),
        text(&split.gross),
        text(&split.commission),
        text(&split.worker),
        text(&split.rounding),
    ]);
    Ok(())
}

/// A segment or an AI job, when its result is recorded.
pub(super) fn read(db: &Connection, job: &str, task: TaskId) -> Result<Option<Facts>, Fail> {
    let read = "SELECT orchestrator, worker, gross, commission, worker_share, rounding, digest \
                FROM works WHERE job = ?1 AND task = ?2";
    let facts = db.prepare_cached(read)?.query_row((job, task.0), |row| {
        Ok(Facts {
            orchestrator: row.get(0)?,
            worker: row.get(1)?,
            gross: row.get(2)?,
            commission: row.get(3)?,
            share: row.get(4)?,
            rounding: row.get(5)?,
            digest: row.get(6)?,
        })
    });
    Ok(facts.optional()?)
}

pub(super) type Line = (&'static str, String, Signed);

/// The four lines of a posting and their sum.
pub(super) fn posting(facts: &Facts) -> Result<([Line; 4], Signed), Fail> {
    let amount = |text: &str| text.parse().map_err(|e: BadMoney| Fail::Refused(e.to_string()));
    let lines = [
        ("receivable", schema::receivable(&facts.orchestrator), Signed::plus(amount(&facts.gross)?)),
        ("payable", schema::payable(&facts.worker), Signed::minus(amount(&facts.share)?)),
        ("commission", schema::COMMISSION.to_owned(), Signed::minus(amount(&facts.commission)?)),
        ("rounding", schema::ROUNDING.to_owned(), Signed::minus(amount(&facts.rounding)?)),
    ];
    let mut total = Signed::ZERO;
    for (_, _, amount) in &lines {
        total = total.checked_add(*amount).map_err(|e| Fail::Refused(e.to_string()))?;
    }
    Ok((lines, total))
}

fn count(figure: u64) -> Result<Value, Fail> {
    i64::try_from(figure).map(Value::Integer).map_err(|_| Fail::Refused(format!("the figure {figure} is too large")))
}

fn maybe(figure: Option<u64>) -> Result<Value, Fail> {
    figure.map_or(Ok(Value::Null), count)
}
