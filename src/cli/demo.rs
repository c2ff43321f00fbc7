//! `demo`: a pool with simulated peers on this machine, over the real wire.
mod ai;
mod ai_traffic;
mod cast;
mod scene;
mod show;
mod tally;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger;
use super::table::Output;
use scene::Scene;
use show::Screen;

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// How long it runs; 0 runs on until Ctrl-C
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Streams over both orchestrators
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub streams: u16,
    /// Workers: a fast one, a slow one, one that fails, one that hangs, one that cheats, then honest ones
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub workers: u16,
    /// Add AI: HTTP runners, AI workers, and jobs of all ten pipelines
    #[arg(long)]
    pub ai: bool,
    /// Seed of what the simulated peers do
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Prepared renditions, or the machine's ffmpeg at work
    #[arg(long, value_enum, default_value = "prepared")]
    pub transcode: Transcode,
    /// Print one JSON object at the end, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Keep the configuration and the ledger there: `serve`, `ledger report` and `ledger verify` work on them
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transcode {
    Prepared,
    Ffmpeg,
}

/// Orchestrators stop sending this long before the end, and wait for their answers.
const LAST: Duration = Duration::from_secs(2);
/// How long running jobs may take when the pool stops.
const DRAIN: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_secs(1);

/// Plays the demo; whether the books balance and nothing that was sent is left unanswered.
pub async fn run(args: DemoArgs, out: &mut dyn Write) -> Result<bool> {
    let mut scene = Scene::open(&args).await?;
    let mut screen = Screen::new(std::io::stdout().is_terminal(), args.json);
    screen.opening(&scene, &args, out)?;
    play(&args, &mut scene, &mut screen, out).await?;
    let (tally, folder) = scene.close(DRAIN).await?;
    if args.json {
        // Not by way of a `Value`, which would sort the keys.
        writeln!(out, "{}", serde_json::to_string_pretty(&tally)?).context("printing")?;
    } else {
        screen.closing(&tally, out)?;
        ledger::verify(&ledger::VerifyArgs { output: Output::Table }, &folder.data(), out)?;
        if let Some(kept) = &args.keep {
            screen.kept(&kept.join(cast::CONFIG), &folder, out)?;
        }
    }
    let lost: u64 = tally.pipelines.iter().map(|pipeline| pipeline.lost).sum();
    Ok(tally.ledger_balanced && tally.unanswered == 0 && lost == 0)
}

/// Until the time is over or somebody presses Ctrl-C, and every segment that was sent has its answer.
async fn play(args: &DemoArgs, scene: &mut Scene, screen: &mut Screen, out: &mut dyn Write) -> Result<()> {
    let whole = Duration::from_secs(args.seconds);
    let began = Instant::now();
    let last = began + whole.saturating_sub(LAST).max(whole / 2);
    loop {
        let next = Instant::now() + TICK;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            () = sleep_until(last), if args.seconds > 0 => break,
            () = sleep_until(next) => {}
        }
        screen.tick(scene, began.elapsed(), out).await?;
    }
    tokio::select! {
        () = scene.quiesce() => {}
        // Twice the budget: no answer comes any more.
        () = sleep(Duration::from_secs(16)) => {}
    }
    screen.last(scene, began.elapsed(), out).await
}

#[cfg(test)]
mod tests;
