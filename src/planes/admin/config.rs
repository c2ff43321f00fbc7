//! Settings of the operator port.
use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct AdminConfig {
    pub listen: SocketAddr,
}
