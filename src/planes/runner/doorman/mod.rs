//! The doorman of the pool: what a request on the runner port asks for, who works it, and how the
//! books hear of it.
mod about;
mod guard;
mod live;
mod meter;
mod pipeline;
mod refusal;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::request::Parts;

use self::live::Live;
pub use self::live::LiveConfig;
use super::answer::Answer;
use super::config::RunnerLimits;
use super::door::{Ask, Decision, Doorman, Need};
use super::route::Route;
use super::runners::Runners;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::OrchestratorName;
use crate::pool::Pool;
use crate::transport::Tasks;

/// What the doorman is told at its start.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// Whose requests come by this port.
    pub orchestrator: OrchestratorName,
    /// A request waits so long for a free worker.
    pub wait: Duration,
    pub limits: RunnerLimits,
}

/// Decides for the pool. Cheap to clone.
#[derive(Clone)]
pub struct PoolDoorman {
    shared: Arc<Shared>,
    live: Live,
}

struct Shared {
    pool: Pool,
    runners: Runners,
    config: DoorConfig,
    tasks: Tasks,
}

// === impl PoolDoorman ===

impl PoolDoorman {
    pub fn new(pool: Pool, runners: Runners, config: DoorConfig, tasks: Tasks, live: LiveConfig) -> PoolDoorman {
        let shared = Arc::new(Shared { pool, runners, config, tasks });
        PoolDoorman { live: Live::new(shared.clone(), live), shared }
    }

    /// The port is open: workers reach us here.
    pub fn reached_at(&self, base: &str) {
        self.live.reached_at(base);
    }
}

#[async_trait]
impl Doorman for PoolDoorman {
    fn need(&self, route: &Route<'_>, head: &Parts) -> Need {
        match route {
            Route::Pipeline { prefix, pipeline } if pipeline.file_field().is_some() => {
                match self.shared.streams(prefix, *pipeline) {
                    true => Need::Nothing,
                    false => Need::Spool,
                }
            }
            _ => Need::usual(route, head),
        }
    }

    async fn admit(&self, ask: Ask<'_>) -> Decision {
        let shared = &self.shared;
        match ask.route {
            Route::Health { .. } => Decision::Answer(about::health()),
            Route::Version { prefix } => Decision::Answer(about::version(&shared.pool, prefix)),
            Route::HardwareInfo { prefix } => Decision::Answer(about::hardware(&shared.pool, prefix, "gpu_info")),
            Route::HardwareStats { prefix } => Decision::Answer(about::hardware(&shared.pool, prefix, "gpu_stats")),
            Route::Pipeline { prefix, pipeline: Pipeline::LiveVideoToVideo } => self.live.admit(prefix, ask.body).await,
            Route::Trickle { rest } => self.live.trickle(&ask.head.method, rest),
            Route::Pipeline { prefix, pipeline } => pipeline::admit(shared, prefix, pipeline, ask.head, ask.body).await,
            _ => Decision::Answer(Answer::fault(ask.route.manner(), StatusCode::NOT_FOUND, "no such address here")),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Whether a form may stream to its runner unread: its model is known without it, only runners
    /// have that model, and its charge can be told from what passes by.
    fn streams(&self, prefix: &str, pipeline: Pipeline) -> bool {
        if pipeline == Pipeline::AudioToText {
            return false;
        }
        self.named(prefix, pipeline).is_some_and(|key| !self.pool.ai_has_worker(&key))
    }

    /// The model that the path names, or the only one of its pipeline.
    fn named(&self, prefix: &str, pipeline: Pipeline) -> Option<ModelKey> {
        if let Some(key) = about::model_of(prefix) {
            return (key.pipeline == pipeline).then_some(key);
        }
        let mut of_pipeline = self.pool.ai_models().into_iter().filter(|offer| offer.key.pipeline == pipeline);
        let first = of_pipeline.next()?;
        of_pipeline.next().is_none().then_some(first.key)
    }
}
