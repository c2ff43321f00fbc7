//! The edge's limits: what a stranger may cost us. (Figures: reliability, section 2.)
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct EdgeLimits {
    /// Connections: all, from one address, not yet authenticated (all, from one address).
    pub connections: usize,
    pub connections_per_ip: usize,
    pub unauthenticated: usize,
    pub unauthenticated_per_ip: usize,
    /// From accept to a valid credential.
    pub authenticate_within: Duration,
    pub tls_handshake: Duration,
    pub h1_header: Duration,
    pub h1_header_bytes: usize,
    pub h1_fields: usize,
    pub h2_streams: u32,
    pub h2_streams_unauthenticated: u32,
    pub h2_header_list: u32,
    pub h2_stream_window: u32,
    pub h2_connection_window: u32,
    /// Largest DATA frame we invite, bytes.
    pub h2_frame: u32,
    pub h2_local_resets: usize,
    pub h2_pings_per_second: u32,
    pub h2_settings_per_second: u32,
    /// PING a quiet connection this often, and end it when no answer comes within.
    pub ping_every: Duration,
    pub ping_timeout: Duration,
    /// A connection with nothing open on it.
    pub idle: Duration,
    /// A body: the longest wait between reads, and the least rate (bytes a second) after 5 s.
    pub body_gap: Duration,
    pub body_rate: u64,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        EdgeLimits {
            connections: 12_000,
            connections_per_ip: 64,
            unauthenticated: 512,
            unauthenticated_per_ip: 8,
            authenticate_within: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(5),
            h1_header: Duration::from_secs(10),
            h1_header_bytes: 8 << 10,
            h1_fields: 64,
            h2_streams: 100,
            h2_streams_unauthenticated: 4,
            h2_header_list: 4 << 10,
            h2_stream_window: 256 << 10,
            h2_connection_window: 1 << 20,
            h2_frame: 64 << 10,
            h2_local_resets: 128,
            h2_pings_per_second: 500,
            h2_settings_per_second: 50,
            ping_every: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            body_gap: Duration::from_secs(15),
            body_rate: 32 << 10,
        }
    }
}
