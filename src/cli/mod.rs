//! The commands: one file each; here the tree, and what is common to all.
pub mod demo;
pub mod explain;
pub mod ledger;
pub mod serve;
pub mod status;
pub mod table;
pub mod worker;

use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config;
use crate::config::settings::Settings;
use crate::pool::clock::Clock;
use crate::transport::tls;

/// Exit code of a faulty configuration (`EX_CONFIG`).
pub const BAD_CONFIG: u8 = 78;

/// A pool router between stock Livepeer orchestrators and stock workers.
#[derive(Debug, Parser)]
#[command(name = "openpool-proxy", version, about, propagate_version = true)]
struct Arguments {
    /// The configuration; without it OPENPOOL_CONFIG, ./openpool.yaml, /etc/openpool/proxy.yaml
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: connect to the orchestrators and let workers in
    Serve,
    /// Watch a pool at work: simulated orchestrators and workers, nothing leaves this machine
    Demo(demo::DemoArgs),
    /// How the running pool is
    Status(status::StatusArgs),
    /// Workers of the pool
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// The books
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Why a segment went where it went, and what it earned
    Explain(explain::ExplainArgs),
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// Make a join token and print the command line to send to the worker
    Invite(worker::InviteArgs),
    /// Take a token back; its connections end within a second
    Revoke(worker::RevokeArgs),
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Sums by worker, orchestrator or day
    Report(ledger::ReportArgs),
    /// Check every hash, sum and split
    Verify(ledger::VerifyArgs),
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tls::install_provider();
    match run(arguments) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Command::Demo(args) = arguments.command {
        return play(args);
    }
    let environment = config::of_process();
    let path = config::find(arguments.config.as_deref(), &environment);
    let load = || config::load(&path, environment.clone());
    let settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(faults) => {
            eprint!("{}", faults.render(std::io::stderr().is_terminal()));
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let mut out = std::io::stdout().lock();
    match arguments.command {
        Command::Serve => {
            drop(out);
            log_to_stderr(&settings.log)?;
            runtime()?.block_on(serve::run(settings))?;
        }
        Command::Demo(_) => {}
        Command::Status(args) => status::run(&args, settings.admin.listen, &mut out)?,
        Command::Worker(WorkerCommand::Invite(args)) => {
            let now_ms = Clock::start().unix_ms();
            worker::invite(&args, &settings.data, &join_at(&settings), now_ms, &mut rand::rng(), &mut out)?;
        }
        Command::Worker(WorkerCommand::Revoke(args)) => {
            worker::revoke(&args, &settings.data, Clock::start().unix_ms(), &mut out)?;
        }
        Command::Ledger(LedgerCommand::Report(args)) => ledger::report(&args, &settings.data, &mut out)?,
        Command::Ledger(LedgerCommand::Verify(args)) => {
            if !ledger::verify(&args, &settings.data, &mut out)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Explain(args) => explain::run(&args, &settings.data, &mut out)?,
    }
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The demo writes a configuration of its own.
fn play(args: demo::DemoArgs) -> Result<ExitCode> {
    log_to_stderr("warn")?;
    let good = runtime()?.block_on(demo::run(args, &mut std::io::stdout()))?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What workers connect to: the public address, or the port on a host that the operator knows.
fn join_at(settings: &Settings) -> String {
    if let Some(address) = &settings.worker.public_address {
        return address.clone();
    }
    match settings.worker.listen {
        any if any.ip().is_unspecified() => format!("YOUR.HOST:{}", any.port()),
        SocketAddr::V4(v4) if *v4.ip() == Ipv4Addr::LOCALHOST => format!("{}:{}", IpAddr::V4(*v4.ip()), v4.port()),
        other => other.to_string(),
    }
}

/// The runtime of every command that waits.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Logs to standard error, filtered as `log:` says.
pub fn log_to_stderr(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).with_context(|| format!("log: `{filter}` is not a filter"))?;
    let colour = std::io::stderr().is_terminal();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).try_init();
    Ok(())
}
