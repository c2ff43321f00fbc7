//! The verbs: login, join, submit, lease, settle, view.
pub mod clock;

pub use crate::policy::rules::{JobLimits, JoinRules, RetryRules, RouteRules, Rules};
