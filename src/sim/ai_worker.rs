//! A simulated AI worker that keeps the rules of `livepeer -aiWorker`, with an own way of working or failing.
mod go;
mod job;
mod post;
mod register;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::tasks::Tasks;
use super::tls::Dialer;
use super::worker::http::Downloads;
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::ids::Address;

/// What it is and does.
#[derive(Clone, Debug)]
pub struct AiWorkerPlan {
    pub name: String,
    pub secret: String,
    pub models: Vec<ModelOffer>,
    /// The fork's `ethereum_address` and `PoolEthereumAddress`.
    pub address: Option<Address>,
    /// Seconds for a job of usual size.
    pub speed: f64,
    pub behaviour: AiBehaviour,
    /// Chunks of a stream at most, and the time between them.
    pub chunks: usize,
    pub gap: Duration,
    pub version: String,
    pub seed: u64,
    /// How long a hanging job hangs before its late answer.
    pub hang: Duration,
    /// The stock back-off between registrations.
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AiBehaviour {
    Honest,
    /// Answers this share of its jobs with an error of that text.
    Fails {
        rate: f64,
        text: String,
    },
    /// Answers this share of its jobs much too late.
    Hangs {
        rate: f64,
    },
    /// Loses all its connections in the middle of this share of its uploads.
    Dies {
        rate: f64,
    },
    /// Noise where the parts should be; in a stream, a line that is no chunk.
    Garbage,
    /// The JSON names files that have no bytes.
    EmptyFile,
    /// Streams without a `finish_reason`: the POST stays open.
    SseWithoutEnd,
    Slow {
        factor: f64,
    },
}

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AiWorkerCounters {
    /// Registrations that were sent.
    pub attempts: u64,
    pub jobs: u64,
    pub by_pipeline: BTreeMap<String, u64>,
    pub running: u32,
    pub most_at_once: u32,
    /// Jobs that found their model's capacity in use, or no such model.
    pub no_capacity: u64,
    /// Jobs that could not be read, or whose input could not be fetched.
    pub invalid: u64,
    /// Results and error results that were answered 200.
    pub taken: u64,
    /// Answered otherwise.
    pub refused: u64,
    /// Not answered at all.
    pub lost: u64,
    pub last_refusal: Option<String>,
    /// The last error text that it posted.
    pub last_error: Option<String>,
    /// How the last registration ended.
    pub last_ending: Option<String>,
    /// Why it ended for good: stays up, idle and unregistered.
    pub retired: Option<String>,
    /// What killed the process of a stock worker.
    pub crashed: Option<String>,
}

/// A running worker; dropping it stops it.
pub struct SimAiWorker {
    shared: Arc<Shared>,
}

struct Shared {
    plan: AiWorkerPlan,
    /// Where it dials; inputs lie where their address says.
    pool: SocketAddr,
    dialer: Dialer,
    downloads: Downloads,
    behaviour: Mutex<AiBehaviour>,
    chance: Mutex<SmallRng>,
    counters: Mutex<AiWorkerCounters>,
    /// Running jobs of each model.
    used: Mutex<HashMap<ModelKey, u32>>,
    tasks: Tasks,
}

// === impl AiWorkerPlan ===

impl AiWorkerPlan {
    /// Honest, quick, without models.
    pub fn new(name: &str, secret: &str) -> AiWorkerPlan {
        AiWorkerPlan {
            name: name.to_owned(),
            secret: secret.to_owned(),
            models: Vec::new(),
            address: None,
            speed: 0.02,
            behaviour: AiBehaviour::Honest,
            chunks: 1000,
            gap: Duration::from_millis(5),
            version: "0.9.1-sim".into(),
            seed: 1,
            hang: Duration::from_secs(20),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(60),
        }
    }

    /// With one model of that capacity more.
    pub fn with(mut self, pipeline: Pipeline, model: &str, capacity: u32) -> AiWorkerPlan {
        let key = ModelKey::new(pipeline, model);
        self.models.push(ModelOffer { key, capacity, warm: true, version: "0.14.1".into() });
        self
    }

    /// With the nine pipelines that go by this road, of one model's name.
    pub fn with_all(self, model: &str, capacity: u32) -> AiWorkerPlan {
        let stock = Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.by_worker());
        stock.fold(self, |plan, pipeline| plan.with(pipeline, model, capacity))
    }
}

// === impl SimAiWorker ===

impl SimAiWorker {
    /// Registers at `pool`, and again whenever a registration ends, as a stock worker would.
    pub fn start(pool: SocketAddr, plan: AiWorkerPlan) -> io::Result<SimAiWorker> {
        let dialer = Dialer::new()?;
        let shared = Arc::new(Shared {
            downloads: Downloads::new(dialer.clone()),
            behaviour: Mutex::new(plan.behaviour.clone()),
            chance: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            counters: Mutex::default(),
            used: Mutex::default(),
            tasks: Tasks::default(),
            dialer,
            pool,
            plan,
        });
        shared.tasks.spawn(super::worker::register::live(shared.clone()));
        Ok(SimAiWorker { shared })
    }

    pub fn plan(&self) -> &AiWorkerPlan {
        &self.shared.plan
    }

    pub fn counters(&self) -> AiWorkerCounters {
        self.shared.counters.lock().clone()
    }

    /// From the next job on.
    pub fn behave(&self, behaviour: AiBehaviour) {
        *self.shared.behaviour.lock() = behaviour;
    }

    /// Ends at once; connections are cut.
    pub async fn stop(&self) {
        self.shared.tasks.end();
        self.shared.tasks.idle().await;
    }
}

impl Drop for SimAiWorker {
    fn drop(&mut self) {
        self.shared.tasks.end();
    }
}

// === impl Shared ===

impl Shared {
    fn rolls(&self, rate: f64) -> bool {
        self.chance.lock().random::<f64>() < rate
    }

    fn behaviour(&self) -> AiBehaviour {
        self.behaviour.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut AiWorkerCounters)) {
        change(&mut self.counters.lock());
    }

    /// How long a job of that size takes now.
    fn time(&self, size: f64) -> Duration {
        let factor = match *self.behaviour.lock() {
            AiBehaviour::Slow { factor } => factor,
            _ => 1.0,
        };
        let spread = self.chance.lock().random_range(0.9..1.1);
        Duration::from_secs_f64((self.plan.speed * size * factor * spread).clamp(0.0, 3600.0))
    }
}
