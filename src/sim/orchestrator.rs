//! A simulated orchestrator that keeps go-livepeer's rules: what it forgives, and what it does not.
mod counters;
pub(super) mod listen;
pub(super) mod register;
mod results;
pub(super) mod rules;
mod segment;
mod traffic;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use counters::OrchestratorCounters;
pub use rules::Ending;

use super::ai_orchestrator::{Ai, AiFate, AiPlan};
use super::library::Library;
use super::tasks::Tasks;
use super::tls;
use crate::domain::ai::Pipeline;
use counters::Counters;
use results::Outcome;
use rules::{Registry, Word};

/// What it shall do.
#[derive(Clone, Debug)]
pub struct OrchestratorPlan {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    pub secret: String,
    pub traffic: Traffic,
    /// Duration of one segment.
    pub segment: Duration,
    pub seed: u64,
    /// A task's budget is the larger of `least_budget` and `budget_factor` times its duration.
    pub least_budget: Duration,
    pub budget_factor: f64,
    /// `constraints.minVersion` of its segments.
    pub min_version: String,
    /// Segments after which a stream ends its session and begins a new one.
    pub session_length: Option<u64>,
    pub library: Library,
    pub check: Check,
    /// Its AI side.
    pub ai: AiPlan,
}

/// Where its segments come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Traffic {
    /// Only what `submit` asks for.
    None,
    /// Sessions that each submit a segment every segment duration.
    Streams(usize),
    /// Sessions that submit the next segment when the last is answered.
    Closed { sessions: usize },
    /// Segments at a fixed rate, whatever becomes of them.
    Open { per_second: f64, sessions: usize },
}

/// How a delivered result is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// To the byte the library's renditions.
    Bytes,
    /// Really transcoded: width, height and pixels as counted.
    Counted,
}

/// What became of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    /// An error result with this text.
    Error(String),
    /// No answer within the budget: that registration was dropped.
    Late,
    NoTranscoder,
}

/// A running orchestrator; dropping it stops it.
pub struct SimOrchestrator {
    shared: Arc<Shared>,
}

struct Shared {
    plan: OrchestratorPlan,
    address: SocketAddr,
    registry: Mutex<Registry>,
    /// Tasks in flight.
    pending: Mutex<HashMap<i64, oneshot::Sender<Outcome>>>,
    /// The last files of each session.
    files: Mutex<HashMap<String, VecDeque<(i64, Bytes)>>>,
    counters: Counters,
    next_task: AtomicI64,
    ai: Arc<Ai>,
    /// No new segments.
    quiet: CancellationToken,
    tasks: Tasks,
    traffic: Tasks,
}

/// Files that are kept of one session.
const FILES: usize = 12;

// === impl OrchestratorPlan ===

impl OrchestratorPlan {
    /// The stock rules on a free port of the loopback, two real seconds a segment.
    pub fn new(secret: &str, traffic: Traffic) -> OrchestratorPlan {
        OrchestratorPlan {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            secret: secret.to_owned(),
            traffic,
            segment: Duration::from_secs(2),
            seed: 1,
            least_budget: Duration::from_secs(8),
            budget_factor: 4.0,
            min_version: String::new(),
            session_length: None,
            library: Library::samples(),
            check: Check::Bytes,
            ai: AiPlan::stock(),
        }
    }

    fn budget(&self) -> Duration {
        self.least_budget.max(self.segment.mul_f64(self.budget_factor))
    }
}

// === impl SimOrchestrator ===

impl SimOrchestrator {
    pub async fn start(plan: OrchestratorPlan) -> io::Result<SimOrchestrator> {
        let tls = tls::server_config()?;
        let listener = TcpListener::bind(plan.listen).await?;
        let tasks = Tasks::default();
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            address,
            ai: Ai::start(plan.ai.clone(), &plan.secret, address, &tasks)?,
            registry: Mutex::default(),
            pending: Mutex::default(),
            files: Mutex::default(),
            counters: Counters::default(),
            next_task: AtomicI64::new(0),
            quiet: CancellationToken::new(),
            traffic: tasks.part(),
            tasks,
            plan,
        });
        shared.tasks.spawn(listen::accept(shared.clone(), listener, tls));
        traffic::start(&shared, shared.plan.traffic);
        Ok(SimOrchestrator { shared })
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.shared.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Its AI side: remote workers, own runners, BYOC, live runners, trickle.
    pub fn ai(&self) -> &Arc<Ai> {
        &self.shared.ai
    }

    /// A job for a remote AI worker: waits for its fate.
    pub async fn submit_ai(&self, pipeline: Pipeline, model: &str, request: Value, file: Option<Bytes>) -> AiFate {
        self.shared.ai.submit(pipeline, model, request, file).await
    }

    pub fn counters(&self) -> OrchestratorCounters {
        self.shared.counters.read()
    }

    /// Response times since the last call, notice written to the result's last byte, in microseconds.
    pub fn take_latencies(&self) -> Vec<u32> {
        self.shared.counters.take_latencies()
    }

    /// Capacities of the registrations that stand.
    pub fn registrations(&self) -> Vec<i64> {
        self.shared.registry.lock().capacities()
    }

    /// Sessions that it would take at most with `-maxSessions auto`.
    pub fn session_limit(&self) -> i64 {
        self.shared.registry.lock().limit()
    }

    /// Adds traffic to that of the plan; for those who wait for registrations first.
    pub fn begin(&self, traffic: Traffic) {
        traffic::start(&self.shared, traffic);
    }

    /// One segment more of a session: waits for its fate.
    pub async fn submit(&self, session: &str, sequence: i64) -> Fate {
        segment::run(&self.shared, session, sequence, sequence.unsigned_abs() as usize).await
    }

    /// Ends a session by the teardown notice.
    pub async fn end_session(&self, session: &str) {
        segment::end_session(&self.shared, session).await;
    }

    /// Ends every registration that stands, in this way.
    pub async fn end_registrations(&self, how: Ending) {
        let all = self.shared.registry.lock().take_all();
        for orders in all {
            let _ = orders.send(Word::End(how)).await;
        }
    }

    /// No new segments; returns when each that was sent has its answer or its budget is over.
    pub async fn quiesce(&self) {
        self.shared.quiet.cancel();
        self.shared.traffic.idle().await;
    }

    /// Ends at once; connections are cut.
    pub async fn stop(&self) {
        self.shared.quiet.cancel();
        self.shared.tasks.end();
        self.shared.traffic.idle().await;
        self.shared.tasks.idle().await;
    }
}

impl Drop for SimOrchestrator {
    fn drop(&mut self) {
        self.shared.quiet.cancel();
        self.shared.tasks.end();
    }
}
