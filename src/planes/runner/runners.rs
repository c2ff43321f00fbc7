//! The HTTP runners that we dial: what the configuration says of each, and how it is reached.
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::{Mutex, RwLock};

use super::config::RunnerLimits;
use super::door::{Trust, Upstream};
use crate::domain::ai::ModelOffer;
use crate::domain::ids::{Address, WorkerName};
use crate::pool::{Mode, Worker};
use crate::transport::client::h1::Idle;
use crate::transport::client::{self, Dialer, Origin};

/// An HTTP runner: an ai-runner container, a BYOC server, an app.
#[derive(Clone)]
pub struct RunnerWorker {
    pub name: WorkerName,
    /// `http://host:port` or `https://host:port`, with a path where it lives below one.
    pub url: Uri,
    /// Its bearer token.
    pub token: Option<Arc<str>>,
    /// Where its share is paid.
    pub address: Option<Address>,
    pub region: Option<String>,
    /// SHA-256 of its certificate; None: an authority of this system must have signed it.
    pub pin: Option<[u8; 32]>,
    /// Path of its health, below `url`; empty: nobody asks, it is well while it is seated.
    pub health: String,
    pub models: Vec<ModelOffer>,
}

/// How runners are looked after.
#[derive(Clone, Debug)]
pub struct CareConfig {
    pub health_every: Duration,
    pub health_timeout: Duration,
    /// So many misses in a row put a runner out.
    pub misses: u32,
    pub connect_timeout: Duration,
    /// The longest silence of a runner while it works.
    pub silence: Duration,
    /// A JSON answer, its files included, may be so large.
    pub most_answer: u64,
}

/// A runner as its tasks and the port share it.
pub struct Runner {
    pub config: RunnerWorker,
    pub worker: Worker,
    pub origin: Origin,
    /// Of `url`, without a slash at its end.
    pub base: String,
    /// Its address must be one of the open internet: a worker named it.
    pub(super) public_only: bool,
    pub(super) dialer: Dialer,
    pub(super) idle: Idle,
    /// Where the port's own connections go; None before it was well for the first time.
    upstream: Mutex<Option<Arc<Upstream>>>,
}

/// Every runner that is known, by its name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Runners {
    all: Arc<RwLock<HashMap<WorkerName, Arc<Runner>>>>,
}

/// Idle connections kept to one runner, and for how long.
const IDLE: usize = 16;
const IDLE_AGE: Duration = Duration::from_secs(30);

// === impl CareConfig ===

impl Default for CareConfig {
    fn default() -> Self {
        CareConfig {
            health_every: Duration::from_secs(5),
            health_timeout: Duration::from_secs(5),
            misses: 3,
            connect_timeout: Duration::from_secs(5),
            silence: Duration::from_secs(600),
            most_answer: 512 << 20,
        }
    }
}

// === impl Runner ===

impl Runner {
    pub fn new(config: RunnerWorker, connect_timeout: Duration) -> Result<Runner, String> {
        let origin = Origin::of(&config.url).map_err(|why| why.to_string())?;
        let trust = config.pin.map_or(client::Trust::System, client::Trust::Pinned);
        let dialer = Dialer::trusting(trust, connect_timeout).map_err(|why| why.to_string())?;
        let worker = Worker { name: config.name.clone(), address: config.address, mode: Mode::Runner, token: None };
        let base = config.url.path().trim_end_matches('/').to_owned();
        let idle = Idle::new(IDLE, IDLE_AGE);
        Ok(Runner { origin, base, public_only: false, dialer, idle, upstream: Mutex::new(None), worker, config })
    }

    pub(super) fn upstream(&self) -> Option<Arc<Upstream>> {
        self.upstream.lock().clone()
    }

    /// Its name leads to this address now.
    pub(super) fn found_at(&self, address: SocketAddr, limits: &RunnerLimits) {
        let trust = match (self.origin.tls, self.config.pin) {
            (false, _) => Trust::Plain,
            (true, None) => Trust::Name(self.origin.host.to_string()),
            (true, Some(sha256)) => Trust::Pin { name: self.origin.host.to_string(), sha256 },
        };
        *self.upstream.lock() = Some(Arc::new(Upstream::new(address, &self.origin.authority(), trust, limits)));
    }

    /// Path and query of `rest` exactly as it stands below its address.
    pub fn below(&self, rest: &str) -> String {
        match (self.base.as_str(), rest) {
            ("", "") => "/".to_owned(),
            (base, "") => base.to_owned(),
            ("", rest) if rest.starts_with('?') => format!("/{rest}"),
            (base, rest) if rest.starts_with('?') => format!("{base}{rest}"),
            (base, rest) => format!("{base}/{rest}"),
        }
    }

    /// Path and query of `rest` below its address.
    pub fn path(&self, rest: &str) -> String {
        format!("{}/{}", self.base, rest.trim_start_matches('/'))
    }
}

impl fmt::Debug for RunnerWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerWorker")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "masked"))
            .field("address", &self.address)
            .field("region", &self.region)
            .field("pinned", &self.pin.is_some())
            .field("health", &self.health)
            .field("models", &self.models)
            .finish()
    }
}

// === impl Runners ===

impl Runners {
    pub fn get(&self, name: &WorkerName) -> Option<Arc<Runner>> {
        self.all.read().get(name).cloned()
    }

    pub fn add(&self, runner: Arc<Runner>) {
        self.all.write().insert(runner.worker.name.clone(), runner);
    }

    pub fn remove(&self, name: &WorkerName) {
        self.all.write().remove(name);
    }
}
