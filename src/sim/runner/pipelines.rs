//! The ten pipelines of ai-runner.
use std::sync::Arc;

use http::{Response, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::body::{self, Body};
use super::counters::{Fate, Running};
use super::listen::{Asked, authorized, message};
use super::request::{self, Work};
use super::{RunnerBehaviour, Shared, live};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::sim::ai_content::{self, Road};

pub(super) async fn answer(shared: &Arc<Shared>, pipeline: Pipeline, asked: Asked) -> (Response<Body>, Running) {
    let Asked { head, body, mut running, tasks } = asked;
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let work = match request::read(pipeline, kind, &body) {
        Ok(work) => work,
        Err(refused) => {
            shared.counters.refused(&format!("{pipeline}: {} {}", refused.status.as_u16(), refused.detail));
            running.will_be(Fate::Refused);
            return (body::json(refused.status, &json!({ "detail": refused.detail })), running);
        }
    };
    if !authorized(shared, &head) {
        running.will_be(Fate::Refused);
        return (message(StatusCode::UNAUTHORIZED, "Invalid bearer token."), running);
    }
    let key = match model(shared, pipeline, &work.request) {
        Ok(key) => key,
        Err(words) => {
            shared.counters.refused(&words);
            running.will_be(Fate::Refused);
            return (message(StatusCode::BAD_REQUEST, &words), running);
        }
    };
    if pipeline == Pipeline::LiveVideoToVideo {
        live::start(shared, &tasks, live::Channels::of(&work.request));
        let text = |name: &str| work.request.get(name).and_then(Value::as_str).unwrap_or_default();
        let told = json!({ "subscribe_url": text("subscribe_url"), "publish_url": text("publish_url"),
            "control_url": text("control_url"), "events_url": text("events_url"), "request_id": shared.plan.name });
        return (body::json(StatusCode::OK, &told), running);
    }
    running.takes(&key);
    (done(shared, pipeline, work).await, running)
}

/// The model that is asked for; the runner's own when none is.
fn model(shared: &Shared, pipeline: Pipeline, request: &Map<String, Value>) -> Result<ModelKey, String> {
    let field = if pipeline == Pipeline::Llm { "model" } else { "model_id" };
    let asked = request.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut offered = shared.plan.models.iter().map(|offer| &offer.key).filter(|key| key.pipeline == pipeline);
    let own = offered.clone().next().map_or("", |key| &key.model);
    let found = offered.find(|key| asked.is_empty() || *key.model == *asked);
    found.cloned().ok_or_else(|| format!("pipeline configured with {own} but called with {asked}."))
}

async fn done(shared: &Shared, pipeline: Pipeline, work: Work) -> Response<Body> {
    let empty = shared.behaviour() == RunnerBehaviour::EmptyChoices;
    let streams = pipeline == Pipeline::Llm && work.request.get("stream") == Some(&Value::Bool(true));
    if streams {
        return stream(shared, &work.request, empty).await;
    }
    sleep(shared.time(ai_content::size(pipeline, &work.request))).await;
    let mut answer = ai_content::answer(Road::Runner, pipeline, &work.request, work.file.as_deref()).runner_json();
    if empty {
        for list in ["choices", "images", "frames"] {
            if let Some(found) = answer.get_mut(list) {
                *found = json!([]);
            }
        }
    }
    body::json(StatusCode::OK, &answer)
}

async fn stream(shared: &Shared, request: &Map<String, Value>, empty: bool) -> Response<Body> {
    let plan = &shared.plan.stream;
    // The time until the first token; the rest is in the gaps.
    sleep(shared.time(0.1)).await;
    let slow = match shared.behaviour() {
        RunnerBehaviour::Slow { factor } => factor.clamp(0.0, 1000.0),
        _ => 1.0,
    };
    let mut chunks = ai_content::llm(request).chunks(plan.chunks, plan.usage);
    if empty && let Some(first) = chunks.first_mut() {
        first["choices"] = json!([]);
    }
    let mut blocks: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    if plan.done {
        blocks.push("data: [DONE]\n\n".into());
    }
    body::events(blocks, plan.gap.mul_f64(slow))
}
