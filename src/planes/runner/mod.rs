//! The runner port: an HTTP proxy on Pingora between orchestrators and HTTP runners; who works a
//! request is decided behind the [`Doorman`].
mod answer;
mod body;
mod config;
mod door;
mod fixed;
mod gate;
mod listen;
mod passage;
mod proxy;
mod rewrite;
mod route;
mod wire;

pub use answer::{Answer, AnswerBody};
pub use body::{Prelude, Spool};
pub use config::{RunnerConfig, RunnerLimits};
pub use door::{
    Ask, Decision, Doorman, End, Failure, FailureKind, Forward, Guard, Need, Passing, Trust, Upstream, Verdict,
};
pub use fixed::{FixedDoorman, FixedRunner};
pub use listen::{RunnerPort, open};
pub use route::{Manner, Route};

#[cfg(test)]
mod tests;
