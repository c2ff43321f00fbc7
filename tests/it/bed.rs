//! A whole pool on loopback: simulated orchestrators and workers around the real program.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use openpool_proxy::app::{self, Running};
use openpool_proxy::config::settings::{JournalConfig, Settings};
use openpool_proxy::domain::ids::OrchestratorName;
use openpool_proxy::planes::admin::config::AdminConfig;
use openpool_proxy::planes::runner::PlaneConfig;
use openpool_proxy::planes::uplink::config::{OrchestratorConfig, UplinkConfig};
use openpool_proxy::planes::worker::config::WorkerConfig;
use openpool_proxy::pool::Rules;
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use openpool_proxy::sim::worker::{Behaviour, SimWorker, WorkerPlan};
use openpool_proxy::state::store::ledger::{VerifyReport, verify};
use openpool_proxy::transport::EdgeLimits;

pub const SECRET: &str = "orchestrator-secret";

pub struct Bed {
    pub app: Option<Running>,
    pub orchestrators: Vec<SimOrchestrator>,
    pub workers: Vec<SimWorker>,
    pub settings: Settings,
    _folder: tempfile::TempDir,
}

impl Bed {
    /// `orchestrators` that do only what `submit` asks for.
    pub async fn new(orchestrators: usize, change: impl FnOnce(&mut Settings)) -> Bed {
        let mut plans = Vec::new();
        plans.resize_with(orchestrators, || OrchestratorPlan::new(SECRET, Traffic::None));
        Bed::with(plans, change).await
    }

    pub async fn with(plans: Vec<OrchestratorPlan>, change: impl FnOnce(&mut Settings)) -> Bed {
        openpool_proxy::transport::tls::install_provider();
        let mut orchestrators = Vec::new();
        for plan in plans {
            orchestrators.push(SimOrchestrator::start(plan).await.unwrap());
        }
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path().into(), &orchestrators);
        change(&mut settings);
        let app = app::start(settings.clone()).await.unwrap();
        // The port is kept over restarts.
        settings.worker.listen = app.worker_addr;
        Bed { app: Some(app), orchestrators, workers: Vec::new(), settings, _folder: folder }
    }

    pub fn app(&self) -> &Running {
        self.app.as_ref().unwrap()
    }

    pub fn port(&self) -> SocketAddr {
        self.settings.worker.listen
    }

    /// Adds a worker that joins in open mode.
    pub fn worker(&mut self, name: &str, behaviour: Behaviour, change: impl FnOnce(&mut WorkerPlan)) {
        let number = self.workers.len() + 1;
        let mut plan = WorkerPlan::new(name, &format!("0x{}.{name}", format!("{number:02x}").repeat(20)));
        plan.behaviour = behaviour;
        plan.ratio = 0.02;
        plan.first_backoff = Duration::from_millis(50);
        plan.longest_backoff = Duration::from_millis(300);
        plan.hang = Duration::from_secs(9);
        change(&mut plan);
        self.workers.push(SimWorker::start(self.port(), plan).unwrap());
    }

    pub fn honest(&mut self, name: &str) {
        self.worker(name, Behaviour::Honest, |_| {});
    }

    /// Waits until every orchestrator knows the whole pool and every worker has its seat.
    pub async fn ready(&self) {
        let seated = || self.app().pool.workers().len() >= self.workers.len();
        // The whole capacity: a first registration alone may be less than a test needs.
        let whole = || i64::from(self.app().pool.view().capacity).max(1);
        let known = || self.orchestrators.iter().all(|o| o.registrations().iter().sum::<i64>() >= whole());
        until("all are connected", || seated() && known()).await;
    }

    pub fn retired(&self) -> Vec<String> {
        self.workers.iter().filter_map(|w| w.counters().retired).collect()
    }

    /// Stops the program; the books are closed.
    pub async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop(Duration::from_secs(5)).await;
        }
    }

    /// Stops it without waiting for anything.
    pub async fn cut(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop(Duration::ZERO).await;
        }
    }

    /// Starts it again on the same port and files.
    pub async fn start(&mut self) {
        self.app = Some(app::start(self.settings.clone()).await.unwrap());
    }

    /// The books after the end.
    pub async fn books(mut self) -> VerifyReport {
        self.stop().await;
        let books = verify(&self.settings.data.join("ledger.db")).unwrap();
        assert!(books.balanced, "{books:?}");
        books
    }
}

fn settings(data: PathBuf, orchestrators: &[SimOrchestrator]) -> Settings {
    let mut rules = Rules::default();
    rules.join.open = true;
    rules.join.open_capacity = 10;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let one = |(n, o): (usize, &SimOrchestrator)| OrchestratorConfig {
        name: OrchestratorName::from(format!("o{n}").as_str()),
        url: o.url().parse().unwrap(),
        secret: SECRET.into(),
        segment_hosts: Vec::new(),
        private_segment_hosts: false,
    };
    Settings {
        runner: PlaneConfig::default(),
        pool_name: "Test".into(),
        data,
        rules,
        worker: WorkerConfig { listen: any, public_address: None, certificate: None, help_url: None },
        edge: EdgeLimits { connections_per_ip: 4096, unauthenticated_per_ip: 512, ..EdgeLimits::default() },
        orchestrators: orchestrators.iter().enumerate().map(one).collect(),
        uplink: UplinkConfig {
            settle: Duration::from_millis(50),
            reregister_every: Duration::from_millis(500),
            ..UplinkConfig::default()
        },
        admin: AdminConfig { listen: any },
        shared_secret: None,
        journal: JournalConfig { keep_days: 1, keep_jobs: 10_000 },
        log: "warn".into(),
        drain: Duration::from_secs(5),
    }
}

/// Waits at most 20 s.
pub async fn until(what: &str, ready: impl Fn() -> bool) {
    for _ in 0..2000 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came: {what}");
}
