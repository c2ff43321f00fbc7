//! Settings of the orchestrator side.
use std::fmt;
use std::time::Duration;

use crate::domain::ids::OrchestratorName;

#[derive(Clone)]
pub struct OrchestratorConfig {
    pub name: OrchestratorName,
    /// `https://host:port`, or `http://` for one that listens in the clear behind somebody's TLS.
    pub url: http::Uri,
    pub secret: String,
    /// Hosts beside its own from which segments may be fetched (its public `-serviceAddr`, buckets).
    pub segment_hosts: Vec<String>,
    /// Whether segment hosts may resolve to private, loopback or link-local addresses.
    pub private_segment_hosts: bool,
}

#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// Registrations an orchestrator, each on a TCP connection of its own.
    pub registrations: u32,
    /// At least so long between re-registrations for a changed capacity.
    pub reregister_every: Duration,
    /// After the first worker joins, wait this long for others before the first registration.
    pub settle: Duration,
    pub connect_timeout: Duration,
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    /// The most result connections to one orchestrator.
    pub result_connections: usize,
    /// A source must have arrived within.
    pub fetch_timeout: Duration,
    pub ping_every: Duration,
    pub ping_timeout: Duration,
    /// Version sent when no worker says one.
    pub fallback_version: String,
}

impl Default for UplinkConfig {
    fn default() -> Self {
        UplinkConfig {
            registrations: 4,
            reregister_every: Duration::from_secs(60),
            settle: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(4),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(15),
            result_connections: 16,
            fetch_timeout: Duration::from_secs(4),
            ping_every: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(10),
            fallback_version: "0.8.8".into(),
        }
    }
}

impl fmt::Debug for OrchestratorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrchestratorConfig({} {}, secret masked)", self.name, self.url)
    }
}
