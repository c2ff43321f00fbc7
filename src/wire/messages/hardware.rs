//! A runner's `/hardware/info` as the message that an AI worker registers with.
use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;

use super::pb;

const MOST_GPUS: usize = 64;
const MOST_TEXT: usize = 256;

#[derive(Deserialize)]
struct Info {
    pipeline: String,
    model_id: String,
    gpu_info: HashMap<String, Gpu>,
}

#[derive(Deserialize)]
struct Gpu {
    id: String,
    name: String,
    major: u32,
    minor: u32,
    memory_free: i64,
    memory_total: i64,
}

/// None when it is not what a runner says of its hardware, or absurdly large.
pub fn write_hardware(json: &[u8]) -> Option<Bytes> {
    let info: Info = serde_json::from_slice(json).ok()?;
    let short = |text: &str| text.len() <= MOST_TEXT;
    let sane = |(key, gpu): (&String, &Gpu)| short(key) && short(&gpu.id) && short(&gpu.name);
    if info.gpu_info.len() > MOST_GPUS || !short(&info.pipeline) || !short(&info.model_id) {
        return None;
    }
    if !info.gpu_info.iter().all(sane) {
        return None;
    }
    let gpu_info = info.gpu_info.into_iter().map(|(key, gpu)| (key, message(gpu))).collect();
    let message = pb::HardwareInformation { pipeline: info.pipeline, model_id: info.model_id, gpu_info };
    Some(message.encode_to_vec().into())
}

fn message(gpu: Gpu) -> pb::GpuComputeInfo {
    pb::GpuComputeInfo {
        id: gpu.id,
        name: gpu.name,
        major: gpu.major,
        minor: gpu.minor,
        memory_free: gpu.memory_free,
        memory_total: gpu.memory_total,
    }
}
