//! `status`: how the running pool is, asked at its operator port.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::table::{Cell, Output, Sheet};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// How to print it
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

/// Models of one worker that its row names.
const MOST_MODELS: usize = 3;

/// Asks `/status` at `admin` and prints it.
pub fn run(args: &StatusArgs, admin: SocketAddr, out: &mut dyn Write) -> Result<()> {
    let status: Value = serde_json::from_slice(&get(admin, "/status")?).context("the answer of /status")?;
    if args.output == Output::Json {
        return Ok(writeln!(out, "{status:#}")?);
    }
    if args.output == Output::Table {
        head(&status, out)?;
    }
    let (workers, ai) = (rows(&status["pool"]["workers"]), rows(&status["ai"]["workers"]));
    // One sheet a file: CSV has the transcoders where there are some.
    if workers.is_empty() && !ai.is_empty() {
        return Ok(ai_sheet(ai).print(args.output, out)?);
    }
    transcoder_sheet(workers).print(args.output, out)?;
    if args.output == Output::Table && !ai.is_empty() {
        writeln!(out)?;
        ai_sheet(ai).print(args.output, out)?;
    }
    Ok(())
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn transcoder_sheet(workers: &[Value]) -> Sheet {
    let mut sheet =
        Sheet::new(&["worker", "state", "score", "running", "sessions", "capacity", "segments", "failures", "why"]);
    for worker in workers {
        let number = |key: &str| Cell::count(worker[key].as_u64().unwrap_or_default());
        let score = worker["score"].as_f64().map(|score| format!("{score:.1}x"));
        sheet.row(vec![
            Cell::text(text(&worker["worker"])),
            Cell::text(text(&worker["state"])),
            Cell::maybe(score),
            number("running"),
            number("sessions"),
            number("capacity"),
            number("segments"),
            number("failures"),
            Cell::text(text(&worker["why"])),
        ]);
    }
    sheet
}

/// AI workers and runners.
fn ai_sheet(workers: &[Value]) -> Sheet {
    let mut sheet = Sheet::new(&[
        "ai_worker",
        "road",
        "state",
        "speed",
        "running",
        "capacity",
        "jobs",
        "failures",
        "models",
        "why",
    ]);
    for worker in workers {
        let number = |key: &str| Cell::count(worker[key].as_u64().unwrap_or_default());
        sheet.row(vec![
            Cell::text(text(&worker["worker"])),
            Cell::text(text(&worker["road"])),
            Cell::text(text(&worker["state"])),
            Cell::maybe(speed(&worker["score"], &worker["unit"])),
            number("running"),
            number("capacity"),
            number("jobs"),
            number("failures"),
            Cell::text(models(rows(&worker["models"]))),
            Cell::text(text(&worker["why"])),
        ]);
    }
    sheet
}

/// `12.5M pixels/s`.
fn speed(score: &Value, unit: &Value) -> Option<String> {
    let score = score.as_f64()?;
    let (shown, mark) = match score {
        big if big >= 1e9 => (big / 1e9, "G"),
        big if big >= 1e6 => (big / 1e6, "M"),
        big if big >= 1e3 => (big / 1e3, "k"),
        small => (small, ""),
    };
    Some(format!("{shown:.1}{mark} {}/s", unit.as_str().unwrap_or("jobs")))
}

/// `text-to-image org/model x2, llm org/other`; of many the first ones.
fn models(all: &[Value]) -> String {
    let one = |model: &Value| {
        let capacity = model["capacity"].as_u64().unwrap_or(1);
        let times = if capacity == 1 { String::new() } else { format!(" x{capacity}") };
        format!("{} {}{times}", text(&model["pipeline"]), text(&model["model"]))
    };
    let mut shown: Vec<String> = all.iter().take(MOST_MODELS).map(one).collect();
    if all.len() > MOST_MODELS {
        shown.push(format!("{} more", all.len() - MOST_MODELS));
    }
    shown.join(", ")
}

fn head(status: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let pool = &status["pool"];
    writeln!(
        out,
        "{}   up {} s   {} workers   capacity {}   sessions {}   jobs {}   ledger {}",
        text(&status["name"]),
        pool["up_seconds"],
        pool["workers"].as_array().map_or(0, Vec::len),
        pool["capacity"],
        pool["sessions"],
        pool["jobs"],
        text(&pool["ledger"]),
    )?;
    let ai = &status["ai"];
    if !rows(&ai["workers"]).is_empty() {
        writeln!(
            out,
            "ai   {} workers   {} models   capacity {}   jobs {}   waiting {}",
            rows(&ai["workers"]).len(),
            rows(&ai["models"]).len(),
            ai["capacity"],
            ai["jobs"],
            ai["waiting"],
        )?;
    }
    for orchestrator in status["orchestrators"].as_array().into_iter().flatten() {
        writeln!(out, "orchestrator {}   {}", text(&orchestrator["name"]), text(&orchestrator["state"]))?;
        let ai = &orchestrator["ai"];
        if ai["registrations_wanted"].as_u64().is_some_and(|wanted| wanted > 0) {
            let models = ai["models"].as_array().map_or(0, Vec::len);
            writeln!(out, "   AI   {}   {models} models   {} jobs at once", text(&ai["state"]), ai["capacity"])?;
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One plain GET on loopback; a client library would be the larger part of this command.
pub(super) fn get(admin: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let wait = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&admin, wait)
        .with_context(|| format!("nothing answers at {admin}; is `openpool-proxy serve` running with this file?"))?;
    stream.set_read_timeout(Some(wait))?;
    // In one piece: who answers at once and hangs up must not meet the rest of it.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(16 << 20).read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
    if !answer.starts_with(b"HTTP/1.1 200") && !answer.starts_with(b"HTTP/1.0 200") {
        let line = String::from_utf8_lossy(&answer[..split.min(80)]).into_owned();
        return Err(anyhow!("{admin}{path} answered: {line}"));
    }
    Ok(answer.split_off(split + 4))
}
