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

/// Asks `/status` at `admin` and prints it.
pub fn run(args: &StatusArgs, admin: SocketAddr, out: &mut dyn Write) -> Result<()> {
    let status: Value = serde_json::from_slice(&get(admin, "/status")?).context("the answer of /status")?;
    if args.output == Output::Json {
        return Ok(writeln!(out, "{status:#}")?);
    }
    if args.output == Output::Table {
        head(&status, out)?;
    }
    let mut sheet =
        Sheet::new(&["worker", "state", "score", "running", "sessions", "capacity", "segments", "failures", "why"]);
    for worker in status["pool"]["workers"].as_array().into_iter().flatten() {
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
    Ok(sheet.print(args.output, out)?)
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
fn get(admin: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let wait = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&admin, wait)
        .with_context(|| format!("nothing answers at {admin}; is `openpool-proxy serve` running with this file?"))?;
    stream.set_read_timeout(Some(wait))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(16 << 20).read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| anyhow!("no HTTP answer"))?;
    if !answer.starts_with(b"HTTP/1.1 200") && !answer.starts_with(b"HTTP/1.0 200") {
        let line = String::from_utf8_lossy(&answer[..split.min(80)]).into_owned();
        return Err(anyhow!("{admin}{path} answered: {line}"));
    }
    Ok(answer.split_off(split + 4))
}
