//! The AI side of a simulated orchestrator: what go-livepeer demands of AI workers, runners and capabilities.
mod counters;
pub(super) mod job;
mod multipart;
mod register;
mod results;
mod rules;
pub(super) mod shapes;
pub(super) mod stream;
pub(super) mod units;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use counters::AiCounters;
pub use rules::StandingWorker;

use super::ai_client::{Byoc, Client, LiveRunners, Runners};
use super::orchestrator::listen::{Body, text};
use super::orchestrator::rules::{Ending, Word};
use super::tasks::Tasks;
use super::trickle::{self, Trickle};
use crate::domain::ai::Pipeline;
use counters::Counters;
use results::Outcome;
use rules::Registry;

/// Its AI rules; `stock` has the real ones.
#[derive(Clone, Debug)]
pub struct AiPlan {
    /// Its own version: an AI worker's must reach it.
    pub version: String,
    /// A job's, from notice to result; the whole worker is dropped after it.
    pub budget: Duration,
    /// From a job's start: input and files are gone after it.
    pub storage: Duration,
    /// A streamed result's.
    pub stream: Duration,
    /// A trickle channel without a new segment.
    pub trickle_idle: Duration,
    /// Waiting for a runner of `aiModels.json` at start: all tries, one try, between tries.
    pub ready: Duration,
    pub ready_try: Duration,
    pub ready_every: Duration,
    /// Static live runners' health.
    pub health_every: Duration,
    pub health_timeout: Duration,
    /// Dynamic live runners.
    pub heartbeat_every: Duration,
    pub heartbeat_ttl: Duration,
    /// Keepalives to them.
    pub keepalive: Duration,
}

/// What became of one AI job.
#[derive(Clone, Debug, PartialEq)]
pub enum AiFate {
    /// As the gateway gets it; `files` are what its urls lead to, in their order.
    Delivered { json: Value, files: Vec<AiFile>, units: u64 },
    /// Charged at its start. `ended`: its last chunk had a finish reason.
    Stream { chunks: Vec<AiChunk>, ended: bool, units: u64 },
    /// The text that the gateway gets with a 500.
    Error(String),
    /// No answer within the budget: that worker was dropped.
    Late,
    /// `insufficient capacity`, or nobody with it.
    NoWorker,
    /// The request's handler panicked.
    Panicked(String),
}

/// A file of an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct AiFile {
    pub name: String,
    pub body: Bytes,
}

/// A chunk of a streamed answer, and when it was there.
#[derive(Clone, Debug, PartialEq)]
pub struct AiChunk {
    pub json: Value,
    pub at: Instant,
}

/// The AI side; a part of its orchestrator.
pub struct Ai {
    pub(super) plan: AiPlan,
    pub(super) secret: String,
    pub(super) address: SocketAddr,
    registry: Mutex<Registry>,
    /// Jobs in flight.
    pending: Mutex<HashMap<i64, oneshot::Sender<Outcome>>>,
    /// Inputs by their path.
    inputs: Mutex<HashMap<String, Bytes>>,
    pub(super) counters: Counters,
    next_task: AtomicI64,
    pub(super) tasks: Tasks,
    pub(super) client: Client,
    pub(super) trickle: Trickle,
    pub(super) runners: Runners,
    pub(super) byoc: Byoc,
    pub(super) live: LiveRunners,
}

const REGISTER: &str = "/net.AIWorker/RegisterAIWorker";
const RESULTS: &str = "/aiResults";
const TRICKLE: &str = "/ai/trickle/";

// === impl AiPlan ===

impl AiPlan {
    /// go-livepeer's own times.
    pub fn stock() -> AiPlan {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        AiPlan {
            version: "0.9.1".into(),
            budget: 15 * minute,
            storage: 10 * minute,
            stream: 10 * minute,
            trickle_idle: 5 * minute,
            ready: 2 * minute,
            ready_try: 5 * second,
            ready_every: second / 2,
            health_every: 5 * second,
            health_timeout: 3 * second,
            heartbeat_every: 5 * second,
            heartbeat_ttl: 20 * second,
            keepalive: 10 * second,
        }
    }
}

// === impl Ai ===

impl Ai {
    pub(super) fn start(plan: AiPlan, secret: &str, address: SocketAddr, tasks: &Tasks) -> io::Result<Arc<Ai>> {
        let ai = Arc::new(Ai {
            trickle: Trickle::start(plan.trickle_idle, tasks),
            client: Client::new(tasks)?,
            secret: secret.to_owned(),
            address,
            registry: Mutex::default(),
            pending: Mutex::default(),
            inputs: Mutex::default(),
            counters: Counters::default(),
            next_task: AtomicI64::new(0),
            tasks: tasks.clone(),
            runners: Runners::default(),
            byoc: Byoc::default(),
            live: LiveRunners::default(),
            plan,
        });
        ai.watch_live_runners();
        Ok(ai)
    }

    /// A job for a remote AI worker. `model` goes into the request; `file` is its image or audio.
    pub async fn submit(&self, pipeline: Pipeline, model: &str, request: Value, file: Option<Bytes>) -> AiFate {
        job::run(self, pipeline, model, request, file).await
    }

    pub fn counters(&self) -> AiCounters {
        self.counters.read()
    }

    /// Registrations that stand, with the capacity that is left.
    pub fn workers(&self) -> Vec<StandingWorker> {
        self.registry.lock().standing()
    }

    /// Ends every AI worker's registration, in this way.
    pub async fn end_workers(&self, how: Ending) {
        let all = self.registry.lock().take_all();
        for orders in all {
            let _ = orders.send(Word::End(how)).await;
        }
    }

    /// Its trickle channels.
    pub fn trickle(&self) -> &Trickle {
        &self.trickle
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(super) fn registers<B>(&self, request: &Request<B>) -> bool {
        request.uri().path() == REGISTER
    }

    pub(super) async fn register(self: &Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        register::answer(self.clone(), request, peer).await
    }

    /// Whether a path of the service port belongs to this side.
    pub(super) fn serves(&self, path: &str) -> bool {
        const ROOTS: [&str; 6] = [TRICKLE, "/capability/", "/runners/", "/runner/", "/apps/", "/discovery"];
        path == RESULTS || ROOTS.iter().any(|root| path.starts_with(root))
    }

    /// An error cuts the request off, as a panic in a Go handler does.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            RESULTS => Ok(results::answer(self, request).await),
            path if path.starts_with(TRICKLE) => {
                Ok(trickle::answer(&self.trickle, &path[TRICKLE.len()..], request).await)
            }
            path if path.starts_with("/capability/") => self.capability(request).await,
            _ => Ok(self.live_runner(request).await),
        }
    }

    /// A job's input, while its storage is open.
    pub(super) fn file(&self, path: &str) -> Option<Bytes> {
        if !path.ends_with(".tempfile") {
            return None;
        }
        let found = self.inputs.lock().get(path).cloned();
        let counter = if found.is_some() { &self.counters.downloads } else { &self.counters.refused_downloads };
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        found
    }
}

// === impl AiFile ===

impl std::fmt::Debug for AiFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.body.len())
    }
}

/// JSON with go-livepeer's usual header.
pub(super) fn json_answer(status: StatusCode, json: &Value) -> Response<Body> {
    let mut response = text(status, "");
    *response.body_mut() = super::orchestrator::listen::full(json.to_string().into());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// Text as Go's `http.Error` writes it.
pub(super) fn error_answer(status: StatusCode, words: &str) -> Response<Body> {
    let mut response = text(status, "");
    *response.body_mut() = super::orchestrator::listen::full(format!("{words}\n").into());
    response
}

/// Eight hex digits, as a manifest id.
pub(super) fn random_id() -> String {
    format!("{:08x}", rand::random::<u32>())
}
