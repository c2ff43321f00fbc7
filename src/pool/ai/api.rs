//! The words that planes and the pool share for AI work.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::lease::AiAttempt;
use crate::domain::ai::{ModelKey, ModelOffer};
use crate::domain::ids::{Epoch, OrchestratorName};
use crate::domain::ledger::AiDoor;
use crate::domain::outcome::Failure;
pub use crate::domain::seat::{Road, Roads};
use crate::pool::api::{Recorded, Stored};

/// A request in the shape of the worker road (ai-shapes, W), whatever door it came in by.
#[derive(Debug)]
pub struct AiRequest {
    pub key: ModelKey,
    /// The `request` object as JSON text; the file is `null` in it.
    pub json: Bytes,
    pub file: Option<AiInput>,
    /// The answer is wanted as a stream of chunks.
    pub stream: bool,
}

/// The file that a request brings along.
#[derive(Debug)]
pub struct AiInput {
    /// As its sender called it; may be empty.
    pub name: String,
    pub body: Stored,
}

/// A job as a door lets it in.
#[derive(Clone, Debug)]
pub struct NewAiJob {
    pub key: ModelKey,
    pub door: AiDoor,
    pub orchestrator: OrchestratorName,
    pub epoch: Epoch,
    /// The orchestrator's own number, where it has one.
    pub upstream_task: i64,
    /// Requests of one session go to one worker.
    pub session: Option<Arc<str>>,
    pub roads: Roads,
    pub stream: bool,
    /// Whether the answer brings files: an orchestrator takes them for a shorter time.
    pub files: bool,
    /// The least version that a worker must have; empty: any.
    pub min_version: String,
    /// How long it may wait for a free worker.
    pub wait: Duration,
    /// Ends by itself, not by a deadline: an app's connection, a live video.
    pub endless: bool,
}

/// What a job costs: what is charged, and how much work it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// In `pipeline.unit()`.
    pub units: u64,
    /// For the score, in whatever makes two jobs of one model comparable; 1 when unknown.
    pub effort: f64,
}

/// A whole answer in the worker road's shape.
#[derive(Debug)]
pub struct AiResult {
    /// Its `url` fields name the files.
    pub json: Bytes,
    pub files: Vec<AiFile>,
    pub usage: Option<Usage>,
}

#[derive(Debug)]
pub struct AiFile {
    pub name: String,
    /// `image/png`, `video/mp4`, `audio/wav`.
    pub content_type: String,
    pub body: Stored,
}

/// Tokens as the answer tells them: for the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    pub made: u64,
}

/// What a door gets for its job.
pub enum AiAnswer {
    Whole(Arc<AiResult>, Recorded),
    /// Its first chunk is there already.
    Stream(AiStream),
    Error(Failure),
    /// The orchestrator that asked is gone: nothing to send.
    Gone,
}

/// A streamed answer. Dropping it before its end cancels the work.
pub struct AiStream {
    pub(super) first: Option<Bytes>,
    pub(super) items: mpsc::Receiver<AiItem>,
    pub(super) attempt: Option<AiAttempt>,
}

/// One event of a streamed answer.
#[derive(Debug)]
pub enum AiItem {
    /// JSON text of one chunk, without `data: `.
    Chunk(Bytes),
    /// Whole, and recorded durably.
    End,
    Failed(Failure),
}

/// What an answer that was only passed through came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    pub usage: Option<Usage>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Its time says how fast the worker is.
    pub scored: bool,
}

/// A registration of an AI worker, or a runner that is well.
#[derive(Clone, Debug)]
pub struct AiJoin {
    pub models: Vec<ModelOffer>,
    pub version: String,
    /// Raw `HardwareInformation` messages, passed up as they came.
    pub hardware: Vec<Bytes>,
    pub peer: SocketAddr,
    pub road: Road,
}

/// What the pool can offer an orchestrator by gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AiOffer {
    /// Capacities summed over the pool, in the order of the keys.
    pub models: Vec<ModelOffer>,
    /// The lowest version of a worker that states one.
    pub version: Option<String>,
    pub hardware: Vec<Bytes>,
}

/// What became of an AI result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AiVerdict {
    Accepted,
    Noted,
    Late,
    Storage(String),
}

// === impl AiInput ===

impl AiInput {
    pub fn len(&self) -> u64 {
        self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }
}

// === impl AiStream ===

impl AiStream {
    /// The next chunk; None at its good end, when it is recorded.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        match self.items.recv().await {
            Some(AiItem::Chunk(chunk)) => Some(Ok(chunk)),
            Some(AiItem::End) => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.settled();
                }
                self.attempt = None;
                None
            }
            Some(AiItem::Failed(failure)) => Some(Err(self.lost(failure))),
            None if self.attempt.is_none() => None,
            None => Some(Err(self.lost(Failure::Disconnected))),
        }
    }

    fn lost(&mut self, failure: Failure) -> Failure {
        match self.attempt.take() {
            Some(attempt) => attempt.lost(failure),
            None => failure,
        }
    }
}

impl std::fmt::Debug for AiStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AiStream")
    }
}
