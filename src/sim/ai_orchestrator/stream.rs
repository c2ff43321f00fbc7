//! Streamed answers: lines of at most 64 KiB, a queue of 100, and an end that must be said.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::counters::Counters;
use super::{Ai, AiChunk, AiFate, shapes};

/// Chunks between the reader of the lines and the gateway's request.
pub(super) const BUFFER: usize = 100;
/// Go's scanner gives up at this length of a line.
const LONGEST_LINE: usize = 64 << 10;

/// Lines of a body, as Go's scanner cuts them.
pub(in crate::sim) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

/// Reads a worker's stream; an error's text is answered with 500.
pub(super) async fn pass_on(ai: &Arc<Ai>, body: Incoming, chunks: mpsc::Sender<AiChunk>) -> Result<(), String> {
    let until = Instant::now() + ai.plan.stream;
    let mut lines = Lines::new(body);
    let mut behind = 0;
    while let Some(line) = lines.next().await? {
        // Looked at between lines only.
        if Instant::now() >= until {
            return Ok(());
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let Ok(json) = shapes::chunk(data.as_bytes()) else {
            Counters::add(&ai.counters.bad_chunks);
            continue;
        };
        if chunks.send(AiChunk { json, at: Instant::now() }).await.is_ok() {
            continue;
        }
        // Nobody reads any more: the queue fills, then the handler waits for ever.
        Counters::add(&ai.counters.chunks_after_the_end);
        behind += 1;
        if behind > BUFFER {
            Counters::add(&ai.counters.stuck_streams);
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

/// What the gateway gets of a stream, by either road. The receiver is dropped at the end.
pub(in crate::sim) async fn take(ai: &Ai, mut chunks: mpsc::Receiver<AiChunk>, units: u64) -> AiFate {
    let counters = &ai.counters;
    Counters::add(&counters.streams);
    counters.units.fetch_add(units, Relaxed);
    let patience = Instant::now() + ai.plan.stream;
    let (mut taken, mut ended) = (Vec::new(), false);
    loop {
        let chunk = match timeout_at(patience, chunks.recv()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break,
            Err(_) => {
                Counters::add(&counters.stuck_streams);
                break;
            }
        };
        let Some(first) = chunk.json["choices"].get(0) else {
            counters.panicked("index out of range: choices[0] of a chunk");
            return AiFate::Panicked("a chunk without choices".into());
        };
        Counters::add(&counters.chunks);
        ended = first["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty());
        taken.push(chunk);
        if ended {
            break;
        }
    }
    if !ended {
        Counters::add(&counters.unfinished_streams);
    }
    AiFate::Stream { chunks: taken, ended, units }
}

// === impl Lines ===

impl Lines {
    pub(in crate::sim) fn new(body: Incoming) -> Lines {
        Lines { body, buffer: BytesMut::new(), ended: false }
    }

    /// Without its end of line. A last line needs none.
    pub(in crate::sim) async fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line = self.buffer.split_to(end + 1);
                return if end >= LONGEST_LINE { Err(too_long()) } else { Ok(Some(trimmed(&line))) };
            }
            if self.buffer.len() >= LONGEST_LINE {
                return Err(too_long());
            }
            if self.ended {
                let rest = self.buffer.split();
                return Ok((!rest.is_empty()).then(|| trimmed(&rest)));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(error.to_string()),
                None => self.ended = true,
            }
        }
    }
}

fn too_long() -> String {
    "bufio.Scanner: token too long".into()
}

fn trimmed(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
