//! Requests as an orchestrator writes them to a runner: JSON, or a form with the file first.
use bytes::Bytes;
use serde_json::Value;

use crate::domain::ai::Pipeline;
use crate::sim::ai_orchestrator::AiFile;

/// A request's body and its Content-Type.
pub(super) fn body(pipeline: Pipeline, request: &Value, file: Option<&AiFile>) -> (String, Bytes) {
    let Some((field, order)) = order(pipeline) else {
        return ("application/json".into(), request.to_string().into());
    };
    let boundary: String = (0..15).map(|_| format!("{:04x}", rand::random::<u16>())).collect();
    let mut form = Vec::new();
    let (name, bytes) = file.map_or(("", &[][..]), |file| (file.name.as_str(), &file.body[..]));
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    form.extend(head.into_bytes());
    form.extend_from_slice(bytes);
    for key in order {
        let Some(value) = value(key, &request[*key]) else { continue };
        let part = format!("\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"{key}\"\r\n\r\n{value}");
        form.extend(part.into_bytes());
    }
    form.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    (format!("multipart/form-data; boundary={boundary}"), form.into())
}

/// The file's field, then the others in their order; `None`: JSON.
fn order(pipeline: Pipeline) -> Option<(&'static str, &'static [&'static str])> {
    let order: &[&str] = match pipeline {
        Pipeline::ImageToImage => &[
            "prompt",
            "model_id",
            "loras",
            "strength",
            "guidance_scale",
            "image_guidance_scale",
            "negative_prompt",
            "safety_check",
            "seed",
            "num_images_per_prompt",
            "num_inference_steps",
        ],
        Pipeline::ImageToVideo => &[
            "model_id",
            "height",
            "width",
            "fps",
            "motion_bucket_id",
            "noise_aug_strength",
            "seed",
            "safety_check",
            "num_inference_steps",
        ],
        Pipeline::Upscale => &["prompt", "model_id", "safety_check", "seed", "num_inference_steps"],
        Pipeline::AudioToText => &["model_id", "return_timestamps", "metadata"],
        Pipeline::SegmentAnything2 => &[
            "model_id",
            "point_coords",
            "point_labels",
            "box",
            "mask_input",
            "multimask_output",
            "return_logits",
            "normalize_coords",
        ],
        Pipeline::ImageToText => &["prompt", "model_id"],
        _ => return None,
    };
    Some((pipeline.file_field()?, order))
}

fn value(key: &str, value: &Value) -> Option<String> {
    const FLOATS: [&str; 4] = ["strength", "guidance_scale", "image_guidance_scale", "noise_aug_strength"];
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if FLOATS.contains(&key) => {
            let float = number.as_f64().unwrap_or_default() as f32;
            Some(format!("{float:.6}"))
        }
        other => Some(other.to_string()),
    }
}
