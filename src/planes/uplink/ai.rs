//! AI jobs of an orchestrator: read, measured, worked by the pool, and answered, each of them.
mod answer;
mod input;
mod job;
pub(super) mod notice;
mod stream;
#[cfg(test)]
mod tests;
mod text;
