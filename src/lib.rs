//! openpool-proxy: a pool router between stock Livepeer orchestrators and stock
//! workers. Read the rooms in this order; `ARCHITECTURE.md` is the guided tour.
#![forbid(unsafe_code)]

// Ground floor: what things are, what bytes mean. Nothing here waits, locks or
// reads a clock.
pub mod domain;
pub mod wire;

// Middle floor: policy decides, state remembers, pool lets one act on the other.
pub mod policy;
pub mod pool;
pub mod state;

// Top floor: sockets, and the planes that translate protocols.
pub mod planes;
pub mod sim;
pub mod transport;

// Roof.
pub mod app;
pub mod cli;
pub mod config;
pub mod telemetry;
