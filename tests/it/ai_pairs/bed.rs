//! A pool with simulated AI peers on both sides of it: an orchestrator that uses both its doors, AI
//! workers that dial it, and runners that it dials.
use std::path::PathBuf;
use std::time::Duration;

use openpool_proxy::config::settings::Settings;
use openpool_proxy::domain::ai::{ModelOffer, Pipeline};
use openpool_proxy::domain::ids::{Address, WorkerName};
use openpool_proxy::domain::money::Price;
use openpool_proxy::planes::runner::runners::RunnerWorker;
use openpool_proxy::planes::runner::{PlaneConfig, RunnerConfig};
use openpool_proxy::sim::ai_client::RunnerEntry;
use openpool_proxy::sim::ai_orchestrator::{Ai, AiCounters, AiFate, AiFile};
use openpool_proxy::sim::ai_worker::{AiBehaviour, AiWorkerPlan, SimAiWorker};
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use openpool_proxy::sim::runner::{RunnerPlan, SimRunner};
use openpool_proxy::state::store::ledger::VerifyReport;

use super::jobs::Job;
use crate::bed::{Bed, SECRET, until};

pub const MODEL: &str = "org/model";
/// What an orchestrator may have under way by one door.
pub const CAPACITY: u32 = 64;

pub struct AiBed {
    pub bed: Bed,
    pub runners: Vec<SimRunner>,
    pub workers: Vec<SimAiWorker>,
}

/// How a job comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Grpc,
    Runner,
}

/// A price that tells the pipelines apart.
pub fn price(pipeline: Pipeline) -> Price {
    let place = Pipeline::STOCK.iter().position(|one| *one == pipeline).unwrap();
    Price { wei: 11 + place as u128, units: 1 }
}

impl AiBed {
    pub async fn new(runners: Vec<RunnerPlan>, workers: Vec<AiWorkerPlan>) -> AiBed {
        AiBed::with(runners, workers, |_| {}).await
    }

    /// Everybody is seated and known at its end.
    pub async fn with(
        runners: Vec<RunnerPlan>,
        workers: Vec<AiWorkerPlan>,
        change: impl FnOnce(&mut Settings),
    ) -> AiBed {
        let runners: Vec<SimRunner> = runners.into_iter().map(|plan| SimRunner::start(plan).unwrap()).collect();
        let mut orchestrator = OrchestratorPlan::new(SECRET, Traffic::None);
        orchestrator.ai.ready_every = Duration::from_millis(5);
        let bed = Bed::with(vec![orchestrator], |settings| {
            settings.runner = PlaneConfig {
                port: Some(RunnerConfig { listen: ([127, 0, 0, 1], 0).into(), ..RunnerConfig::default() }),
                runners: runners.iter().enumerate().map(|(n, runner)| listed(n, runner)).collect(),
                ..PlaneConfig::default()
            };
            // Runners do not say what version of a worker they are.
            settings.uplink.fallback_version = "0.9.1".into();
            settings.rules.join.open_capacity = 64;
            settings.rules.ai.score.default_ratio = 0.5;
            let prices = Pipeline::STOCK.iter().map(|pipeline| ((*pipeline, None), price(*pipeline)));
            settings.rules.ai.prices = prices.collect();
            change(settings);
        })
        .await;
        let mut ai = AiBed { bed, runners, workers: Vec::new() };
        for plan in workers {
            ai.add(plan);
        }
        ai.ready().await;
        ai
    }

    /// One more AI worker; `plan` without an identity.
    pub fn add(&mut self, plan: AiWorkerPlan) {
        let number = self.workers.len() + 1;
        let secret = format!("0x{}.{}", format!("{number:02x}").repeat(20), plan.name);
        let plan = AiWorkerPlan {
            secret,
            first_backoff: Duration::from_millis(50),
            longest_backoff: Duration::from_millis(300),
            ..plan
        };
        self.workers.push(SimAiWorker::start(self.bed.port(), plan).unwrap());
    }

    /// All models of all peers are offered, and by gRPC all that go by it.
    pub async fn ready(&self) {
        let mut wanted: Vec<ModelOffer> = Vec::new();
        for runner in &self.runners {
            wanted.extend(runner.plan().models.iter().cloned());
        }
        for worker in &self.workers {
            wanted.extend(worker.plan().models.iter().cloned());
        }
        let sum = |offers: &[ModelOffer]| offers.iter().map(|offer| offer.capacity).sum::<u32>();
        until("all have their seats", || sum(&self.pool().ai_models()) >= sum(&wanted)).await;
        let by_grpc = || sum(&self.pool().ai_offer().borrow().models);
        let told = || {
            let models = self.ai().workers().into_iter().flat_map(|worker| worker.models);
            models.map(|(_, _, left)| u32::try_from(left).unwrap()).sum::<u32>()
        };
        until("the orchestrator knows it", || told() == by_grpc()).await;
    }

    pub fn pool(&self) -> &openpool_proxy::pool::Pool {
        &self.bed.app().pool
    }

    pub fn orchestrator(&self) -> &SimOrchestrator {
        &self.bed.orchestrators[0]
    }

    pub fn ai(&self) -> &Ai {
        self.orchestrator().ai()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.bed.app().runner_addr.unwrap())
    }

    /// Points the orchestrator's `aiModels.json` at us; `path` is the URL's.
    pub async fn point(&self, pipeline: Pipeline, model: &str, path: &str) {
        let (model, url) = (model.to_owned(), self.url(path));
        let entry = RunnerEntry { pipeline, model, url, token: None, capacity: i64::from(CAPACITY) };
        let ready = self.ai().warm(entry).await.unwrap();
        assert_eq!(ready.status, "OK");
    }

    pub async fn point_all(&self) {
        for pipeline in Pipeline::STOCK {
            self.point(pipeline, MODEL, "").await;
        }
    }

    /// One job by that door, as the orchestrator's gateway sees its end.
    pub async fn run(&self, door: Door, job: &Job) -> AiFate {
        self.run_model(door, MODEL, job).await
    }

    pub async fn run_model(&self, door: Door, model: &str, job: &Job) -> AiFate {
        let within = Duration::from_secs(60);
        let fate = match door {
            Door::Grpc => {
                let submitted = self.orchestrator();
                tokio::time::timeout(
                    within,
                    submitted.submit_ai(job.pipeline, model, job.request.clone(), job.file.clone()),
                )
                .await
            }
            Door::Runner => {
                let file = job.file.clone().map(|body| AiFile { name: "from-the-caller.bin".into(), body });
                tokio::time::timeout(within, self.ai().run(job.pipeline, model, job.request.clone(), file)).await
            }
        };
        fate.unwrap_or_else(|_| panic!("{door:?} {}: nothing for {within:?}", job.pipeline))
    }

    /// Requests that reached anybody.
    pub fn asked(&self) -> u64 {
        let runners: u64 = self.runners.iter().map(|runner| runner.counters().requests).sum();
        let workers: u64 = self.workers.iter().map(|worker| worker.counters().jobs).sum();
        runners + workers
    }

    /// All permits are back, and nothing is under way any more.
    pub async fn idle(&self) {
        until("all permits are back", || {
            let load = self.pool().ai_load();
            load.running == 0 && load.jobs == 0 && load.waiting == 0
        })
        .await;
    }

    /// The end: permits, the orchestrator's health, the books.
    pub async fn end(self) -> Ended {
        self.idle().await;
        let counters = self.ai().counters();
        survived(&counters);
        for worker in &self.workers {
            let seen = worker.counters();
            assert_eq!((seen.crashed, seen.retired, seen.no_capacity), (None, None, 0), "{}", worker.plan().name);
        }
        for runner in &self.runners {
            let seen = runner.counters();
            assert_eq!((seen.over_capacity, seen.running), (0, 0), "{}", runner.plan().name);
        }
        let ledger = self.bed.settings.data.join("ledger.db");
        let AiBed { mut bed, runners, workers } = self;
        bed.stop().await;
        let books = openpool_proxy::state::store::ledger::verify(&ledger).unwrap();
        assert!(books.balanced && books.pending == 0, "{books:?}");
        Ended { counters, books, ledger, _bed: bed, _runners: runners, _workers: workers }
    }
}

/// What is left for a look.
pub struct Ended {
    pub counters: AiCounters,
    pub books: VerifyReport,
    pub ledger: PathBuf,
    _bed: Bed,
    _runners: Vec<SimRunner>,
    _workers: Vec<SimAiWorker>,
}

/// Nothing happened that a stock orchestrator does not get over.
pub fn survived(seen: &AiCounters) {
    let bad = [
        ("panics", seen.panics),
        ("lost_slots", seen.lost_slots),
        ("null_answers", seen.null_answers),
        ("unreadable_answers", seen.unreadable_answers),
        ("empty_files", seen.empty_files),
        ("refused_results", seen.refused_results),
        ("wrong_secret_results", seen.wrong_secret_results),
        ("thrown_away", seen.thrown_away),
        ("bad_chunks", seen.bad_chunks),
        ("chunks_after_the_end", seen.chunks_after_the_end),
        ("stuck_streams", seen.stuck_streams),
        ("registrations_lost", seen.registrations_lost),
        ("late", seen.late),
    ];
    let bad: Vec<_> = bad.into_iter().filter(|(_, count)| *count > 0).collect();
    assert!(bad.is_empty(), "{bad:?} in {seen:?}");
}

/// The address that runner number `n` is paid at.
pub fn runner_address(n: usize) -> Address {
    Address([0xa0 + u8::try_from(n).unwrap(); 20])
}

fn listed(n: usize, runner: &SimRunner) -> RunnerWorker {
    let plan = runner.plan();
    RunnerWorker {
        name: WorkerName::from(plan.name.as_str()),
        url: runner.url().parse().unwrap(),
        token: plan.token.as_deref().map(Into::into),
        address: Some(runner_address(n)),
        region: None,
        pin: None,
        health: "health".into(),
        models: plan.models.clone(),
    }
}

/// A runner with every pipeline.
pub fn runner(name: &str) -> RunnerPlan {
    RunnerPlan { speed: 0.002, oversize: 1 << 20, ..RunnerPlan::new(name) }.with_all(MODEL, 8)
}

/// An AI worker with every pipeline that goes by its road.
pub fn worker(name: &str) -> AiWorkerPlan {
    AiWorkerPlan { speed: 0.002, ..AiWorkerPlan::new(name, "") }.with_all(MODEL, 8)
}

pub fn behaving(plan: AiWorkerPlan, behaviour: AiBehaviour) -> AiWorkerPlan {
    AiWorkerPlan { behaviour, ..plan }
}
