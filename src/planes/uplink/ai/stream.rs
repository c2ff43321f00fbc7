//! A streamed answer on its way up: each chunk at once, a choice in each, and an end in any case.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::job::refuse;
use crate::domain::ai::AiJob;
use crate::domain::outcome::Failure;
use crate::planes::uplink::Uplink;
use crate::planes::uplink::forward::Reply;
use crate::planes::uplink::post::Post;
use crate::pool::Upstream;
use crate::pool::ai::AiStream;
use crate::transport::client::h1::OutBody;
use crate::wire::ai::{ChunkFixer, Fixed, sse_event};

/// An orchestrator reads a stream for 10 min; ours ends before.
const READ_FOR: Duration = Duration::from_secs(590);
/// From our last word until all of it must be out.
const LAST_WORD: Duration = Duration::from_secs(5);
/// After the last chunk the worker has so long to close its answer.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// A worker that says nothing for so long says nothing more.
const SILENCE: Duration = Duration::from_secs(120);
/// The first events are kept for a second connection, if nothing went out over the first.
const KEPT: usize = 64;

/// The stream as the body reads it.
struct Flow {
    stream: Option<AiStream>,
    fixer: ChunkFixer,
    until: Instant,
    gone: CancellationToken,
    kept: Vec<Bytes>,
    given: usize,
    end: Option<End>,
}

#[derive(Debug)]
enum End {
    Whole,
    Broken(Failure),
    /// The orchestrator that asked is another process now.
    Gone,
}

// === impl Uplink ===

impl Uplink {
    pub(super) async fn send_stream(
        &self,
        reply: &Reply,
        job: &AiJob,
        stream: AiStream,
        gone: CancellationToken,
    ) -> Upstream {
        let clock = self.pool.clock();
        let until = job.answer_by.min(clock.now() + READ_FOR);
        let cut = (until + LAST_WORD).min(reply.budget.cut());
        let mut flow = Flow::new(stream, clock.instant(until), gone);
        // Nothing is promised before there is something to send.
        if !flow.begin().await {
            return match flow.end {
                Some(End::Broken(failure)) => refuse(self, reply, &failure).await,
                Some(End::Gone) => Upstream::Unsent("the orchestrator restarted".into()),
                _ => refuse(self, reply, &Failure::Refused("an empty stream".into())).await,
            };
        }
        let flow = Arc::new(Mutex::new(flow));
        let post = || {
            let ended = Arc::new(AtomicBool::new(false));
            Post::stream(self, reply, ended.clone(), body(flow.clone(), ended))
        };
        let upstream = self.send(reply, job.answer_by, &self.stream_posts, cut, post).await;
        let flow = flow.lock().await;
        match (upstream, &flow.end) {
            (Upstream::Accepted, Some(End::Whole)) => Upstream::Accepted,
            (Upstream::Accepted, Some(End::Broken(failure))) => {
                Upstream::Unsent(format!("the stream broke off: {failure}"))
            }
            (Upstream::Accepted, _) => Upstream::Unsent("the orchestrator stopped reading".into()),
            (upstream, _) => upstream,
        }
    }
}

/// Reads the flow from its beginning.
fn body(flow: Arc<Mutex<Flow>>, ended: Arc<AtomicBool>) -> OutBody {
    let events = stream::unfold((flow, ended, 0), |(flow, ended, at)| async move {
        let event = flow.lock().await.event(at).await;
        match event {
            Ok(Some(event)) => Some((Ok(Frame::data(event)), (flow, ended, at + 1))),
            Ok(None) => {
                ended.store(true, Relaxed);
                None
            }
            Err(fault) => Some((Err(fault), (flow, ended, at))),
        }
    });
    StreamBody::new(events).boxed_unsync()
}

// === impl Flow ===

impl Flow {
    fn new(stream: AiStream, until: Instant, gone: CancellationToken) -> Flow {
        let fixer = ChunkFixer::new();
        Flow { stream: Some(stream), fixer, until, gone, kept: Vec::new(), given: 0, end: None }
    }

    /// Waits for the first event; false when there is none.
    async fn begin(&mut self) -> bool {
        let first = self.next().await;
        self.kept.extend(first);
        self.given = self.kept.len();
        self.given > 0
    }

    /// Event number `at`; None behind the last.
    async fn event(&mut self, at: usize) -> io::Result<Option<Bytes>> {
        if let Some(event) = self.kept.get(at) {
            return Ok(Some(event.clone()));
        }
        if at < self.given {
            return Err(io::Error::other("the stream cannot be read again"));
        }
        let event = self.next().await;
        if matches!(self.end, Some(End::Gone)) {
            return Err(io::Error::other("the orchestrator restarted"));
        }
        if let Some(event) = &event {
            self.given += 1;
            if self.kept.len() < KEPT {
                self.kept.push(event.clone());
            }
        }
        Ok(event)
    }

    /// The next event; None when there will be no more, and `end` tells why.
    async fn next(&mut self) -> Option<Bytes> {
        while let (None, Some(stream)) = (&self.end, &mut self.stream) {
            let until = self.until.min(Instant::now() + SILENCE);
            let item = tokio::select! {
                item = timeout_at(until, stream.next()) => item,
                () = self.gone.cancelled() => return self.over(End::Gone),
            };
            match item {
                Ok(Some(Ok(chunk))) => {
                    if let Some(event) = self.passed_on(chunk) {
                        return Some(event);
                    }
                }
                Ok(Some(Err(failure))) => return self.over(End::Broken(failure)),
                Ok(None) => return self.over(End::Whole),
                Err(_) => return self.over(End::Broken(Failure::Timeout)),
            }
        }
        None
    }

    fn passed_on(&mut self, chunk: Bytes) -> Option<Bytes> {
        let (chunk, last) = match self.fixer.push(chunk) {
            Fixed::Send(chunk) => (chunk, false),
            Fixed::Last(chunk) => (chunk, true),
            // Whoever fed the stream has waited for the count of tokens already.
            Fixed::Nothing if self.fixer.is_holding() => (self.fixer.finish()?, true),
            // What is no chunk a stock orchestrator would skip, too.
            Fixed::Nothing | Fixed::Bad(_) => return None,
        };
        if last {
            self.until = self.until.min(Instant::now() + CLOSE_WITHIN);
        }
        Some(sse_event(&chunk))
    }

    /// The last event, if the answer has begun and has no end yet.
    fn over(&mut self, end: End) -> Option<Bytes> {
        let last = match &end {
            End::Whole => self.fixer.finish(),
            End::Broken(_) => self.fixer.break_off(),
            End::Gone => None,
        };
        self.end = Some(end);
        // Whoever still works on it may stop.
        self.stream = None;
        last.map(|chunk| sse_event(&chunk))
    }
}
