//! Simulated peers over the real wire: an orchestrator and a transcoder that keep the stock rules.
pub mod ai_content;
pub mod ai_worker;
mod body;
pub mod library;
pub mod media;
pub mod orchestrator;
pub mod runner;
mod tasks;
mod tls;
pub mod worker;

pub use ai_worker::{AiBehaviour, AiWorkerCounters, AiWorkerPlan, SimAiWorker};
pub use library::{Item, Library, Payload, Rendition};
pub use orchestrator::{Check, Ending, Fate, OrchestratorCounters, OrchestratorPlan, SimOrchestrator, Traffic};
pub use runner::{RunnerBehaviour, RunnerCounters, RunnerPlan, SimRunner};
pub use worker::{Behaviour, SimWorker, Transcode, WorkerCounters, WorkerPlan};

#[cfg(test)]
mod ai_tests;
#[cfg(test)]
mod tests;
