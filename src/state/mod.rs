//! What is remembered; never decides.
pub mod roster;
pub mod store;
