//! What is remembered; never decides.
pub mod store;
