//! The configuration as written: every key with its default, secrets still references.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::settings::JournalConfig;
use super::words::{Modes, SecretRef};
use crate::domain::ai::ModelOffer;
use crate::domain::ids::Address;
use crate::domain::money::Price;
use crate::planes::admin::config::AdminConfig;
use crate::planes::runner::runners::CareConfig;
use crate::planes::runner::{RunnerConfig, RunnerLimits, Wait};
use crate::planes::uplink::config::UplinkConfig;
use crate::planes::worker::config::WorkerConfig;
use crate::pool::Rules;
use crate::transport::limits::EdgeLimits;

#[derive(Clone, Debug)]
pub(super) struct Written {
    pub pool_name: String,
    pub data: PathBuf,
    pub rules: Rules,
    pub worker: WorkerConfig,
    pub join: Modes,
    pub shared_secret: Option<SecretRef>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub edge: EdgeLimits,
    pub orchestrators: Vec<WrittenOrchestrator>,
    pub runner: WrittenRunnerPort,
    pub runners: Vec<WrittenRunner>,
    pub uplink: UplinkConfig,
    pub admin: AdminConfig,
    pub journal: JournalConfig,
    pub log: String,
    pub drain: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct WrittenOrchestrator {
    pub url: Option<http::Uri>,
    pub name: Option<String>,
    pub secret: Option<SecretRef>,
    pub price: Option<Price>,
    pub segment_hosts: Vec<String>,
    pub private_segment_hosts: bool,
}

/// The port for HTTP AI, and how runners are looked after.
#[derive(Clone, Debug)]
pub(super) struct WrittenRunnerPort {
    pub listen: SocketAddr,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub token: Option<SecretRef>,
    pub orchestrator: Option<String>,
    pub wait: Duration,
    /// None: as many as there are processors, within reason.
    pub threads: Option<usize>,
    pub limits: RunnerLimits,
    pub care: CareConfig,
}

#[derive(Clone, Debug)]
pub(super) struct WrittenRunner {
    pub url: Option<http::Uri>,
    pub name: Option<String>,
    pub token: Option<SecretRef>,
    pub address: Option<Address>,
    pub region: Option<String>,
    pub fingerprint: Option<[u8; 32]>,
    pub health: String,
    pub models: Vec<ModelOffer>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: String, line: usize },
    Variable(String),
}

// === impl Written ===

impl Default for Written {
    fn default() -> Self {
        let rules = Rules::default();
        Written {
            pool_name: String::new(),
            data: PathBuf::from("openpool-data"),
            join: Modes { invite: rules.join.invite, open: rules.join.open, shared: rules.join.shared },
            rules,
            worker: WorkerConfig {
                listen: SocketAddr::from(([0, 0, 0, 0], 8945)),
                public_address: None,
                certificate: None,
                help_url: None,
            },
            shared_secret: None,
            certificate: None,
            key: None,
            edge: EdgeLimits::default(),
            orchestrators: Vec::new(),
            runner: WrittenRunnerPort::default(),
            runners: Vec::new(),
            uplink: UplinkConfig::default(),
            admin: AdminConfig { listen: SocketAddr::from(([127, 0, 0, 1], 7945)) },
            journal: JournalConfig::default(),
            log: "info".into(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for WrittenRunnerPort {
    fn default() -> Self {
        let port = RunnerConfig::default();
        WrittenRunnerPort {
            listen: port.listen,
            certificate: None,
            key: None,
            token: None,
            orchestrator: None,
            wait: Wait::default().0,
            threads: None,
            limits: port.limits,
            care: CareConfig::default(),
        }
    }
}

impl Default for WrittenRunner {
    fn default() -> Self {
        WrittenRunner {
            url: None,
            name: None,
            token: None,
            address: None,
            region: None,
            fingerprint: None,
            health: "/health".into(),
            models: Vec::new(),
        }
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Variable(name) => write!(f, "env {name}"),
        }
    }
}
