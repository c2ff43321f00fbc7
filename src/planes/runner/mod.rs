//! AI over HTTP: the port that orchestrators point a URL at, a proxy on Pingora, and the runners
//! that we dial. Who works a request is decided behind the [`Doorman`].
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
mod proxy;
mod rewrite;
mod route;
pub mod runners;
mod start;
mod wire;

pub use answer::{Answer, AnswerBody};
pub use body::{Prelude, Spool};
pub use config::{LiveLimits, PlaneConfig, RunnerConfig, RunnerLimits, Wait};
pub use door::{
    Ask, Decision, Doorman, End, Failure, FailureKind, Forward, Guard, Need, Passing, Trust, Upstream, Verdict,
};
pub use fixed::{FixedDoorman, FixedRunner};
pub use listen::{RunnerPort, open};
pub use route::{Manner, Route};
pub use start::{Plane, start};

#[cfg(test)]
mod tests;
