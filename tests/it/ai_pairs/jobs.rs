//! Jobs of every pipeline, and whether their answers arrived as they were made.
use bytes::Bytes;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::sim::ai_content::{self, Road, png, wav};
use openpool_proxy::sim::ai_orchestrator::AiFate;
use serde_json::{Map, Value, json};

use super::bed::{Door, MODEL};

#[derive(Clone, Debug)]
pub struct Job {
    pub pipeline: Pipeline,
    /// Without the model.
    pub request: Value,
    pub file: Option<Bytes>,
    pub units: u64,
}

impl Job {
    pub fn streams(&self) -> bool {
        self.request["stream"] == true
    }
}

/// A usual job; `salt` tells one from another.
pub fn job(pipeline: Pipeline, salt: u64) -> Job {
    use Pipeline::*;
    let prompt = format!("a cat, {salt} “quoted” — 猫 50%");
    let picture = || Some(png(40, 30, salt));
    let area = 40 * 30;
    let (request, file, units) = match pipeline {
        TextToImage => {
            (json!({"prompt": prompt, "width": 64, "height": 48, "guidance_scale": 7.5, "seed": salt}), None, 64 * 48)
        }
        ImageToImage => (json!({"prompt": prompt, "strength": 0.8, "safety_check": true}), picture(), area),
        ImageToVideo => {
            (json!({"width": 64, "height": 48, "fps": 8, "noise_aug_strength": 0.02}), picture(), 64 * 48 * 25)
        }
        Upscale => (json!({"prompt": prompt, "num_inference_steps": 3}), picture(), area),
        AudioToText => (json!({"return_timestamps": "word"}), Some(wav(8000 * 2 + 100, salt)), 2000),
        SegmentAnything2 => (json!({"box": "[1,2,3,4]", "multimask_output": false}), picture(), area),
        Llm => {
            (json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": 12, "temperature": 0.7}), None, 12)
        }
        ImageToText => (json!({"prompt": prompt}), picture(), area),
        TextToSpeech => {
            let text = format!("say {salt:06} é");
            (json!({"text": text, "description": "calm"}), None, 12 * 1000)
        }
        LiveVideoToVideo | Byoc | App => unreachable!(),
    };
    Job { pipeline, request, file, units }
}

/// A language model's answer as events.
pub fn stream(salt: u64) -> Job {
    let mut job = job(Pipeline::Llm, salt);
    job.request["stream"] = true.into();
    job
}

/// The pipelines that both roads carry, and the one that has an own form on each.
pub fn pipelines() -> impl Iterator<Item = Pipeline> {
    Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.by_worker())
}

/// Every byte of the answer is the one that was made, and it was charged right.
pub fn check(door: Door, job: &Job, fate: &AiFate) -> Result<(), String> {
    check_model(door, MODEL, job, fate)
}

pub fn check_model(door: Door, model: &str, job: &Job, fate: &AiFate) -> Result<(), String> {
    let mut request: Map<String, Value> = job.request.as_object().unwrap().clone();
    let field = if job.pipeline == Pipeline::Llm { "model" } else { "model_id" };
    request.insert(field.into(), model.into());
    match fate {
        AiFate::Stream { chunks, ended, units } if job.streams() => {
            let chunks: Vec<Value> = chunks.iter().map(|chunk| chunk.json.clone()).collect();
            let made = ai_content::llm(&request);
            made.check_chunks(&chunks)?;
            let usage = chunks.last().map(|chunk| chunk["usage"].clone()).unwrap_or_default();
            if usage != made.usage() {
                return Err(format!("usage {usage}, not {}", made.usage()));
            }
            same(*ended, true, "ended")?;
            same(*units, job.units, "units")
        }
        AiFate::Delivered { json, files, units } if !job.streams() => {
            let road = if door == Door::Runner { Road::Runner } else { Road::Worker };
            let made = ai_content::answer(road, job.pipeline, &request, job.file.as_deref());
            let got: Vec<&Bytes> = files.iter().map(|file| &file.body).collect();
            let wanted: Vec<&Bytes> = made.files.iter().map(|file| &file.bytes).collect();
            if got != wanted {
                return Err(format!("other files: {files:?}"));
            }
            same(*units, job.units, "units")?;
            if job.pipeline == Pipeline::ImageToVideo {
                // The orchestrator makes the film of frames.
                return Ok(());
            }
            let url = |place: &str| json.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
            let place = |n: usize| match job.pipeline {
                Pipeline::TextToSpeech => url("/audio/url"),
                _ => url(&format!("/images/{n}/url")),
            };
            let wanted = made.json(place);
            if *json == wanted { Ok(()) } else { Err(format!("{json}, not {wanted}")) }
        }
        other => Err(format!("{other:?}")),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, wanted: T, what: &str) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what}: {got:?}, not {wanted:?}")) }
}

#[track_caller]
pub fn delivered(door: Door, job: &Job, fate: &AiFate) {
    if let Err(why) = check(door, job, fate) {
        panic!("{door:?} {} {}: {why}", job.pipeline, job.request);
    }
}
