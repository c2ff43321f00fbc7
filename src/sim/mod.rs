//! Simulated peers over the real wire.
pub mod media;
