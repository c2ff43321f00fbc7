//! The port over real sockets: raw callers, raw runners, so that every byte and pause is the test's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod bed;
mod hostile;
mod pass;
mod retries;
mod routes;
mod streams;
