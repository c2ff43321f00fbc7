//! Answers as Go decodes and encodes them: fixed keys, null is zero, a wrong type fails the whole.
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::domain::ai::Pipeline;

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Media {
    #[serde(deserialize_with = "or_zero")]
    nsfw: bool,
    #[serde(deserialize_with = "or_zero")]
    seed: i64,
    #[serde(deserialize_with = "or_zero")]
    url: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Images {
    images: Option<Vec<Media>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Frames {
    frames: Option<Vec<Option<Vec<Media>>>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Url {
    #[serde(deserialize_with = "or_zero")]
    url: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Audio {
    #[serde(deserialize_with = "or_zero")]
    audio: Url,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct TextChunk {
    #[serde(deserialize_with = "or_zero")]
    text: String,
    timestamp: Option<Vec<Value>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Text {
    chunks: Option<Vec<TextChunk>>,
    #[serde(deserialize_with = "or_zero")]
    text: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Caption {
    #[serde(deserialize_with = "or_zero")]
    text: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Masks {
    #[serde(deserialize_with = "or_zero")]
    logits: String,
    #[serde(deserialize_with = "or_zero")]
    masks: String,
    #[serde(deserialize_with = "or_zero")]
    scores: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Message {
    #[serde(deserialize_with = "or_zero")]
    content: String,
    #[serde(deserialize_with = "or_zero")]
    role: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Choice {
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<String>,
    #[serde(deserialize_with = "or_zero")]
    index: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Usage {
    #[serde(deserialize_with = "or_zero")]
    completion_tokens: i64,
    #[serde(deserialize_with = "or_zero")]
    prompt_tokens: i64,
    #[serde(deserialize_with = "or_zero")]
    total_tokens: i64,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Llm {
    choices: Option<Vec<Choice>>,
    #[serde(deserialize_with = "or_zero")]
    created: i64,
    #[serde(deserialize_with = "or_zero")]
    id: String,
    #[serde(deserialize_with = "or_zero")]
    model: String,
    #[serde(deserialize_with = "or_zero")]
    usage: Usage,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Live {
    control_url: Option<String>,
    events_url: Option<String>,
    manifest_id: Option<String>,
    #[serde(deserialize_with = "or_zero")]
    publish_url: String,
    request_id: Option<String>,
    #[serde(deserialize_with = "or_zero")]
    subscribe_url: String,
}

pub(super) fn images(body: &[u8]) -> Result<Value, String> {
    again::<Images>(body)
}

pub(super) fn audio(body: &[u8]) -> Result<Value, String> {
    again::<Audio>(body)
}

/// A chunk of a streamed answer.
pub(in crate::sim) fn chunk(body: &[u8]) -> Result<Value, String> {
    again::<Llm>(body)
}

/// What a runner's 200 is decoded into.
pub(in crate::sim) fn runner(pipeline: Pipeline, body: &[u8]) -> Result<Value, String> {
    match pipeline {
        Pipeline::ImageToVideo => again::<Frames>(body),
        Pipeline::LiveVideoToVideo => again::<Live>(body),
        _ => by_pipeline(pipeline, body),
    }
}

/// What the gateway decodes.
pub(super) fn gateway(pipeline: Pipeline, json: &Value) -> Result<Value, String> {
    by_pipeline(pipeline, json.to_string().as_bytes())
}

fn by_pipeline(pipeline: Pipeline, body: &[u8]) -> Result<Value, String> {
    match pipeline {
        Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale | Pipeline::ImageToVideo => {
            again::<Images>(body)
        }
        Pipeline::TextToSpeech => again::<Audio>(body),
        Pipeline::AudioToText => again::<Text>(body),
        Pipeline::ImageToText => again::<Caption>(body),
        Pipeline::SegmentAnything2 => again::<Masks>(body),
        Pipeline::Llm => again::<Llm>(body),
        Pipeline::LiveVideoToVideo | Pipeline::Byoc | Pipeline::App => again::<Value>(body),
    }
}

/// Decoded and encoded: what is not listed is lost.
fn again<T: Default + DeserializeOwned + Serialize>(body: &[u8]) -> Result<Value, String> {
    let read: Option<T> = serde_json::from_slice(body).map_err(|bad| format!("json: {bad}"))?;
    serde_json::to_value(read.unwrap_or_default()).map_err(|bad| bad.to_string())
}

fn or_zero<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}
