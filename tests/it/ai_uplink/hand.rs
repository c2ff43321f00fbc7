//! A pool with AI workers that are driven by hand, and what they ask and answer.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::config::settings::Settings;
use openpool_proxy::domain::ai::{ModelKey, ModelOffer, Pipeline};
use openpool_proxy::domain::money::Price;
use openpool_proxy::planes::uplink::status::AiStatus;
use openpool_proxy::pool::ai::{AiClaim, AiFile, AiJoin, AiRequest, AiResult, Road};
use openpool_proxy::pool::{Knock, Order, Pool, Seated, Worker};
use openpool_proxy::sim::ai_orchestrator::{AiFate, AiPlan};
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use serde_json::{Value, json};

use crate::bed::{Bed, SECRET, until};

pub const MODEL: &str = "org/model";
pub const SECOND: Duration = Duration::from_secs(1);

/// A worker of the pool, driven by hand.
pub struct Hand {
    pub pool: Pool,
    pub worker: Worker,
    pub seat: Seated,
}

impl Hand {
    pub fn join(bed: &Bed, name: &str, road: Road, models: &[(Pipeline, &str, u32)]) -> Hand {
        let pool = bed.app().pool.clone();
        let peer = SocketAddr::from(([10, 0, 0, 1], 4000));
        let secret = format!("0x{}.{name}", "11".repeat(20));
        let worker = pool.login(Knock { secret: &secret, named: None, peer: peer.ip() }).unwrap();
        let one = |(pipeline, model, capacity): &(Pipeline, &str, u32)| ModelOffer {
            key: ModelKey::new(*pipeline, model),
            capacity: *capacity,
            warm: true,
            version: "0.14.1".into(),
        };
        let models = models.iter().map(one).collect();
        let join = AiJoin { models, version: "0.9.1".into(), hardware: vec![hardware(name)], peer, road };
        let seat = pool.join_ai(&worker, join).unwrap();
        Hand { pool, worker, seat }
    }

    pub fn of(bed: &Bed, pipeline: Pipeline) -> Hand {
        Hand::join(bed, "rig", Road::Worker, &[(pipeline, MODEL, 4)])
    }

    /// The next job, and the right to answer it.
    pub async fn next(&mut self) -> (Arc<AiRequest>, AiClaim) {
        match tokio::time::timeout(10 * SECOND, self.seat.next()).await.unwrap().unwrap() {
            Order::Ai { request, task, .. } => (request, self.pool.ai_claim(&self.worker, task).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// A `HardwareInformation` with a name in it, and a field that we do not know.
pub fn hardware(name: &str) -> Bytes {
    let name = name.as_bytes();
    [&[0x0a, name.len() as u8], name, &[0x78, 0x01]].concat().into()
}

pub fn result(json: Value) -> AiResult {
    AiResult { json: json.to_string().into(), files: Vec::new(), usage: None }
}

pub async fn file(claim: &AiClaim, name: &str, bytes: Bytes) -> AiFile {
    let mut spool = claim.spool();
    for piece in bytes.chunks(5000) {
        spool.push(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    AiFile { name: name.into(), content_type: "image/png".into(), body: spool.finish().await.unwrap() }
}

pub fn chunk(content: &str, finish: Option<&str>) -> Bytes {
    let mut choice = json!({"index": 0, "delta": {"role": "assistant", "content": content}});
    if let Some(reason) = finish {
        choice["finish_reason"] = reason.into();
    }
    json!({"id": "c", "model": MODEL, "created": 7, "choices": [choice]}).to_string().into()
}

pub fn llm(stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 64, "stream": stream})
}

/// The head of a PNG: enough for its size.
pub fn png(width: u32, height: u32, salt: u8) -> Bytes {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0]);
    bytes.resize(20_000, salt);
    bytes.into()
}

/// Silence: 16 bits, one channel, 8 kHz.
pub fn wav(seconds: u32) -> Bytes {
    let size = seconds * 16_000;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(8_000u32.to_le_bytes());
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.resize(bytes.len() + size as usize, 0);
    bytes.into()
}

pub async fn bed(plan: impl FnOnce(&mut AiPlan), change: impl FnOnce(&mut Settings)) -> Bed {
    let mut orchestrator = OrchestratorPlan::new(SECRET, Traffic::None);
    orchestrator.ai.version = "0.9.1".into();
    plan(&mut orchestrator.ai);
    let priced = |settings: &mut Settings| {
        settings.rules.ai.price = Price { wei: 10, units: 1 };
        change(settings);
    };
    Bed::with(vec![orchestrator], priced).await
}

/// A bed with a registered worker of one pipeline.
pub async fn one(pipeline: Pipeline) -> (Bed, Hand) {
    let bed = bed(|_| {}, |_| {}).await;
    let hand = Hand::of(&bed, pipeline);
    registered(&bed.orchestrators[0], 1).await;
    (bed, hand)
}

pub async fn registered(orchestrator: &SimOrchestrator, count: usize) {
    until("the AI registration stands", || orchestrator.ai().workers().len() == count).await;
}

/// What it stands with, and what is left of it.
pub fn offered(orchestrator: &SimOrchestrator) -> Vec<(u32, String, i64)> {
    orchestrator.ai().workers().into_iter().flat_map(|worker| worker.models).collect()
}

pub fn ai_status(bed: &Bed) -> AiStatus {
    bed.app().uplinks.status().remove(0).ai
}

pub async fn submit(bed: &Bed, pipeline: Pipeline, request: Value, file: Option<Bytes>) -> AiFate {
    bed.orchestrators[0].submit_ai(pipeline, MODEL, request, file).await
}

/// Short budgets on both sides.
pub async fn hurried() -> Bed {
    let plan = |plan: &mut AiPlan| (plan.budget, plan.storage) = (4 * SECOND, 4 * SECOND);
    let change = |settings: &mut Settings| {
        let ai = &mut settings.rules.ai;
        (ai.text_limit, ai.file_limit) = (3 * SECOND, 3 * SECOND);
        (ai.margin, ai.least_deadline) = (SECOND, Duration::from_millis(100));
        // A usual job takes half a second, or nobody would be thought to make it.
        ai.score.default_ratio = 0.5;
    };
    bed(plan, change).await
}
