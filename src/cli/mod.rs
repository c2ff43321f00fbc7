//! The commands: one file each; here the tree, and what is common to all.
pub mod ai;
pub mod check;
pub mod config;
pub mod demo;
pub mod explain;
pub mod init;
pub mod ledger;
pub mod serve;
pub mod status;
pub mod table;
pub mod worker;
mod world;
mod world_ai;

use std::io::{BufRead, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::settings::Settings;
use crate::config::{self as configuration};
use crate::pool::clock::Clock;
use crate::transport::tls;

/// The demo is quiet: its bad workers are meant to be bad.
const DEMO_LOG: &str = "error";

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
    /// See it run: simulated orchestrators and workers on loopback, over the real wire
    Demo(demo::DemoArgs),
    /// Write a working configuration from three answers, or from flags
    Init(init::InitArgs),
    /// Check the file, what it means, and the world around it; all faults at once
    Check(check::CheckArgs),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Serve: connect to the orchestrators and let workers in
    Serve,
    /// How the running pool is
    Status(status::StatusArgs),
    /// Workers of the pool
    #[command(subcommand)]
    Worker(WorkerCommand),
    /// AI models of the pool
    #[command(subcommand)]
    Ai(AiCommand),
    /// The books
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Why a segment went where it went, and what it earned
    Explain(explain::ExplainArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Every key, its value, and where it comes from
    Show(config::ShowArgs),
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// Make a join token and print the command line to send to the worker
    Invite(worker::InviteArgs),
    /// Take a token back; its connections end within a second
    Revoke(worker::RevokeArgs),
}

#[derive(Debug, Subcommand)]
enum AiCommand {
    /// Print the aiModels.json by which an orchestrator uses the pool's present models
    Models(ai::ModelsArgs),
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
        // Whoever read our output has seen enough.
        Err(why) if closed_pipe(&why) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn closed_pipe(why: &anyhow::Error) -> bool {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    why.chain().any(|cause| io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let environment = configuration::of_process();
    let file = arguments.config.as_deref();
    let mut out = std::io::stdout();
    let code = match arguments.command {
        Command::Demo(args) => {
            log_to_stderr(DEMO_LOG)?;
            u8::from(!runtime()?.block_on(demo::run(args, &mut out))?)
        }
        // These do not need a faultless file, or make one.
        Command::Init(args) => {
            let mut terminal = std::io::stdin().is_terminal().then(|| std::io::stdin().lock());
            init::run(&args, terminal.as_mut().map(|t| t as &mut dyn BufRead), &mut out)?
        }
        Command::Check(args) => check::run(&args, file, &environment, std::io::stdout().is_terminal(), &mut out)?,
        Command::Config(ConfigCommand::Show(args)) => {
            config::show(&args, file, &environment, &mut out, &mut std::io::stderr())?
        }
        command => match configuration::load(&configuration::find(file, &environment), environment) {
            Ok(loaded) => with_settings(command, loaded.settings, &mut out)?,
            Err(faults) => {
                eprint!("{}", faults.render(std::io::stderr().is_terminal()));
                config::EXIT_CONFIG
            }
        },
    };
    out.flush()?;
    Ok(ExitCode::from(code))
}

/// The commands that work on a pool. Returns the exit code.
fn with_settings(command: Command, settings: Settings, out: &mut dyn Write) -> Result<u8> {
    let now_ms = Clock::start().unix_ms();
    let data = &settings.data;
    match command {
        Command::Demo(_) | Command::Init(_) | Command::Check(_) | Command::Config(_) => {}
        Command::Serve => {
            log_to_stderr(&settings.log)?;
            runtime()?.block_on(serve::run(settings))?;
        }
        Command::Status(args) => status::run(&args, settings.admin.listen, out)?,
        Command::Worker(WorkerCommand::Invite(args)) => {
            worker::invite(&args, data, &join_at(&settings), now_ms, &mut rand::rng(), out)?;
        }
        Command::Worker(WorkerCommand::Revoke(args)) => worker::revoke(&args, data, now_ms, out)?,
        Command::Ai(AiCommand::Models(args)) => ai::models(&args, &settings, out, &mut std::io::stderr())?,
        Command::Ledger(LedgerCommand::Report(args)) => ledger::report(&args, data, out)?,
        Command::Ledger(LedgerCommand::Verify(args)) => return Ok(u8::from(!ledger::verify(&args, data, out)?)),
        Command::Explain(args) => explain::run(&args, data, out)?,
    }
    Ok(0)
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
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
    Ok(())
}
