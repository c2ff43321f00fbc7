//! Whole-process tests: real files, real sockets, peers that keep the stock rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod ai_pairs;
mod ai_uplink;
mod ai_worker_port;
mod bed;
mod commands;
mod pool;
mod pool_storm;
mod through;
mod worker_port;
