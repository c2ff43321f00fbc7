//! The words that planes and the pool share: knocks, seats, orders, claims, answers.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Shared;
use tokio_util::sync::CancellationToken;

use crate::domain::capability::{Bits, Capabilities, Need};
use crate::domain::ids::{Address, ConnId, Epoch, SessionKey, TaskId, WorkerName};
use crate::domain::print::Print;
use crate::domain::work::{Clip, MediaFacts, Profile};
pub use crate::state::shelf::{ShelfFull, SourceReader, SourceWriter, Spool, Stored};
use crate::state::store::ledger::Durable;

// --- worker side ---

/// What a worker shows at the door.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// The text of its `-orchSecret`.
    pub secret: &'a str,
    /// The fork's `ethereum_address`; taken only where the mode lets a worker name its own.
    pub named: Option<Address>,
    pub peer: IpAddr,
}

/// Who it is. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    pub name: WorkerName,
    pub address: Option<Address>,
    pub mode: Mode,
    /// Public id of the token that it came in by.
    pub token: Option<Arc<str>>,
}

/// How a worker came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Invite,
    Open,
    Shared,
    /// An HTTP runner of the configuration, or one that beats to us.
    Runner,
}

/// Why it may not come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong or revoked: exactly `invalid secret`, which ends a stock worker for good.
    InvalidSecret,
    /// Exactly `zero capacity`, fatal too.
    ZeroCapacity,
    /// `UNAVAILABLE` with this sentence; it tries again.
    TryLater(String),
    /// `RESOURCE_EXHAUSTED` with this sentence.
    TooMuch(String),
}

/// A registration as asked for.
#[derive(Clone, Debug)]
pub struct Join {
    pub capacity: i64,
    /// None: a worker that sends none has the default list.
    pub caps: Option<Capabilities>,
    pub peer: SocketAddr,
}

/// What the pool tells a seated worker.
#[derive(Clone, Debug)]
pub enum Order {
    /// `message` is the orchestrator's own; url becomes `https://<reach>/segment/<key>` and the
    /// task number ours.
    Segment { message: Bytes, task: TaskId, key: Arc<str> },
    /// An AI job: a worker downloads its file under the key; a runner is sent it. `gone` is cancelled
    /// when nobody wants the answer any more.
    Ai { request: Arc<super::ai::AiRequest>, task: TaskId, key: Arc<str>, gone: CancellationToken },
    /// End of a session: `message` as it came from the orchestrator, or made anew when None.
    EndSession { session: Arc<str>, message: Option<Bytes> },
    /// End the stream with `UNAVAILABLE` and this sentence; the worker comes back.
    Goodbye(Arc<str>),
    /// The credential was revoked: `invalid secret`.
    Revoked,
}

/// A whole result, stored, not yet judged.
#[derive(Debug)]
pub struct TranscodeResult {
    pub decoded_pixels: u64,
    pub parts: Vec<ResultPart>,
}

#[derive(Debug)]
pub struct ResultPart {
    /// `video/mp2t`, `video/mp4`, or `application/octet-stream` for a perceptual hash.
    pub content_type: String,
    /// Reported encoded pixels of a rendition; None for a perceptual hash.
    pub pixels: Option<u64>,
    pub facts: MediaFacts,
    pub body: Stored,
}

/// Why a task number cannot be answered by this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclaimable {
    /// 404
    Unknown,
    /// 403
    NotYours,
    /// 410: its time is over, or the job is done by another.
    Ended,
    /// 409: a result is being read right now on another request.
    Busy,
}

/// What became of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200: true, recorded.
    Accepted,
    /// 200: an error result, taken note of.
    Noted,
    /// 422 with the sentence.
    Refused(String),
    /// 410
    Late,
    /// 200: the same bytes again.
    Repeated,
    /// 409: other bytes for an answered task.
    Conflict,
    /// 503: our storage.
    Storage(String),
}

// --- orchestrator side ---

/// A segment as an orchestrator asks for it.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub session: SessionKey,
    pub epoch: Epoch,
    pub upstream_task: i64,
    pub manifest: Arc<str>,
    pub sequence: i64,
    /// 0 was already read as 2 s.
    pub duration: Duration,
    pub profiles: Vec<Profile>,
    pub need: Need,
    pub wants_hash: bool,
    pub clip: Option<Clip>,
    /// The orchestrator's message, whole.
    pub message: Bytes,
}

/// Tells when a result is durable in the ledger. Its last byte goes up after that, so that an
/// orchestrator never has what a crash would make us forget.
#[derive(Clone, Debug)]
pub struct Recorded(pub(super) Result<Shared<Durable>, String>);

/// What goes up for a job.
#[derive(Debug)]
pub enum Answer {
    Result(Arc<TranscodeResult>, Recorded),
    /// `livepeer/transcoding-error` with this text.
    Error(String),
    /// The orchestrator that asked is gone: nothing to send.
    Gone,
}

/// What the orchestrator made of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// 200.
    Accepted,
    /// It answered, and did not take it.
    Refused(String),
    /// No answer came back: it may have it.
    Unsure(String),
    /// Not sent at all.
    Unsent(String),
}

/// What the pool can offer an orchestrator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Sessions over all seats; 0: nobody is here.
    pub capacity: u32,
    /// Union of the workers' transcoding bits.
    pub bits: Bits,
    /// The highest version of a worker that states one: a segment's minimum holds for the
    /// worker that gets it, as its bits do.
    pub version: Option<String>,
}

/// A seat's number, for logs.
pub type Conn = ConnId;

// === impl Recorded ===

impl Recorded {
    /// Waits for the commit; the error is the ledger's.
    pub async fn wait(self) -> Result<(), String> {
        self.0?.await.map_err(|down| down.to_string())
    }
}

// === impl TranscodeResult ===

impl TranscodeResult {
    /// Tells two results apart without keeping their bytes: pixels, sizes and contents.
    pub fn print(&self) -> u64 {
        let mut print = Print::default();
        print.word(self.decoded_pixels);
        for part in &self.parts {
            print.word(part.body.len());
            print.word(part.pixels.map_or(u64::MAX, |pixels| pixels));
            print.word(part.body.print());
        }
        print.finish()
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Invite => "invite",
            Mode::Open => "open",
            Mode::Shared => "shared",
            Mode::Runner => "runner",
        })
    }
}
