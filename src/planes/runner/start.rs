//! Starts the plane: a keeper for every runner, and the port with the pool's doorman.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::agent;
use super::config::PlaneConfig;
use super::doorman::{DoorConfig, LiveConfig, PoolDoorman};
use super::listen::{OpenError, RunnerPort, open};
use super::runners::{Runner, Runners};
use crate::domain::ids::OrchestratorName;
use crate::pool::Pool;
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::Dialer;

/// The plane that runs.
pub struct Plane {
    pub runners: Runners,
    port: Option<RunnerPort>,
}

/// `doors` carries the port, which closes before `keepers`, so that what is under way still has
/// its runners.
pub async fn start(
    pool: Pool,
    config: PlaneConfig,
    first: Option<OrchestratorName>,
    doors: &Tasks,
    keepers: &Tasks,
) -> Result<Plane, OpenError> {
    let runners = Runners::default();
    let limits = config.port.as_ref().map(|port| port.limits.clone()).unwrap_or_default();
    let care = Arc::new(config.care);
    for runner in config.runners {
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
    let port = match config.port {
        None => None,
        Some(port) => {
            let orchestrator = config.orchestrator.or(first).unwrap_or_else(|| OrchestratorName::from("runner port"));
            let door = DoorConfig { orchestrator, wait: config.wait.0, limits };
            let dialer = Dialer::new(care.connect_timeout).map_err(|why| OpenError::Dialer(why.to_string()))?;
            let live = LiveConfig { limits: config.live, dialer, tasks: doors.clone() };
            let doorman = PoolDoorman::new(pool, runners.clone(), door, keepers.clone(), live);
            let secure = port.tls.is_some();
            let opened = open(port, Arc::new(doorman.clone()), doors).await?;
            doorman.reached_at(&config.public_url.unwrap_or_else(|| base(opened.address, secure)));
            Some(opened)
        }
    };
    Ok(Plane { runners, port })
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
