//! Settings of the runner plane: its port, and the runners behind it.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::live::LiveConfig;
use super::public::{ByocConfig, PublicTimes};
use super::runners::{CareConfig, RunnerWorker};
use crate::domain::ids::OrchestratorName;

#[derive(Clone)]
pub struct RunnerConfig {
    pub listen: SocketAddr,
    /// PEM files; None: plain HTTP. Orchestrators verify certificates here.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What callers must show as bearer token; None: anybody who can reach the port may ask.
    pub token: Option<Arc<str>>,
    /// Threads that carry connections; each has its own upstream connections.
    pub threads: usize,
    pub limits: RunnerLimits,
}

/// What a caller may cost, and how long a runner may take.
#[derive(Clone, Debug)]
pub struct RunnerLimits {
    pub connections: usize,
    pub tls_handshake: Duration,
    /// From the first byte of a request's head to its last.
    pub head_within: Duration,
    pub head_fields: usize,
    /// A connection between two requests.
    pub keep_alive: Duration,
    /// The longest wait between two reads of a request's body.
    pub body_gap: Duration,
    /// A JSON request, read whole before it is routed.
    pub most_json_bytes: usize,
    /// A form, streamed, or spooled to a file before it is routed.
    pub most_form_bytes: u64,
    /// A form that is read whole before it is routed, or sent on after it was spooled.
    pub most_form_in_memory: usize,
    /// All bodies that are held whole, together.
    pub most_held_bytes: usize,
    /// Any other body; streamed.
    pub most_body_bytes: u64,
    pub connect_within: Duration,
    /// The longest silence of a runner, its first byte included, where a [`super::Forward`] does
    /// not say otherwise.
    pub silence: Duration,
    pub upstream_idle: Duration,
    /// Runners asked for one request.
    pub tries: u32,
}

/// The whole plane.
#[derive(Clone, Debug, Default)]
pub struct PlaneConfig {
    /// None: no port.
    pub port: Option<RunnerConfig>,
    /// Whose requests come by the port; None: the first orchestrator's.
    pub orchestrator: Option<OrchestratorName>,
    /// A request waits so long for a free worker.
    pub wait: Wait,
    pub care: CareConfig,
    pub runners: Vec<RunnerWorker>,
    /// `http(s)://host:port` under which others reach the port. None: nothing is registered at orchestrators,
    /// and workers of live video are given the port's own address.
    pub public_url: Option<String>,
    /// Capabilities that are registered at every orchestrator.
    pub byoc: Vec<ByocConfig>,
    /// Apps that orchestrators know as live runners.
    pub apps: Vec<LiveConfig>,
    pub times: PublicTimes,
    /// Whether runners that beat to us may live at private addresses.
    pub private_runners: bool,
    pub live: LiveLimits,
}

/// Live video through the port.
#[derive(Clone, Debug)]
pub struct LiveLimits {
    /// Live videos at once.
    pub jobs: usize,
    /// Trickle requests of one of them that are open at once.
    pub open: usize,
    /// A runner has answered the start of a job by then.
    pub start_within: Duration,
    /// A worker that sends nothing for so long is lost. Gateways end a job without events for 30 s,
    /// and its next worker has to begin before that; control messages come every 10 s.
    pub quiet: Duration,
    /// A lost worker has a successor by then, or the job ends.
    pub succeed_within: Duration,
    /// Workers of one job, one after the other.
    pub workers: u32,
}

/// How long a request waits for a free worker.
#[derive(Clone, Copy, Debug)]
pub struct Wait(pub Duration);

// === impl Wait ===

impl Default for Wait {
    fn default() -> Self {
        Wait(Duration::from_secs(10))
    }
}

// === impl LiveLimits ===

impl Default for LiveLimits {
    fn default() -> Self {
        LiveLimits {
            jobs: 256,
            open: 32,
            start_within: Duration::from_secs(20),
            quiet: Duration::from_secs(15),
            succeed_within: Duration::from_secs(25),
            workers: 32,
        }
    }
}

// === impl RunnerConfig ===

impl Default for RunnerConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        RunnerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8946)),
            tls: None,
            token: None,
            threads: processors.min(4),
            limits: RunnerLimits::default(),
        }
    }
}

impl fmt::Debug for RunnerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerConfig")
            .field("listen", &self.listen)
            .field("tls", &self.tls)
            .field("token", &self.token.as_ref().map(|_| "masked"))
            .field("threads", &self.threads)
            .field("limits", &self.limits)
            .finish()
    }
}

// === impl RunnerLimits ===

impl Default for RunnerLimits {
    fn default() -> Self {
        RunnerLimits {
            connections: 4_096,
            tls_handshake: Duration::from_secs(5),
            head_within: Duration::from_secs(10),
            head_fields: 64,
            keep_alive: Duration::from_secs(75),
            body_gap: Duration::from_secs(15),
            most_json_bytes: 8 << 20,
            most_form_bytes: 300 << 20,
            most_form_in_memory: 64 << 20,
            most_held_bytes: 512 << 20,
            most_body_bytes: 512 << 20,
            connect_within: Duration::from_secs(5),
            silence: Duration::from_secs(15 * 60),
            upstream_idle: Duration::from_secs(60),
            tries: 4,
        }
    }
}
