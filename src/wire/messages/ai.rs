//! AI: registrations of AI workers, and the jobs that they are told of.
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_varint, skip_field};

use super::notice::BadNotice;
use super::patch::task_of;
use super::{BadWire, MOST_WORDS, pb, within};
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::capability::DEFAULT_BITS;
use crate::domain::ids::Address;

/// A stock worker with a handful of models and GPUs stays under 4 KiB.
const MOST_REGISTER: usize = 512 << 10;
/// A longer message breaks a stock worker's stream: Go's default.
pub const MOST_AI_NOTICE: usize = 4 << 20;
const MOST_SECRET: usize = 4096;
const MOST_VERSION: usize = 256;
const MOST_MODELS: usize = 1024;
const MOST_HARDWARE: usize = 256;
const MOST_PIPELINE: usize = 64;
/// Bytes of a model's name.
pub const MOST_MODEL: usize = 256;

const HARDWARE_TAG: u32 = 3;
const JOB_TAG: u32 = 1;
const TASK_TAG: u32 = 2;
const REQUEST_TAG: u32 = 2;

/// What an AI worker registers with.
#[derive(Clone, PartialEq, Eq)]
pub struct AiRegister {
    pub secret: String,
    /// In the order of their keys. Capabilities that no worker of this kind can have are left out.
    pub models: Vec<ModelOffer>,
    /// As sent: `0.8.8-3f1a2b4c`, `undefined`, or empty.
    pub version: String,
    pub min_version: String,
    /// Its `HardwareInformation` messages, to be passed up unchanged.
    pub hardware: Vec<Bytes>,
    /// The fork's field, when it is 20 bytes and not all zero.
    pub ethereum_address: Option<Address>,
}

/// A job that an orchestrator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AiNotice {
    /// The orchestrator's number for it; 0 is as real as any.
    pub task: i64,
    /// By its name: it may be one that we do not know.
    pub pipeline: String,
    /// `{"input_url": "...", "request": {...}}`; read by `wire::ai::read_job`.
    pub request_data: Bytes,
}

// === impl AiRegister ===

impl std::fmt::Debug for AiRegister {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AiRegister")
            .field("secret", &"***")
            .field("models", &self.models)
            .field("version", &self.version)
            .field("min_version", &self.min_version)
            .field("hardware", &self.hardware.len())
            .field("ethereum_address", &self.ethereum_address)
            .finish()
    }
}

pub fn read_ai_register(raw: &Bytes) -> Result<AiRegister, BadWire> {
    if raw.len() > MOST_REGISTER {
        return Err(BadWire::TooBig { size: raw.len(), most: MOST_REGISTER });
    }
    let message = pb::RegisterAiWorkerRequest::decode(raw.clone())?;
    within("bytes of secret", message.secret.len(), MOST_SECRET)?;
    within("hardware entries", message.hardware.len(), MOST_HARDWARE)?;
    let capabilities = message.capabilities.unwrap_or_default();
    within("words of capabilities", capabilities.bitstring.len(), MOST_WORDS)?;
    within("bytes of version", capabilities.version.len(), MOST_VERSION)?;
    let constraints = capabilities.constraints.unwrap_or_default();
    within("bytes of version", constraints.min_version.len(), MOST_VERSION)?;
    Ok(AiRegister {
        secret: message.secret,
        models: read_models(constraints.per_capability)?,
        version: capabilities.version,
        min_version: constraints.min_version,
        hardware: fields_of(raw, HARDWARE_TAG)?,
        ethereum_address: Address::from_wire(&message.ethereum_address),
    })
}

type PerCapability = std::collections::HashMap<u32, pb::capabilities::CapabilityConstraints>;

fn read_models(all: PerCapability) -> Result<Vec<ModelOffer>, BadWire> {
    within("models", all.values().map(|of_one| of_one.models.len()).sum(), MOST_MODELS)?;
    let mut models = Vec::new();
    for (bit, of_one) in all {
        // Live video among those that are left out: no gRPC worker may offer it.
        let Some(pipeline) = Pipeline::from_capability(bit).filter(|pipeline| pipeline.by_worker()) else { continue };
        for (name, model) in of_one.models {
            within("bytes in a model's name", name.len(), MOST_MODEL)?;
            within("bytes of version", model.runner_version.len(), MOST_VERSION)?;
            if name.is_empty() || name.contains(|c: char| c.is_control()) {
                return Err(BadWire::Unreadable("a model's name is empty or has control characters".into()));
            }
            models.push(ModelOffer {
                key: ModelKey::new(pipeline, &name),
                capacity: model.capacity,
                warm: model.warm,
                version: model.runner_version,
            });
        }
    }
    models.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(models)
}

/// Our own registration, as a stock AI worker sends it: the bits of its pipelines and the default
/// transcoding list, one of each, and its models in the constraints. Offers of the same model are
/// added up; pipelines that a worker cannot have over gRPC are left out.
pub fn write_ai_register(secret: &str, models: &[ModelOffer], version: &str, hardware: &[Bytes]) -> Bytes {
    use pb::capabilities::capability_constraints::ModelConstraint;
    let mut bits = DEFAULT_BITS;
    let mut per_capability = PerCapability::new();
    for offer in models.iter().filter(|offer| offer.key.pipeline.by_worker()) {
        let Some(bit) = offer.key.pipeline.capability() else { continue };
        bits |= 1 << bit;
        let of_one = per_capability.entry(bit).or_default();
        let model = of_one.models.entry(offer.key.model.to_string()).or_insert_with(|| ModelConstraint {
            warm: false,
            capacity: 0,
            runner_version: offer.version.clone(),
            ..Default::default()
        });
        model.warm |= offer.warm;
        model.capacity = model.capacity.saturating_add(offer.capacity);
    }
    let capabilities = pb::Capabilities {
        bitstring: vec![bits],
        capacities: (0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| (bit, 1)).collect(),
        version: version.to_owned(),
        constraints: Some(pb::capabilities::Constraints { per_capability, ..Default::default() }),
        ..Default::default()
    };
    let message = pb::RegisterAiWorkerRequest {
        secret: secret.to_owned(),
        capabilities: Some(capabilities),
        ..Default::default()
    };
    let mut out = message.encode_to_vec();
    for entry in hardware {
        put_field(HARDWARE_TAG, entry, &mut out);
    }
    out.into()
}

pub fn read_ai_notice(raw: &Bytes) -> Result<AiNotice, BadNotice> {
    read(raw).map_err(|text| BadNotice { task: task_of(raw, TASK_TAG), text })
}

fn read(raw: &Bytes) -> Result<AiNotice, &'static str> {
    if raw.len() > MOST_AI_NOTICE {
        return Err("the notice is too long");
    }
    let message = pb::NotifyAiJob::decode(raw.clone()).map_err(|_| "unreadable AI job data")?;
    let job = message.ai_job_data.ok_or("empty AI job data")?;
    if job.pipeline.len() > MOST_PIPELINE || job.pipeline.contains(|c: char| c.is_control()) {
        return Err("AI request pipeline type not supported");
    }
    Ok(AiNotice { task: message.task_id, pipeline: job.pipeline, request_data: job.request_data })
}

/// A notice of our own making; it must stay under `MOST_AI_NOTICE`.
pub fn write_ai_notice(task: i64, pipeline: Pipeline, request_data: &Bytes) -> Bytes {
    let job = pb::AiJobData { pipeline: pipeline.name().to_owned(), request_data: request_data.clone() };
    pb::NotifyAiJob { ai_job_data: Some(job), task_id: task }.encode_to_vec().into()
}

/// An orchestrator's notice with its task and its request data replaced. Every other field is
/// copied as it came, known or not, also those inside the job.
pub fn patch_ai_notice(raw: &Bytes, task: i64, request_data: &[u8]) -> Result<Bytes, BadWire> {
    // Several jobs in one message are one job to a reader: their fields are joined.
    let mut job = Vec::new();
    for part in fields_of(raw, JOB_TAG)? {
        without(&part, &[REQUEST_TAG], &mut job)?;
    }
    put_field(REQUEST_TAG, request_data, &mut job);
    let mut out = Vec::with_capacity(raw.len() + request_data.len() + 32);
    without(raw, &[JOB_TAG, TASK_TAG], &mut out)?;
    put_field(JOB_TAG, &job, &mut out);
    encode_varint(u64::from(TASK_TAG << 3), &mut out);
    encode_varint(task as u64, &mut out);
    Ok(out.into())
}

fn put_field(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(u64::from(tag << 3 | 2), out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The bytes of every field of that number that has a length.
fn fields_of(raw: &Bytes, wanted: u32) -> Result<Vec<Bytes>, BadWire> {
    let mut rest = raw.clone();
    let mut found = Vec::new();
    while rest.has_remaining() {
        let (tag, kind) = decode_key(&mut rest)?;
        if tag != wanted || kind != WireType::LengthDelimited {
            skip_field(kind, tag, &mut rest, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        if length > rest.len() {
            return Err(BadWire::Unreadable("a field is longer than its message".into()));
        }
        found.push(rest.split_to(length));
    }
    Ok(found)
}

/// Copies a message without some of its fields.
fn without(raw: &Bytes, dropped: &[u32], out: &mut Vec<u8>) -> Result<(), BadWire> {
    let mut rest: &[u8] = raw;
    while rest.has_remaining() {
        let start = raw.len() - rest.remaining();
        let (tag, kind) = decode_key(&mut rest)?;
        skip_field(kind, tag, &mut rest, DecodeContext::default())?;
        if !dropped.contains(&tag) {
            out.extend_from_slice(&raw[start..raw.len() - rest.remaining()]);
        }
    }
    Ok(())
}
