//! The configuration as meant: typed, with defaults filled in, secrets read.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::planes::admin::config::AdminConfig;
use crate::planes::runner::PlaneConfig;
use crate::planes::uplink::config::{OrchestratorConfig, UplinkConfig};
use crate::planes::worker::config::WorkerConfig;
use crate::pool::Rules;
use crate::transport::limits::EdgeLimits;

#[derive(Clone)]
pub struct Settings {
    pub pool_name: String,
    /// Folder of ledger, roster, journal and the self-signed certificate.
    pub data: PathBuf,
    pub rules: Rules,
    pub worker: WorkerConfig,
    pub edge: EdgeLimits,
    pub orchestrators: Vec<OrchestratorConfig>,
    pub uplink: UplinkConfig,
    /// AI over HTTP.
    pub runner: PlaneConfig,
    pub admin: AdminConfig,
    /// The one secret of the shared mode.
    pub shared_secret: Option<String>,
    pub journal: JournalConfig,
    /// A tracing filter: `info`, `openpool_proxy=debug`.
    pub log: String,
    /// How long SIGTERM waits for running jobs.
    pub drain: Duration,
}

/// How long decisions are kept for `explain`.
#[derive(Clone, Copy, Debug)]
pub struct JournalConfig {
    pub keep_days: u32,
    pub keep_jobs: u64,
}

// === impl Settings ===

/// Without the shared secret; orchestrators mask their own.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("pool_name", &self.pool_name)
            .field("data", &self.data)
            .field("rules", &self.rules)
            .field("worker", &self.worker)
            .field("edge", &self.edge)
            .field("orchestrators", &self.orchestrators)
            .field("uplink", &self.uplink)
            .field("runner", &self.runner)
            .field("admin", &self.admin)
            .field("shared_secret", &self.shared_secret.as_ref().map(|_| "masked"))
            .field("journal", &self.journal)
            .field("log", &self.log)
            .field("drain", &self.drain)
            .finish()
    }
}

// === impl JournalConfig ===

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig { keep_days: 14, keep_jobs: 1_000_000 }
    }
}
