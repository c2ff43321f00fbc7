//! Simulated peers over the real wire: an orchestrator and a transcoder that keep the stock rules.
pub mod ai_client;
pub mod ai_orchestrator;
mod body;
pub mod library;
pub mod media;
pub mod orchestrator;
mod tasks;
mod tls;
pub mod trickle;
pub mod worker;

pub use library::{Item, Library, Payload, Rendition};
pub use orchestrator::{Check, Ending, Fate, OrchestratorCounters, OrchestratorPlan, SimOrchestrator, Traffic};
pub use worker::{Behaviour, SimWorker, Transcode, WorkerCounters, WorkerPlan};

#[cfg(test)]
mod ai_orchestrator_tests;
#[cfg(test)]
mod tests;
