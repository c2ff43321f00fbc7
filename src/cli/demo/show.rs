//! What a demo shows while it runs: a table redrawn in place, or a line now and then.
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::DemoArgs;
use super::ai::AiScene;
use super::cast::Folder;
use super::scene::Scene;
use super::tally::{PipelineTally, Tally};
use crate::cli::status::speed;
use crate::cli::table::{Cell, Output, Sheet, grouped};
use crate::pool::WorkerView;
use crate::state::store::ledger::Reader;

pub(super) struct Screen {
    /// Redraws in place; else a line every few seconds.
    terminal: bool,
    silent: bool,
    /// Characters of a line.
    width: usize,
    /// Lines of the last drawing.
    drawn: usize,
    said: Duration,
}

/// Between two lines when nothing can be redrawn.
const BETWEEN: Duration = Duration::from_secs(5);
/// Characters of a reason that fit the table.
const MOST_WHY: usize = 40;
/// Rows that are redrawn in place: a terminal's height. The closing table has all.
const MOST_ROWS: usize = 16;
/// A segment is in time when its answer took no longer than it lasts.
const IN_TIME_US: u32 = 2_000_000;

// === impl Screen ===

impl Screen {
    pub(super) fn new(terminal: bool, silent: bool) -> Screen {
        let width = comfy_table::Table::new().width().map_or(80, usize::from);
        Screen { terminal, silent, width, drawn: 0, said: Duration::ZERO }
    }

    pub(super) fn opening(&self, scene: &Scene, args: &DemoArgs, out: &mut dyn Write) -> Result<()> {
        if self.silent {
            return Ok(());
        }
        let remarks: Vec<&str> = scene.roles().iter().filter_map(|role| role.remark()).collect();
        let colon = if remarks.is_empty() { "" } else { ": " };
        let (workers, admin) = scene.ports();
        writeln!(
            out,
            "openpool-proxy {} demo: nothing leaves this machine\n\n  \
             orchestrators (simulated)  {}      streams {}      {} workers{colon}{}\n  \
             worker port {workers}      operator port http://{admin}/status\n  \
             score: seconds of video a second that the router expects of a worker, at its load\n",
            env!("CARGO_PKG_VERSION"),
            super::cast::ORCHESTRATORS.len(),
            args.streams,
            args.workers,
            remarks.join(", "),
        )
        .context("printing")?;
        let Some(ai) = scene.ai() else { return Ok(()) };
        let runners = ai.roles().iter().filter(|role| role.runner).count();
        let port = scene.runner_port().map_or_else(String::new, |port| port.to_string());
        writeln!(
            out,
            "  AI: {runners} runners, {} AI workers, ten pipelines      runner port {port}\n  \
             speed: jobs of usual size a second, of the model that it usually gets, as the router expects them\n",
            ai.roles().len() - runners,
        )
        .context("printing")
    }

    pub(super) async fn tick(&mut self, scene: &mut Scene, at: Duration, out: &mut dyn Write) -> Result<()> {
        let due = self.terminal || at >= self.said + BETWEEN;
        if self.silent || !due {
            return Ok(());
        }
        self.said = at;
        self.draw(scene, at, self.terminal, out).await
    }

    /// The table as it stood at the end, for all.
    pub(super) async fn last(&mut self, scene: &mut Scene, at: Duration, out: &mut dyn Write) -> Result<()> {
        if self.silent {
            return Ok(());
        }
        self.draw(scene, at, true, out).await
    }

    async fn draw(&mut self, scene: &mut Scene, at: Duration, table: bool, out: &mut dyn Write) -> Result<()> {
        let mut text = Vec::new();
        if table {
            worker_sheet(scene).await?.print(Output::Table, &mut text)?;
            if let Some(ai) = scene.ai() {
                writeln!(text)?;
                ai_sheet(scene, ai).await?.print(Output::Table, &mut text)?;
            }
            if let Some(more) = scene.roles().len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
                writeln!(text, " and {more} more")?;
            }
            writeln!(text)?;
        }
        writeln!(text, "{}", summary(scene, at))?;
        if let Some(ai) = scene.ai() {
            writeln!(text, "{}", ai_summary(ai))?;
        }
        if self.terminal {
            // A line that the terminal folds would spoil the count of lines.
            text = fitted(&String::from_utf8_lossy(&text), self.width).into_bytes();
        }
        if self.terminal && self.drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
        }
        self.drawn = text.iter().filter(|byte| **byte == b'\n').count();
        out.write_all(&text).context("printing")?;
        out.flush().context("printing")
    }

    pub(super) fn closing(&self, tally: &Tally, out: &mut dyn Write) -> Result<()> {
        let count = |n: u64| grouped(&n.to_string());
        writeln!(
            out,
            "\n{} segments sent, {} delivered, {} errors returned, {} unanswered; \
             {} answered late, {} registrations lost, {} retried elsewhere\n",
            count(tally.segments_sent),
            count(tally.segments_delivered),
            count(tally.errors_returned),
            count(tally.unanswered),
            count(tally.answered_late),
            count(tally.registrations_lost),
            count(tally.retried_elsewhere),
        )
        .context("printing")?;
        ledger_sheet(tally).print(Output::Table, out).context("printing")?;
        if !tally.pipelines.is_empty() {
            writeln!(out).context("printing")?;
            ai_ledger_sheet(tally).print(Output::Table, out).context("printing")?;
            writeln!(out).context("printing")?;
            pipeline_sheet(tally).print(Output::Table, out).context("printing")?;
            for pipeline in &tally.pipelines {
                if let Some(note) = &pipeline.note {
                    writeln!(out, " {}: {note}", pipeline.name).context("printing")?;
                }
            }
        }
        writeln!(out).context("printing")
    }

    /// What can be done with what was kept.
    pub(super) fn kept(&self, config: &Path, folder: &Folder, out: &mut dyn Write) -> Result<()> {
        let program = format!("openpool-proxy --config {}", config.display());
        writeln!(out, "\nkept: {program} ledger report").context("printing")?;
        let eventful = Reader::open(&folder.data().join(crate::cli::ledger::FILE))?.eventful_job()?;
        eventful.map_or(Ok(()), |job| writeln!(out, "      {program} explain {job}")).context("printing")
    }
}

/// Narrower than `ledger report`: it fits a terminal.
fn ledger_sheet(tally: &Tally) -> Sheet {
    let mut sheet = Sheet::new(&["worker", "segments", "pixels", "real_time_ratio", "earned_wei", "paid_to"]);
    for worker in &tally.workers {
        sheet.row(vec![
            Cell::text(worker.name.clone()),
            Cell::count(worker.segments),
            Cell::count(worker.pixels),
            Cell::milli((worker.real_time_ratio * 1000.0) as u64),
            Cell::wei(&worker.earned_wei),
            Cell::text(worker.address.clone()),
        ]);
    }
    sheet
}

async fn worker_sheet(scene: &Scene) -> Result<Sheet> {
    let (view, earned) = (scene.view(), scene.earned().await?);
    let mut sheet =
        Sheet::new(&["worker", "state", "why", "score", "good", "load", "running", "segments", "pixels", "earned_wei"]);
    for role in scene.roles().iter().take(MOST_ROWS) {
        let seats: Vec<&WorkerView> = view.workers.iter().filter(|seat| seat.worker == role.name).collect();
        let (state, why) = seats.first().map_or(("away", "not connected"), |seat| (seat.state, seat.why.as_str()));
        let sum = |count: fn(&WorkerView) -> usize| seats.iter().map(|seat| count(seat)).sum::<usize>();
        let capacity: u32 = seats.iter().map(|seat| seat.capacity).sum();
        let load = format!("{} of {capacity}", sum(|seat| seat.sessions));
        let row = earned.get(&role.name).cloned().unwrap_or_default();
        sheet.row(vec![
            Cell::text(role.name.clone()),
            Cell::text(state),
            Cell::text(clipped(why)),
            Cell::text(seats.iter().find_map(|seat| seat.score).map_or("-".into(), |score| format!("{score:.1}x"))),
            Cell::text(good(&seats)),
            Cell::text(load),
            Cell::count(sum(|seat| seat.running) as u64),
            Cell::count(row.segments),
            Cell::count(row.pixels_credited),
            Cell::wei(row.worker_share),
        ]);
    }
    Ok(sheet)
}

/// AI workers and runners.
async fn ai_sheet(scene: &Scene, ai: &AiScene) -> Result<Sheet> {
    let (view, earned) = (scene.view().ai, scene.earned().await?);
    let mut sheet =
        Sheet::new(&["ai_worker", "road", "state", "why", "speed", "running", "jobs", "failures", "earned_wei"]);
    for role in ai.roles() {
        let seat = view.workers.iter().find(|seat| seat.worker == role.name);
        let (state, why) = seat.map_or(("away", "not connected"), |seat| (seat.state, seat.why.as_str()));
        let speed = seat.and_then(|seat| Some(speed(seat.score?, seat.scored?)));
        let row = earned.get(role.name).cloned().unwrap_or_default();
        sheet.row(vec![
            Cell::text(role.name),
            Cell::text(if role.runner { "runner" } else { "worker" }),
            Cell::text(state),
            Cell::text(clipped(why)),
            Cell::text(speed.unwrap_or_else(|| "-".into())),
            Cell::count(seat.map_or(0, |seat| seat.running as u64)),
            Cell::count(row.ai_jobs),
            Cell::count(seat.map_or(0, |seat| seat.failures)),
            Cell::wei(row.worker_share),
        ]);
    }
    Ok(sheet)
}

fn ai_ledger_sheet(tally: &Tally) -> Sheet {
    let mut sheet = Sheet::new(&["ai_worker", "road", "jobs", "earned_wei", "paid_to"]);
    for worker in &tally.ai_workers {
        sheet.row(vec![
            Cell::text(worker.name.clone()),
            Cell::text(worker.road),
            Cell::count(worker.jobs),
            Cell::wei(&worker.earned_wei),
            Cell::text(worker.address.clone()),
        ]);
    }
    sheet
}

fn pipeline_sheet(tally: &Tally) -> Sheet {
    let mut sheet = Sheet::new(&["pipeline", "jobs", "delivered", "errors", "lost", "units", "of", "p95_ms"]);
    for pipeline in &tally.pipelines {
        sheet.row(vec![
            Cell::text(pipeline.name),
            Cell::count(pipeline.jobs),
            Cell::count(pipeline.delivered),
            Cell::count(pipeline.errors),
            Cell::count(pipeline.lost),
            Cell::count(pipeline.units),
            Cell::text(pipeline.unit),
            Cell::count(u64::from(pipeline.p95_ms)),
        ]);
    }
    sheet
}

/// `         118 AI jobs  99.2 % delivered  1 error`
fn ai_summary(ai: &AiScene) -> String {
    let pipelines = ai.pipelines();
    let sum = |count: fn(&PipelineTally) -> u64| pipelines.iter().map(count).sum::<u64>();
    let (jobs, delivered) = (sum(|p| p.jobs), sum(|p| p.delivered));
    let served = pipelines.iter().filter(|pipeline| pipeline.delivered > 0).count();
    format!(
        "         {} AI jobs of {served} pipelines  {:.1} % delivered  errors {}  lost {}",
        grouped(&jobs.to_string()),
        delivered as f64 * 100.0 / jobs.max(1) as f64,
        sum(|p| p.errors),
        sum(|p| p.lost),
    )
}

fn clipped(why: &str) -> String {
    match why.char_indices().nth(MOST_WHY) {
        Some((end, _)) => format!("{}...", why[..end].trim_end()),
        None => why.to_owned(),
    }
}

/// The share of results that were good.
fn good(seats: &[&WorkerView]) -> String {
    let good: u64 = seats.iter().map(|seat| seat.segments).sum();
    let bad: u64 = seats.iter().map(|seat| seat.failures).sum();
    (good * 100).checked_div(good + bad).map_or("-".into(), |share| format!("{share} %"))
}

/// Lines cut where the terminal ends.
fn fitted(text: &str, width: usize) -> String {
    text.lines().map(|line| line.chars().take(width).chain(['\n']).collect::<String>()).collect()
}

/// `  00:12  412 segments  99.8 % in time  p95 231 ms  retried 9  cheat caught 2x, unpaid`
fn summary(scene: &mut Scene, at: Duration) -> String {
    let view = scene.view();
    let seen = scene.counters();
    let answered: u64 = seen.iter().map(|c| c.delivered + c.errors_returned).sum();
    let cheat = |seat: &&WorkerView| scene.roles().iter().any(|role| role.cheats() && role.name == seat.worker);
    let cheats = scene.roles().iter().any(|role| role.cheats());
    let caught: u64 = view.workers.iter().filter(cheat).map(|seat| seat.failures).sum();
    let latencies = scene.latencies();
    let good = latencies.partition_point(|us| *us <= IN_TIME_US);
    let percent = good as f64 * 100.0 / (answered.max(1)) as f64;
    let p95 = latencies.get(latencies.len() * 95 / 100).copied().unwrap_or_default() / 1000;
    let seconds = at.as_secs();
    let mut line = format!(
        "  {:02}:{:02}  {} segments  {percent:.1} % in time  p95 {p95} ms  retried {}",
        seconds / 60,
        seconds % 60,
        grouped(&answered.to_string()),
        view.saved,
    );
    if cheats {
        line.push_str(&format!("  cheat caught {caught}x, unpaid"));
    }
    line
}
