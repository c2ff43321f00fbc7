//! The configuration as meant: typed, with defaults filled in, secrets read.
use std::path::PathBuf;
use std::time::Duration;

use crate::planes::admin::config::AdminConfig;
use crate::planes::uplink::config::{OrchestratorConfig, UplinkConfig};
use crate::planes::worker::config::WorkerConfig;
use crate::pool::Rules;
use crate::transport::limits::EdgeLimits;

#[derive(Clone, Debug)]
pub struct Settings {
    pub pool_name: String,
    /// Folder of ledger, roster, journal and the self-signed certificate.
    pub data: PathBuf,
    pub rules: Rules,
    pub worker: WorkerConfig,
    pub edge: EdgeLimits,
    pub orchestrators: Vec<OrchestratorConfig>,
    pub uplink: UplinkConfig,
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

// === impl JournalConfig ===

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig { keep_days: 14, keep_jobs: 1_000_000 }
    }
}
