//! The doorman of the pool: what a request on the runner port asks for, who works it, and how the
//! books hear of it.
mod about;
mod guard;
mod meter;
mod pipeline;
mod refusal;
mod translate;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::request::Parts;

use super::answer::Answer;
use super::config::RunnerLimits;
use super::door::{Ask, Decision, Doorman, Need};
use super::route::{Manner, Route};
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

/// A form of this size is held in memory, so that it can go to a second runner; a larger one
/// streams, and cannot.
const KEPT_FORM: u64 = 4 << 20;

/// Decides for the pool. Cheap to clone.
#[derive(Clone)]
pub struct PoolDoorman {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    runners: Runners,
    config: DoorConfig,
    tasks: Tasks,
}

// === impl PoolDoorman ===

impl PoolDoorman {
    pub fn new(pool: Pool, runners: Runners, config: DoorConfig, tasks: Tasks) -> PoolDoorman {
        PoolDoorman { shared: Arc::new(Shared { pool, runners, config, tasks }) }
    }
}

#[async_trait]
impl Doorman for PoolDoorman {
    fn need(&self, route: &Route<'_>, head: &Parts) -> Need {
        match route {
            Route::Pipeline { prefix, pipeline } if pipeline.file_field().is_some() => {
                match self.shared.streams(prefix, *pipeline) {
                    true if length(head).is_some_and(|length| length <= KEPT_FORM) => Need::Whole,
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
            Route::Pipeline { prefix, pipeline: Pipeline::LiveVideoToVideo } => {
                let why = format!("live video is not served here yet ({prefix})");
                Decision::Answer(Answer::fault(
                    Manner::Runner(Pipeline::LiveVideoToVideo),
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &why,
                ))
            }
            Route::Pipeline { prefix, pipeline } => pipeline::admit(shared, prefix, pipeline, ask.head, ask.body).await,
            _ => Decision::Answer(Answer::fault(ask.route.manner(), StatusCode::NOT_FOUND, "no such address here")),
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Whether a form may go to its runner as it came: its model is known without it, no worker will
    /// have it, and its charge can be told from what passes by.
    fn streams(&self, prefix: &str, pipeline: Pipeline) -> bool {
        if pipeline == Pipeline::AudioToText {
            return false;
        }
        // A worker's film cannot be given back at this door.
        let only_runners = |key| pipeline == Pipeline::ImageToVideo || !self.pool.ai_has_worker(&key);
        self.named(prefix, pipeline).is_some_and(only_runners)
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

fn length(head: &Parts) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
