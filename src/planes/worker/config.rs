//! Settings of the worker port.
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct WorkerConfig {
    pub listen: SocketAddr,
    /// `host:port` put into segment addresses; None: as the worker dialled (its `:authority`).
    pub public_address: Option<String>,
    /// PEM files; None: a self-signed pair made once in the data folder.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Where people get help; put at the end of sentences that stock workers print.
    pub help_url: Option<String>,
}
