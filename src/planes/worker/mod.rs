//! We look like an orchestrator: stock transcoders register, fetch segments, post results.
pub mod config;
