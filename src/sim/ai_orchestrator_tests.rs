//! The AI side of the simulated orchestrator against small peers made here.
mod byoc;
mod live;
mod peer;
mod runners;
mod server;
mod trickles;
mod workers;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::ai_orchestrator::*;
use super::*;
use crate::domain::ai::Pipeline;
use peer::*;
use server::Server;

const SECRET: &str = "tests";

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

async fn orchestrator(change: impl FnOnce(&mut AiPlan)) -> SimOrchestrator {
    let mut plan = OrchestratorPlan::new(SECRET, Traffic::None);
    change(&mut plan.ai);
    SimOrchestrator::start(plan).await.unwrap()
}

/// The head of a PNG: enough for its size.
fn png(width: u32, height: u32) -> Bytes {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend(b"\x08\x02\0\0\0\0\0\0\0\0\0\0\0IEND\xaeB`\x82");
    bytes.into()
}

/// Silence: 16 bits, one channel, 8 kHz.
fn wav(seconds: u32) -> Bytes {
    let size = seconds * 16_000;
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(8_000u32.to_le_bytes());
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.resize(bytes.len() + size as usize, 0);
    bytes.into()
}
