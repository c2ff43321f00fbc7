//! AI over HTTP: the port that orchestrators point a URL at, a proxy on Pingora, and the runners
//! that we dial. Who works a request is decided behind the [`Doorman`].
use crate::domain::ai::ModelKey;

pub mod agent;
mod answer;
mod body;
mod config;
mod door;
pub mod doorman;
mod fixed;
mod gate;
mod listen;
mod passage;
pub mod probe;
mod proxy;
mod rewrite;
mod route;
pub mod runners;
mod start;
mod wire;

pub use answer::{Answer, AnswerBody};
pub use body::{Prelude, Spool};
pub use config::{PlaneConfig, RunnerConfig, RunnerLimits, Wait};
pub use door::{
    Ask, Decision, Doorman, End, Failure, FailureKind, Forward, Guard, Need, Passing, Trust, Upstream, Verdict,
};
pub use fixed::{FixedDoorman, FixedRunner};
pub use listen::{RunnerPort, open};
pub use route::{Manner, Route};
pub use start::{Plane, start};

/// Path on the port below which a model's requests go.
pub fn model_prefix(key: &ModelKey) -> String {
    format!("m/{}/{}", key.pipeline, key.model)
}

#[cfg(test)]
mod tests;
