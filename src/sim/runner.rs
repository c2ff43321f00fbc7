//! A simulated AI runner: plain HTTP as ai-runner containers, BYOC servers and live apps speak it.
mod apps;
mod body;
mod byoc;
mod counters;
mod form;
mod listen;
mod live;
mod pipelines;
mod request;
mod tls;
mod trickle;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::ai_content::Usage;
use super::tasks::Tasks;
use super::tls::Dialer;
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};

pub use counters::RunnerCounters;
pub use tls::RunnerTls;

/// What it is and does.
#[derive(Clone, Debug)]
pub struct RunnerPlan {
    pub name: String,
    /// The first of a pipeline is its own: requests without a model get it.
    pub models: Vec<ModelOffer>,
    /// BYOC capabilities by name; with apps beside them, only below their names.
    pub capabilities: Vec<String>,
    /// Every other path is an app's.
    pub apps: bool,
    /// Demanded of every request for work.
    pub token: Option<String>,
    pub tls: RunnerTls,
    /// Seconds for a job of usual size.
    pub speed: f64,
    pub behaviour: RunnerBehaviour,
    pub stream: StreamPlan,
    pub live: LivePlan,
    /// What `/health` says: OK, IDLE, LOADING or ERROR.
    pub health: String,
    pub version: String,
    /// How long a hanging request hangs; the caller leaves earlier.
    pub hang: Duration,
    /// Bytes of an oversized answer.
    pub oversize: usize,
    pub seed: u64,
}

/// How streams of events come.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// At most; an answer has no more than one a word.
    pub chunks: usize,
    pub gap: Duration,
    pub usage: Usage,
    /// Whether `[DONE]` ends it.
    pub done: bool,
}

/// How live video is worked on.
#[derive(Clone, Debug)]
pub struct LivePlan {
    /// Put behind each segment on its way back.
    pub append: Bytes,
    pub events: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RunnerBehaviour {
    Honest,
    /// Answers this share with an error of that status.
    Fails {
        rate: f64,
        status: u16,
    },
    Slow {
        factor: f64,
    },
    /// Cuts the connection of this share.
    Dies {
        when: Death,
        rate: f64,
    },
    /// Says JSON and sends noise.
    Garbage,
    /// A 200 of another type.
    NotJson,
    /// Good JSON, far too long.
    Oversize,
    /// llm without choices, images without images.
    EmptyChoices,
    Hangs {
        rate: f64,
    },
    Busy503,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// No byte of an answer.
    Before,
    /// The head, nothing of the body.
    Within,
    /// Something of the body.
    After,
}

/// A running runner; dropping it stops it.
pub struct SimRunner {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// What belongs to the present start.
    running: Mutex<Tasks>,
}

struct Shared {
    plan: RunnerPlan,
    behaviour: Mutex<RunnerBehaviour>,
    health: Mutex<String>,
    tls: Option<tls::Pair>,
    dialer: Dialer,
    chance: Mutex<SmallRng>,
    counters: counters::Counters,
    /// BYOC streams by their id.
    streams: Mutex<HashMap<String, CancellationToken>>,
}

// === impl RunnerPlan ===

impl RunnerPlan {
    /// Honest, quick, without models, token and TLS.
    pub fn new(name: &str) -> RunnerPlan {
        RunnerPlan {
            name: name.to_owned(),
            models: Vec::new(),
            capabilities: Vec::new(),
            apps: false,
            token: None,
            tls: RunnerTls::Plain,
            speed: 0.02,
            behaviour: RunnerBehaviour::Honest,
            stream: StreamPlan::default(),
            live: LivePlan { append: Bytes::new(), events: Duration::from_secs(2) },
            health: "OK".into(),
            version: "0.14.1".into(),
            hang: Duration::from_secs(600),
            oversize: 64 << 20,
            seed: 1,
        }
    }

    /// With one model of that capacity more.
    pub fn with(mut self, pipeline: Pipeline, model: &str, capacity: u32) -> RunnerPlan {
        let version = self.version.clone();
        self.models.push(ModelOffer { key: ModelKey::new(pipeline, model), capacity, warm: true, version });
        self
    }

    /// With all ten pipelines of one model's name.
    pub fn with_all(self, model: &str, capacity: u32) -> RunnerPlan {
        Pipeline::STOCK.into_iter().fold(self, |plan, pipeline| plan.with(pipeline, model, capacity))
    }
}

impl Default for StreamPlan {
    fn default() -> StreamPlan {
        StreamPlan { chunks: 1000, gap: Duration::from_millis(5), usage: Usage::After, done: true }
    }
}

// === impl SimRunner ===

impl SimRunner {
    /// On a free port of loopback; inside a runtime.
    pub fn start(plan: RunnerPlan) -> io::Result<SimRunner> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(plan.behaviour),
            health: Mutex::new(plan.health.clone()),
            tls: tls::Pair::of(&plan.tls)?,
            dialer: Dialer::new()?,
            chance: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            plan,
            counters: counters::Counters::default(),
            streams: Mutex::default(),
        });
        let running = listen::start(&shared, listener)?;
        Ok(SimRunner { shared, address, running: Mutex::new(running) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port` or `https://...`
    pub fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Its certificate in DER, when it speaks TLS.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.shared.tls.as_ref().map(|pair| pair.certificate.clone())
    }

    pub fn plan(&self) -> &RunnerPlan {
        &self.shared.plan
    }

    pub fn counters(&self) -> RunnerCounters {
        self.shared.counters.read()
    }

    /// From the next request on.
    pub fn behave(&self, behaviour: RunnerBehaviour) {
        *self.shared.behaviour.lock() = behaviour;
    }

    /// What `/health` says from now on.
    pub fn set_health(&self, word: &str) {
        word.clone_into(&mut self.shared.health.lock());
    }

    /// Ends at once: connections are cut, the port refuses.
    pub async fn stop(&self) {
        let running = self.running.lock().clone();
        running.end();
        running.idle().await;
        self.shared.streams.lock().clear();
    }

    /// Again on the same port.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address)?;
        *self.running.lock() = listen::start(&self.shared, listener)?;
        Ok(())
    }
}

impl Drop for SimRunner {
    fn drop(&mut self) {
        self.running.lock().end();
    }
}

// === impl Shared ===

impl Shared {
    fn rolls(&self, rate: f64) -> bool {
        self.chance.lock().random::<f64>() < rate
    }

    fn behaviour(&self) -> RunnerBehaviour {
        *self.behaviour.lock()
    }

    /// How long a job of that size takes now.
    fn time(&self, size: f64) -> Duration {
        let factor = match self.behaviour() {
            RunnerBehaviour::Slow { factor } => factor,
            _ => 1.0,
        };
        let spread = self.chance.lock().random_range(0.9..1.1);
        Duration::from_secs_f64((self.plan.speed * size * factor * spread).clamp(0.0, 3600.0))
    }
}
