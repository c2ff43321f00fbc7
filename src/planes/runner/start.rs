//! Starts the plane: a keeper for every runner, and the port with the pool's doorman.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::agent;
use super::config::{PlaneConfig, RunnerConfig};
use super::doorman::{DoorConfig, DoorParts, PoolDoorman, VideoParts};
use super::listen::{OpenError, RunnerPort, open};
use super::live::beat;
use super::live::beats::{BeatParts, Beats};
use super::public::presence::Presence;
use super::public::{self, Peer, Public, byoc};
use super::runners::{CareConfig, Runner, Runners};
use crate::domain::ids::OrchestratorName;
use crate::pool::Pool;
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::Dialer;

/// Who asks for a capability or an app has no patience.
const SHORT_WAIT: Duration = Duration::from_secs(2);
/// For the registrars to take back what they told.
const FAREWELL: Duration = Duration::from_secs(3);

/// The plane that runs.
pub struct Plane {
    pub runners: Runners,
    port: Option<RunnerPort>,
}

/// `doors` carries the port, which closes before `keepers`, so that what is under way still has
/// its runners. `peers`: every orchestrator.
pub async fn start(
    pool: Pool,
    config: PlaneConfig,
    peers: Vec<Peer>,
    doors: &Tasks,
    keepers: &Tasks,
) -> Result<Plane, OpenError> {
    let runners = Runners::default();
    let limits = config.port.as_ref().map(|port| port.limits.clone()).unwrap_or_default();
    let care = Arc::new(config.care.clone());
    for runner in config.runners.clone() {
        let name = runner.name.clone();
        match Runner::new(runner, care.connect_timeout) {
            Ok(runner) => {
                let runner = Arc::new(runner);
                runners.add(runner.clone());
                agent::start(runner, pool.clone(), care.clone(), limits.clone(), keepers);
            }
            Err(why) => telemetry::runner_unwell(&name, &why),
        }
    }
    let port = match config.port.clone() {
        None => None,
        Some(port) => Some(open_port(pool, config, port, (runners.clone(), care), peers, doors, keepers).await?),
    };
    Ok(Plane { runners, port })
}

async fn open_port(
    pool: Pool,
    config: PlaneConfig,
    port: RunnerConfig,
    (runners, care): (Runners, Arc<CareConfig>),
    peers: Vec<Peer>,
    doors: &Tasks,
    keepers: &Tasks,
) -> Result<RunnerPort, OpenError> {
    let limits = port.limits.clone();
    let (connect_timeout, secure) = (care.connect_timeout, port.tls.is_some());
    let first = config.orchestrator.clone().or_else(|| peers.first().map(|peer| peer.name.clone()));
    let orchestrator = first.unwrap_or_else(|| OrchestratorName::from("runner port"));
    let url = config.public_url.clone().unwrap_or_default();
    let public = Arc::new(Public::new(public::Parts {
        byoc: config.byoc,
        apps: config.apps.clone(),
        url: url.clone(),
        token: port.token.clone(),
        times: config.times,
        peers,
        first: orchestrator.clone(),
        presence: Presence::start(&pool, keepers),
    }));
    let beats = Beats::start(BeatParts {
        pool: pool.clone(),
        runners: runners.clone(),
        sessions: public.sessions.clone(),
        care,
        limits: limits.clone(),
        apps: config.apps,
        url: url.clone(),
        private: config.private_runners,
        tasks: keepers.clone(),
    });
    let door = DoorConfig { orchestrator, wait: config.wait.0, short_wait: config.wait.0.min(SHORT_WAIT), limits };
    let tasks = keepers.clone();
    let (public_, pool_) = (public.clone(), pool.clone());
    let dialer = Dialer::new(connect_timeout).map_err(|why| OpenError::Dialer(why.to_string()))?;
    let video = VideoParts { limits: config.live, dialer, tasks: doors.clone() };
    let doorman = PoolDoorman::new(DoorParts { pool, runners, config: door, tasks, public, beats, video });
    let (registrars, of_port) = (Tasks::new(), Tasks::new());
    let port = open(port, Arc::new(doorman.clone()), &of_port).await?;
    doorman.watch(&of_port);
    let reached = if url.is_empty() { base(port.address, secure) } else { url.clone() };
    doorman.reached_at(&reached);
    if !url.is_empty() {
        byoc::start(&public_, &registrars);
        beat::start(&public_, &pool_, &registrars);
    }
    doors.spawn("runner port", closing(doors.clone(), registrars, of_port));
    Ok(port)
}

/// At the end the orchestrators are told first, so that none finds the port closed.
async fn closing(doors: Tasks, registrars: Tasks, port: Tasks) {
    doors.token().cancelled().await;
    let cut = doors.cut();
    tokio::select! {
        _ = registrars.close(FAREWELL) => {}
        () = cut.cancelled() => {}
    }
    tokio::select! {
        _ = port.close(Duration::MAX) => {}
        () = cut.cancelled() => {
            port.close(Duration::ZERO).await;
        }
    }
}

/// The port's own address, for who is told no other.
fn base(mut address: SocketAddr, secure: bool) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    format!("{}://{address}", if secure { "https" } else { "http" })
}

// === impl Plane ===

impl Plane {
    /// Where the port listens; None: there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|port| port.address)
    }
}
