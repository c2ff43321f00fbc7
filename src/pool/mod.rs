//! The verbs: login, join, submit, lease, settle, view.
pub mod clock;
