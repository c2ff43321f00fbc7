//! We look like one large worker: register at orchestrators, fetch sources, forward results.
mod ai;
mod backoff;
pub mod config;
mod epoch;
mod fetch;
mod forward;
mod job;
mod multipart;
mod notice;
mod post;
pub mod probe;
mod registrar;
mod registration;
mod slot;
pub mod status;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use crate::pool::Pool;
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::h1::Idle;
use crate::transport::client::hosts::SegmentHosts;
use crate::transport::client::{DialError, Dialer, Origin};
use config::{OrchestratorConfig, UplinkConfig};
use epoch::Epochs;
use registration::Kind;
use status::{OrchestratorStatus, Status};

/// Error results that are on their way at once, and those that wait for their turn; beyond that
/// we read no more notices.
const ERROR_POSTS: usize = 32;
const ERRORS_WAITING: usize = 4096;
/// Streamed answers of one orchestrator at once.
const STREAMS: usize = 1024;
/// Recordings of one orchestrator that are measured at once: each reads its whole file.
const RECORDINGS: usize = 2;
/// Idle source connections kept, and the age at which an idle connection is not trusted any more
/// (an orchestrator closes its own after 10 min).
const IDLE_SOURCES: usize = 16;
const IDLE_AGE: Duration = Duration::from_secs(90);

/// All orchestrators. Cheap to clone.
#[derive(Clone)]
pub struct Uplinks {
    all: Arc<[Arc<Uplink>]>,
}

/// One orchestrator, as its tasks share it.
struct Uplink {
    pool: Pool,
    tasks: Tasks,
    config: UplinkConfig,
    orchestrator: OrchestratorConfig,
    origin: Origin,
    hosts: SegmentHosts,
    dialer: Dialer,
    epochs: Epochs,
    status: Status,
    /// Which version AI registrations state: rises when one is refused.
    version_step: AtomicU8,
    /// They register one after another.
    turn: Mutex<()>,
    results: Idle,
    sources: Idle,
    result_posts: Semaphore,
    /// AI answers have connections of their own: a film must not hold up segments.
    ai_posts: Semaphore,
    /// Streams last for minutes.
    stream_posts: Semaphore,
    /// Recordings that are being measured.
    recordings: Semaphore,
    error_posts: Semaphore,
    errors_waiting: Arc<Semaphore>,
}

/// Registers at every orchestrator and serves them until the tasks are told to end.
pub fn start(pool: Pool, config: UplinkConfig, orchestrators: Vec<OrchestratorConfig>, tasks: Tasks) -> Uplinks {
    let mut all = Vec::new();
    for orchestrator in orchestrators {
        let name = orchestrator.name.clone();
        match Uplink::new(pool.clone(), config.clone(), orchestrator, tasks.clone()) {
            Ok(uplink) => {
                let uplink = Arc::new(uplink);
                tasks.spawn("registrar", registrar::run(uplink.clone(), Kind::Transcoder));
                tasks.spawn("registrar", registrar::run(uplink.clone(), Kind::Ai));
                all.push(uplink);
            }
            Err(why) => telemetry::uplink_impossible(&name, &why),
        }
    }
    Uplinks { all: all.into() }
}

// === impl Uplinks ===

impl Uplinks {
    pub fn status(&self) -> Vec<OrchestratorStatus> {
        self.all.iter().map(|uplink| uplink.status()).collect()
    }
}

// === impl Uplink ===

impl Uplink {
    fn new(pool: Pool, config: UplinkConfig, orchestrator: OrchestratorConfig, tasks: Tasks) -> Result<Uplink, String> {
        let origin = Origin::of(&orchestrator.url).map_err(|why: DialError| why.to_string())?;
        let dialer = Dialer::new(config.connect_timeout).map_err(|why| why.to_string())?;
        let hosts = SegmentHosts::new(&origin, &orchestrator.segment_hosts, orchestrator.private_segment_hosts);
        Ok(Uplink {
            epochs: Epochs::new(),
            status: Status::default(),
            version_step: AtomicU8::new(0),
            turn: Mutex::new(()),
            results: Idle::new(2 * config.result_connections + ERROR_POSTS, IDLE_AGE),
            sources: Idle::new(IDLE_SOURCES, IDLE_AGE),
            result_posts: Semaphore::new(config.result_connections),
            ai_posts: Semaphore::new(config.result_connections),
            stream_posts: Semaphore::new(STREAMS),
            recordings: Semaphore::new(RECORDINGS),
            error_posts: Semaphore::new(ERROR_POSTS),
            errors_waiting: Arc::new(Semaphore::new(ERRORS_WAITING)),
            pool,
            tasks,
            config,
            orchestrator,
            origin,
            hosts,
            dialer,
        })
    }

    fn name(&self) -> &crate::domain::ids::OrchestratorName {
        &self.orchestrator.name
    }

    /// A handshake showed who answers there now.
    fn saw(&self, certificate: Option<crate::transport::client::Fingerprint>) -> crate::domain::ids::Epoch {
        let (epoch, restarted) = self.epochs.certificate(certificate);
        if restarted {
            self.new_epoch(&epoch);
        }
        epoch
    }

    fn new_epoch(&self, epoch: &crate::domain::ids::Epoch) {
        telemetry::orchestrator_restarted(self.name());
        self.results.clear();
        self.sources.clear();
        self.pool.epoch(self.name(), epoch);
    }

    fn status(&self) -> OrchestratorStatus {
        self.status.show(&self.orchestrator, self.epochs.current().to_string())
    }
}
