//! Starts the plane: a keeper for every runner, and the port with the pool's doorman.
use std::net::SocketAddr;
use std::sync::Arc;

use super::agent;
use super::config::PlaneConfig;
use super::doorman::{DoorConfig, PoolDoorman};
use super::listen::{OpenError, RunnerPort, open};
use super::runners::{Runner, Runners};
use crate::domain::ids::OrchestratorName;
use crate::pool::Pool;
use crate::telemetry;
use crate::transport::Tasks;

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
            let doorman = PoolDoorman::new(pool, runners.clone(), door, keepers.clone());
            Some(open(port, Arc::new(doorman), doors).await?)
        }
    };
    Ok(Plane { runners, port })
}

// === impl Plane ===

impl Plane {
    /// Where the port listens; None: there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.as_ref().map(|port| port.address)
    }
}
