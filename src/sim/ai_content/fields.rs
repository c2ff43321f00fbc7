//! The keys of each pipeline's request, as the runner's own description lists them.
use serde_json::Value;

use crate::domain::ai::Pipeline;

/// One key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    /// A runner refuses a request without it.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Float,
    Bool,
    /// `[{"role":"","content":""}]`
    Messages,
    Object,
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

const fn must(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

const PROMPT: Field = must("prompt", Kind::Text);
const MODEL: Field = may("model_id", Kind::Text);
const SEED: Field = may("seed", Kind::Int);
const STEPS: Field = may("num_inference_steps", Kind::Int);
const IMAGES: Field = may("num_images_per_prompt", Kind::Int);
const SAFETY: Field = may("safety_check", Kind::Bool);
const GUIDANCE: Field = may("guidance_scale", Kind::Float);
const NEGATIVE: Field = may("negative_prompt", Kind::Text);
const LORAS: Field = may("loras", Kind::Text);
const HEIGHT: Field = may("height", Kind::Int);
const WIDTH: Field = may("width", Kind::Int);

const TEXT_TO_IMAGE: &[Field] = &[PROMPT, MODEL, HEIGHT, WIDTH, IMAGES, STEPS, GUIDANCE, NEGATIVE, SAFETY, SEED, LORAS];
const IMAGE_TO_IMAGE: &[Field] = &[
    PROMPT,
    MODEL,
    LORAS,
    may("strength", Kind::Float),
    GUIDANCE,
    may("image_guidance_scale", Kind::Float),
    NEGATIVE,
    SAFETY,
    SEED,
    IMAGES,
    STEPS,
];
const IMAGE_TO_VIDEO: &[Field] = &[
    MODEL,
    HEIGHT,
    WIDTH,
    may("fps", Kind::Int),
    may("motion_bucket_id", Kind::Int),
    may("noise_aug_strength", Kind::Float),
    SEED,
    SAFETY,
    STEPS,
];
const UPSCALE: &[Field] = &[PROMPT, MODEL, SAFETY, SEED, STEPS];
const AUDIO_TO_TEXT: &[Field] = &[MODEL, may("return_timestamps", Kind::Text), may("metadata", Kind::Text)];
const SEGMENT: &[Field] = &[
    MODEL,
    may("point_coords", Kind::Text),
    may("point_labels", Kind::Text),
    may("box", Kind::Text),
    may("mask_input", Kind::Text),
    may("multimask_output", Kind::Bool),
    may("return_logits", Kind::Bool),
    may("normalize_coords", Kind::Bool),
];
const LLM: &[Field] = &[
    must("messages", Kind::Messages),
    may("model", Kind::Text),
    may("max_tokens", Kind::Int),
    may("temperature", Kind::Float),
    may("top_p", Kind::Float),
    may("top_k", Kind::Int),
    may("stream", Kind::Bool),
];
const IMAGE_TO_TEXT: &[Field] = &[may("prompt", Kind::Text), MODEL];
const TEXT_TO_SPEECH: &[Field] = &[MODEL, may("text", Kind::Text), may("description", Kind::Text)];
const LIVE: &[Field] = &[
    must("subscribe_url", Kind::Text),
    must("publish_url", Kind::Text),
    may("control_url", Kind::Text),
    may("events_url", Kind::Text),
    MODEL,
    may("params", Kind::Object),
    may("gateway_request_id", Kind::Text),
    may("manifest_id", Kind::Text),
    may("stream_id", Kind::Text),
];

/// Its keys; the file is not one of them.
pub fn fields(pipeline: Pipeline) -> &'static [Field] {
    match pipeline {
        Pipeline::TextToImage => TEXT_TO_IMAGE,
        Pipeline::ImageToImage => IMAGE_TO_IMAGE,
        Pipeline::ImageToVideo => IMAGE_TO_VIDEO,
        Pipeline::Upscale => UPSCALE,
        Pipeline::AudioToText => AUDIO_TO_TEXT,
        Pipeline::SegmentAnything2 => SEGMENT,
        Pipeline::Llm => LLM,
        Pipeline::ImageToText => IMAGE_TO_TEXT,
        Pipeline::LiveVideoToVideo => LIVE,
        Pipeline::TextToSpeech => TEXT_TO_SPEECH,
        Pipeline::Byoc | Pipeline::App => &[],
    }
}

// === impl Field ===

impl Field {
    /// Whether a JSON value is of its kind; an int is a JSON integer.
    pub fn fits(&self, value: &Value) -> bool {
        match self.kind {
            Kind::Text => value.is_string(),
            Kind::Int => value.is_i64(),
            Kind::Float => value.is_number(),
            Kind::Bool => value.is_boolean(),
            Kind::Object => value.is_object(),
            Kind::Messages => value.as_array().is_some_and(|list| {
                list.iter().all(|one| {
                    one.get("role").is_some_and(Value::is_string) && one.get("content").is_some_and(Value::is_string)
                })
            }),
        }
    }

    /// One spelling for each meaning: floats as the forms carry them.
    pub(super) fn canonical(&self, value: &Value) -> String {
        match self.kind {
            Kind::Text => value.as_str().unwrap_or_default().to_owned(),
            Kind::Float => format!("{:.6}", value.as_f64().unwrap_or_default() as f32),
            Kind::Messages => {
                let text = |one: &Value, key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
                list.iter().map(|one| format!("{}\u{1}{}\u{2}", text(one, "role"), text(one, "content"))).collect()
            }
            Kind::Int | Kind::Bool | Kind::Object => value.to_string(),
        }
    }
}
