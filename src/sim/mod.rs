//! Simulated peers over the real wire.
