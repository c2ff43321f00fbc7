//! For the operator: metrics, health, status.
pub mod config;
