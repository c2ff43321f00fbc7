//! What is remembered; never decides.
pub mod fleet;
pub mod inflight;
pub mod limits;
pub mod roster;
pub mod shelf;
pub mod store;
