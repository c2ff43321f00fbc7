//! What an orchestrator asks of a runner before it works: health, version, hardware.
use http::StatusCode;
use serde_json::json;

use crate::domain::ai::{ModelKey, Pipeline};
use crate::planes::runner::answer::Answer;
use crate::pool::Pool;

/// Prefix of addresses that name their model: `m/<pipeline>/<model>`.
const MODEL: &str = "m/";

/// A pool is always well: an orchestrator asks once, at its start, and ends itself on `ERROR`;
/// workers come and go.
pub(super) fn health() -> Answer {
    Answer::json(StatusCode::OK, r#"{"status":"OK"}"#)
}

/// The lowest version among the runners of the model that the path names.
pub(super) fn version(pool: &Pool, prefix: &str) -> Answer {
    let (pipeline, model) = names(prefix);
    let known = pool.ai_models().into_iter().find(|offer| model_of(prefix).is_some_and(|key| key == offer.key));
    let version = known.map(|offer| offer.version).filter(|v| !v.is_empty()).unwrap_or_else(|| "0.0.0".into());
    let body = json!({ "pipeline": pipeline, "model_id": model, "version": version });
    Answer::json(StatusCode::OK, body.to_string())
}

/// A pool's hardware is many machines': none is told.
pub(super) fn hardware(_pool: &Pool, prefix: &str, what: &str) -> Answer {
    let (pipeline, model) = names(prefix);
    Answer::json(StatusCode::OK, json!({ "pipeline": pipeline, "model_id": model, what: {} }).to_string())
}

/// The model of a prefix `m/<pipeline>/<model>`; a model's name may have slashes.
pub(super) fn model_of(prefix: &str) -> Option<ModelKey> {
    let (pipeline, model) = prefix.strip_prefix(MODEL)?.split_once('/')?;
    let pipeline = Pipeline::from_name(pipeline)?;
    (!model.is_empty()).then(|| ModelKey::new(pipeline, model))
}

fn names(prefix: &str) -> (String, String) {
    match model_of(prefix) {
        Some(key) => (key.pipeline.name().into(), key.model.to_string()),
        None => Default::default(),
    }
}
