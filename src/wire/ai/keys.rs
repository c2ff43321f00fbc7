//! The keys of each pipeline's request, in the order of its form.
use crate::domain::ai::Pipeline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    /// A list of `{"role", "content"}`.
    Messages,
    /// An object, whatever is in it.
    Object,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// It must be there. The model must, too, whatever its key is called.
    pub(super) needed: bool,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, needed: false }
}

const fn needed(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, needed: true }
}

const PROMPT: Key = needed("prompt", Kind::Text);
const MODEL: Key = needed("model_id", Kind::Text);
const HEIGHT: Key = key("height", Kind::Int);
const WIDTH: Key = key("width", Kind::Int);
const IMAGES: Key = key("num_images_per_prompt", Kind::Int);
const STEPS: Key = key("num_inference_steps", Kind::Int);
const GUIDANCE: Key = key("guidance_scale", Kind::Float);
const NEGATIVE: Key = key("negative_prompt", Kind::Text);
const SAFETY: Key = key("safety_check", Kind::Bool);
const SEED: Key = key("seed", Kind::Int);
const LORAS: Key = key("loras", Kind::Text);

const TEXT_TO_IMAGE: &[Key] = &[PROMPT, MODEL, HEIGHT, WIDTH, IMAGES, STEPS, GUIDANCE, NEGATIVE, SAFETY, SEED, LORAS];

const IMAGE_TO_IMAGE: &[Key] = &[
    PROMPT,
    MODEL,
    LORAS,
    key("strength", Kind::Float),
    GUIDANCE,
    key("image_guidance_scale", Kind::Float),
    NEGATIVE,
    SAFETY,
    SEED,
    IMAGES,
    STEPS,
];

const IMAGE_TO_VIDEO: &[Key] = &[
    MODEL,
    HEIGHT,
    WIDTH,
    key("fps", Kind::Int),
    key("motion_bucket_id", Kind::Int),
    key("noise_aug_strength", Kind::Float),
    SEED,
    SAFETY,
    STEPS,
];

const UPSCALE: &[Key] = &[PROMPT, MODEL, SAFETY, SEED, STEPS];

const AUDIO_TO_TEXT: &[Key] = &[MODEL, key("return_timestamps", Kind::Text), key("metadata", Kind::Text)];

const SEGMENT_ANYTHING_2: &[Key] = &[
    MODEL,
    key("point_coords", Kind::Text),
    key("point_labels", Kind::Text),
    key("box", Kind::Text),
    key("mask_input", Kind::Text),
    key("multimask_output", Kind::Bool),
    key("return_logits", Kind::Bool),
    key("normalize_coords", Kind::Bool),
];

const IMAGE_TO_TEXT: &[Key] = &[key("prompt", Kind::Text), MODEL];

const LLM: &[Key] = &[
    needed("messages", Kind::Messages),
    needed("model", Kind::Text),
    // An orchestrator refuses a request without it: it is what is charged.
    needed("max_tokens", Kind::Int),
    key("temperature", Kind::Float),
    key("top_p", Kind::Float),
    key("top_k", Kind::Int),
    key("stream", Kind::Bool),
];

/// The text is what is charged: a stock orchestrator crashes without it.
const TEXT_TO_SPEECH: &[Key] = &[MODEL, needed("text", Kind::Text), key("description", Kind::Text)];

const LIVE: &[Key] = &[
    needed("subscribe_url", Kind::Text),
    needed("publish_url", Kind::Text),
    key("control_url", Kind::Text),
    key("events_url", Kind::Text),
    MODEL,
    key("params", Kind::Object),
    key("gateway_request_id", Kind::Text),
    key("manifest_id", Kind::Text),
    key("stream_id", Kind::Text),
];

/// None for pipelines whose requests are the program's own.
pub(super) fn keys(pipeline: Pipeline) -> &'static [Key] {
    match pipeline {
        Pipeline::TextToImage => TEXT_TO_IMAGE,
        Pipeline::ImageToImage => IMAGE_TO_IMAGE,
        Pipeline::ImageToVideo => IMAGE_TO_VIDEO,
        Pipeline::Upscale => UPSCALE,
        Pipeline::AudioToText => AUDIO_TO_TEXT,
        Pipeline::SegmentAnything2 => SEGMENT_ANYTHING_2,
        Pipeline::Llm => LLM,
        Pipeline::ImageToText => IMAGE_TO_TEXT,
        Pipeline::LiveVideoToVideo => LIVE,
        Pipeline::TextToSpeech => TEXT_TO_SPEECH,
        Pipeline::Byoc | Pipeline::App => &[],
    }
}

pub(super) fn model_key(pipeline: Pipeline) -> &'static str {
    if pipeline == Pipeline::Llm { "model" } else { "model_id" }
}
