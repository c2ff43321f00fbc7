//! Everything that runs in a demo: two orchestrators, the pool, its workers.
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep};

use super::ai::AiScene;
use super::cast::{self, Folder, Role};
use super::tally::{AiWorkerTally, Tally, WorkerTally};
use super::{DemoArgs, Transcode};
use crate::app;
use crate::config;
use crate::domain::ids::Address;
use crate::pool::View;
use crate::pool::clock::Clock;
use crate::sim::ai_orchestrator::AiPlan;
use crate::sim::{Check, OrchestratorCounters, OrchestratorPlan, SimOrchestrator, SimWorker, Traffic};
use crate::state::roster::{self, Invitation};
use crate::state::store::ledger::{self, By, Range, ReportRow};

pub(super) struct Scene {
    folder: Folder,
    roles: Vec<Role>,
    orchestrators: Vec<SimOrchestrator>,
    running: app::Running,
    workers: Vec<SimWorker>,
    ai: Option<AiScene>,
    /// Response times so far, microseconds.
    latencies: Vec<u32>,
}

/// A stream ends its session after so many segments and begins another.
const SESSION: u64 = 6;
/// What the opening waits for the peers to find one another.
const TOGETHER: Duration = Duration::from_secs(10);
/// AI jobs that run at the end have their answers within.
const AI_ANSWERS: Duration = Duration::from_secs(15);
/// Response times that are kept for the figures.
const MOST_LATENCIES: usize = 1 << 20;

// === impl Scene ===

impl Scene {
    pub(super) async fn open(args: &DemoArgs) -> Result<Scene> {
        if args.transcode == Transcode::Ffmpeg {
            let there = tokio::process::Command::new("ffmpeg").arg("-version").output().await;
            there.context("no ffmpeg on this machine; install it, or leave --transcode out")?;
        }
        let folder = Folder::open(args.keep.as_deref())?;
        let (orchestrators, told) = orchestrators(args).await?;
        let mut ai = if args.ai { Some(AiScene::open(args)?) } else { None };
        let more = ai.as_ref().map(|ai| Ok::<_, anyhow::Error>(ai.config(free_port()?))).transpose()?;
        folder.write([free_port()?, free_port()?], &told, &more.unwrap_or_default())?;
        let loaded = config::load(&folder.config(), [])
            .map_err(|faults| anyhow!("the demo's own configuration is faulty:\n{}", faults.render(false)))?;
        let roles = cast::roles(args.workers.into());
        let tokens = invite(&folder, roles.iter().map(|role| (role.name.as_str(), role.address)))?;
        let ai_tokens = invite(&folder, ai.iter().flat_map(AiScene::invited))?;
        let running = app::start(loaded.settings).await?;
        let mut workers = Vec::new();
        for (n, (role, token)) in roles.iter().zip(&tokens).enumerate() {
            let worker = SimWorker::start(running.worker_addr, role.plan(token, n, args));
            workers.push(worker.with_context(|| format!("starting worker {}", role.name))?);
        }
        if let Some(ai) = &mut ai {
            ai.join(running.worker_addr, &ai_tokens, args)?;
        }
        let mut scene = Scene { folder, roles, orchestrators, running, workers, ai, latencies: Vec::new() };
        scene.together().await?;
        if let (Some(ai), Some(port)) = (&mut scene.ai, scene.running.runner_addr) {
            ai.begin(&scene.orchestrators, port, args).await?;
        }
        let shares = [args.streams.div_ceil(2), args.streams / 2];
        for (orchestrator, streams) in scene.orchestrators.iter().zip(shares) {
            orchestrator.begin(Traffic::Streams(streams.into()));
        }
        Ok(scene)
    }

    /// Every worker has joined, and the pool has registered at every orchestrator.
    async fn together(&self) -> Result<()> {
        let until = Instant::now() + TOGETHER;
        loop {
            let here = self.running.pool.workers().len();
            let registered = self.orchestrators.iter().filter(|one| !one.registrations().is_empty()).count();
            let ai_roles = self.ai.as_ref().map_or(0, |ai| ai.roles().len());
            let ai_here = self.running.pool.view().ai.workers.len();
            if here >= self.workers.len() && ai_here >= ai_roles && registered == self.orchestrators.len() {
                return Ok(());
            }
            if Instant::now() > until {
                let words = self.workers.iter().find_map(|worker| worker.counters().last_ending).unwrap_or_default();
                anyhow::bail!(
                    "after {} s {here} of {} workers and {ai_here} of {ai_roles} AI workers have joined, and {registered} of {} \
                     orchestrators know the pool {words}",
                    TOGETHER.as_secs(),
                    self.workers.len(),
                    self.orchestrators.len(),
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) fn roles(&self) -> &[Role] {
        &self.roles
    }

    pub(super) fn ai(&self) -> Option<&AiScene> {
        self.ai.as_ref()
    }

    pub(super) fn runner_port(&self) -> Option<std::net::SocketAddr> {
        self.running.runner_addr
    }

    pub(super) fn view(&self) -> View {
        self.running.pool.view()
    }

    pub(super) fn ports(&self) -> (std::net::SocketAddr, std::net::SocketAddr) {
        (self.running.worker_addr, self.running.admin_addr)
    }

    /// What the orchestrators saw, in the order of their names.
    pub(super) fn counters(&self) -> Vec<OrchestratorCounters> {
        self.orchestrators.iter().map(SimOrchestrator::counters).collect()
    }

    /// Response times so far, sorted.
    pub(super) fn latencies(&mut self) -> &[u32] {
        for orchestrator in &self.orchestrators {
            let room = MOST_LATENCIES.saturating_sub(self.latencies.len());
            self.latencies.extend(orchestrator.take_latencies().into_iter().take(room));
        }
        self.latencies.sort_unstable();
        &self.latencies
    }

    /// The ledger by worker, as far as it is written.
    pub(super) async fn earned(&self) -> Result<BTreeMap<String, ReportRow>> {
        read_ledger(&self.folder).await
    }

    pub(super) async fn quiesce(&self) {
        let segments = futures_util::future::join_all(self.orchestrators.iter().map(SimOrchestrator::quiesce));
        let ai = async {
            if let Some(ai) = &self.ai {
                ai.quiesce(AI_ANSWERS).await;
            }
        };
        tokio::join!(segments, ai);
    }

    /// Stops everything, and counts.
    pub(super) async fn close(self, drain: Duration) -> Result<(Tally, Folder)> {
        let view = self.view();
        self.running.stop(drain).await;
        for worker in &self.workers {
            worker.stop().await;
        }
        if let Some(ai) = &self.ai {
            ai.stop().await;
        }
        // What still runs must not change the figures while they are read.
        for orchestrator in &self.orchestrators {
            orchestrator.stop().await;
        }
        let seen: Vec<OrchestratorCounters> = self.orchestrators.iter().map(SimOrchestrator::counters).collect();
        let earned = read_ledger(&self.folder).await?;
        let path = self.folder.data().join(super::ledger::FILE);
        let verdict = tokio::task::spawn_blocking(move || ledger::verify(&path)).await??;
        let workers = self.roles.iter().map(|role| WorkerTally::new(role, earned.get(&role.name))).collect();
        let mut tally = Tally::new(&seen, view.saved, verdict.balanced, workers);
        if let Some(ai) = &self.ai {
            tally.pipelines = ai.pipelines();
            let rows = ai.roles().iter().map(|role| AiWorkerTally::new(role, earned.get(role.name)));
            tally.ai_workers = rows.collect();
        }
        Ok((tally, self.folder))
    }
}

type Told = (&'static str, String, String);

async fn orchestrators(args: &DemoArgs) -> Result<(Vec<SimOrchestrator>, Vec<Told>)> {
    let (mut started, mut told) = (Vec::new(), Vec::new());
    for (n, name) in cast::ORCHESTRATORS.into_iter().enumerate() {
        let secret = format!("{name}-{:016x}", rand::random::<u64>());
        let plan = OrchestratorPlan {
            seed: args.seed.wrapping_add(n as u64),
            session_length: Some(SESSION),
            check: match args.transcode {
                Transcode::Prepared => Check::Bytes,
                Transcode::Ffmpeg => Check::Counted,
            },
            ai: AiPlan { ready_every: Duration::from_millis(20), ..AiPlan::stock() },
            ..OrchestratorPlan::new(&secret, Traffic::None)
        };
        let orchestrator = SimOrchestrator::start(plan).await.context("starting an orchestrator")?;
        told.push((name, orchestrator.url(), secret));
        started.push(orchestrator);
    }
    Ok((started, told))
}

/// A token for each worker, made as `worker invite` makes them.
fn invite<'a>(folder: &Folder, who: impl Iterator<Item = (&'a str, Address)>) -> Result<Vec<String>> {
    let now_ms = Clock::start().unix_ms();
    let path = folder.data().join(super::super::worker::FILE);
    let token = |(name, address): (&str, Address)| {
        let wish = Invitation { name: name.to_owned(), address: Some(address), expires_ms: None };
        roster::invite(&path, &wish, now_ms, &mut rand::rng()).with_context(|| format!("inviting {name}"))
    };
    who.map(token).collect()
}

async fn read_ledger(folder: &Folder) -> Result<BTreeMap<String, ReportRow>> {
    let path = folder.data().join(super::ledger::FILE);
    let read = move || ledger::report(&path, By::Worker, Range::default());
    let rows = tokio::task::spawn_blocking(read).await??;
    Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
}

/// Free now; the kept configuration names it, so it is not left to the kernel.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}
