//! The composition root: builds the floors from the bottom up, and takes them down again.
mod memory;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::config::settings::Settings;
use crate::planes::admin;
use crate::planes::runner;
use crate::planes::uplink::{self, Uplinks};
use crate::planes::worker;
use crate::pool::clock::Clock;
use crate::pool::{Parts, Pool};
use crate::state::roster::Roster;
use crate::state::store::journal::{Journal, Keep};
use crate::state::store::ledger::Ledger;
use crate::telemetry;
use crate::transport::serve::EdgeStats;
use crate::transport::tasks::Tasks;
use crate::transport::tls::ServerTls;

/// A proxy that serves.
pub struct Running {
    pub pool: Pool,
    pub uplinks: Uplinks,
    pub worker_addr: SocketAddr,
    /// Of the runner port, when it is open.
    pub runner_addr: Option<SocketAddr>,
    pub admin_addr: SocketAddr,
    /// SHA-256 of the worker port's certificate.
    pub fingerprint: String,
    serving: Tasks,
    orchestrators: Tasks,
    writers: Vec<std::thread::JoinHandle<()>>,
}

/// Opens storage, binds the ports, and starts every plane.
pub async fn start(settings: Settings) -> Result<Running> {
    let metrics = recorder()?;
    let data = &settings.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let clock = Clock::start();
    let (storage, writers) = open_storage(data, &settings, clock)?;
    let pool = Pool::new(Parts {
        rules: settings.rules.clone(),
        clock,
        ledger: storage.ledger,
        journal: storage.journal,
        roster: storage.roster,
        shared_secret: settings.shared_secret.clone(),
        fallback_version: settings.uplink.fallback_version.clone(),
        seed: rand::random(),
    });
    let serving = Tasks::new();
    let orchestrators = Tasks::new();
    let worker_listener = bind(settings.worker.listen, "workers.listen").await?;
    let admin_listener = bind(settings.admin.listen, "admin.listen").await?;
    let (worker_addr, admin_addr) = (worker_listener.local_addr()?, admin_listener.local_addr()?);
    let identity = match &settings.worker.certificate {
        Some((certificate, key)) => ServerTls::from_files(certificate, key)?,
        None => ServerTls::kept_in(data)?,
    };
    let fingerprint = identity.fingerprint.clone();
    let edge = Arc::new(EdgeStats::default());
    let serve = worker::serve(
        pool.clone(),
        settings.worker.clone(),
        settings.edge.clone(),
        identity,
        worker_listener,
        serving.clone(),
        edge.clone(),
    );
    serving.spawn("worker port", serve);
    let first = settings.orchestrators.first().map(|orchestrator| orchestrator.name.clone());
    let runner = runner::start(pool.clone(), settings.runner.clone(), first, &orchestrators, &serving)
        .await
        .context("the runner port (runner.listen)")?;
    let uplinks = uplink::start(pool.clone(), settings.uplink.clone(), settings.orchestrators, orchestrators.clone());
    let sources = admin::Sources {
        pool: pool.clone(),
        metrics: Arc::new(move || metrics.render()),
        orchestrators: {
            let uplinks = uplinks.clone();
            Arc::new(move || serde_json::to_value(uplinks.status()).unwrap_or_default())
        },
        pool_name: settings.pool_name.clone(),
        runner_port: runner.address(),
    };
    let admin_tasks = serving.clone();
    serving.spawn("operator port", async move {
        if let Err(why) = admin::serve(admin_listener, sources, admin_tasks).await {
            telemetry::fault("operator port", why);
        }
    });
    let memory_limit = memory::limit(settings.rules.limits.memory_limit);
    serving.spawn("sweep", sweep(pool.clone(), edge, memory_limit, serving.clone()));
    let runner_addr = runner.address();
    Ok(Running { pool, uplinks, worker_addr, runner_addr, admin_addr, fingerprint, serving, orchestrators, writers })
}

struct Storage {
    ledger: Ledger,
    journal: Journal,
    roster: Roster,
}

/// The files of the data folder, and the threads that write them.
fn open_storage(data: &Path, settings: &Settings, clock: Clock) -> Result<(Storage, Vec<std::thread::JoinHandle<()>>)> {
    let (ledger, ledger_writer) = Ledger::open(&data.join("ledger.db"), clock.unix_ms())?;
    let keep = Keep { days: settings.journal.keep_days, jobs: settings.journal.keep_jobs };
    let (journal, journal_writer) = Journal::open(&data.join("journal.db"), keep)?;
    let roster = Roster::open(&data.join("workers.db"))?;
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let writers = vec![
        thread("ledger").spawn(move || ledger_writer.run())?,
        thread("journal").spawn(move || journal_writer.run(move || clock.unix_ms()))?,
    ];
    Ok((Storage { ledger, journal, roster }, writers))
}

async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be opened; free it, or change {key}"))
}

/// Housekeeping, and a look at our memory.
async fn sweep(pool: Pool, edge: Arc<EdgeStats>, memory_limit: Option<u64>, tasks: Tasks) {
    let stop = tasks.token();
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let (Some(limit), Some(resident)) = (memory_limit, memory::resident()) {
            let percent = memory::percent(resident, limit);
            telemetry::memory(resident, limit, percent, pool.memory(percent));
            edge.pressure.set(percent);
        }
        pool.sweep();
    }
}

/// Histograms with buckets, as go-livepeer has them; without these they would be summaries.
fn histograms() -> Result<PrometheusBuilder> {
    let seconds = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0];
    let times_real_time = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0];
    let named = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(named("livepeer_transcode_time_seconds"), &seconds)
        .and_then(|b| b.set_buckets_for_metric(named("livepeer_transcode_score"), &times_real_time))
        .context("the metrics' buckets")
}

/// One recorder a process, however many proxies run in it.
fn recorder() -> Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut handle = HANDLE.lock();
    if handle.is_none() {
        *handle = Some(histograms()?.install_recorder().context("installing the metrics recorder")?);
    }
    handle.clone().context("no metrics recorder")
}

// === impl Running ===

impl Running {
    /// Drains and stops: no new jobs, running ones end, then the workers are told to come back.
    /// Whether all of it ended within `drain`.
    pub async fn stop(self, drain: Duration) -> bool {
        // The orchestrators first: what they still send while their streams close is worked, too.
        let jobs_done = self.orchestrators.close(drain).await;
        self.pool.drain();
        self.pool.goodbye("the pool is restarting; come back in a moment");
        // Workers get the word and a chance to read it, before sockets go.
        let served = self.serving.close(Duration::from_secs(2)).await;
        drop(self.pool);
        drop(self.uplinks);
        let writers = self.writers;
        let written = tokio::task::spawn_blocking(move || writers.into_iter().all(|w| w.join().is_ok()));
        let written = tokio::time::timeout(Duration::from_secs(5), written).await;
        jobs_done && served && matches!(written, Ok(Ok(true)))
    }
}
