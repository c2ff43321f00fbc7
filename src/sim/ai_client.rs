//! The orchestrator as a client: of runners from `aiModels.json`, of BYOC capabilities, of live runners.
mod byoc;
mod data_url;
mod form;
mod http;
mod live;
mod live_record;
mod live_serve;
mod runner;
mod streams;
mod video;

pub(super) use byoc::Byoc;
pub use byoc::{ByocFate, Capability};
pub(super) use http::Client;
pub(super) use live::LiveRunners;
pub use live::StandingRunner;
pub(super) use runner::Runners;
pub use runner::{ReadyRunner, RunnerEntry};
pub use streams::{ByocStream, StreamWants};
pub use video::LiveVideo;
