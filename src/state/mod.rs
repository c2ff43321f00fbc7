//! What is remembered; never decides.
pub mod shelf;
pub mod store;
