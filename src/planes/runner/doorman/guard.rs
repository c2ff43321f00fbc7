//! Watches an answer on its way from a runner: kept within what an orchestrator survives, counted,
//! and told to the pool.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::meter::FormMeter;
use super::{Shared, pipeline, refusal};
use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure as Lost;
use crate::planes::runner::door::{Decision, End, Failure, FailureKind, Guard, Verdict};
use crate::pool::Upstream;
use crate::pool::ai::{AiAttempt, AiRequest, AiTicket, Passed, Usage};
use crate::wire::ai::{self, ChunkFixer, Fixed, Line, SseReader};

/// Answers up to this size are held and checked before their last byte: language models' and
/// other texts, small pictures. Larger ones pass as they come.
const HELD: usize = 256 << 10;

/// What stays the same over the attempts of one request.
pub(super) struct Course {
    pub(super) shared: Arc<Shared>,
    pub(super) pipeline: Pipeline,
    /// None: a form that streams.
    pub(super) request: Option<Arc<AiRequest>>,
    pub(super) meter: Option<FormMeter>,
}

/// One attempt.
pub(super) struct PassGuard {
    inner: Option<Inner>,
    status: StatusCode,
    check: Check,
    bytes_in: u64,
    bytes_out: u64,
    usage: Option<Usage>,
}

struct Inner {
    course: Course,
    ticket: AiTicket,
    attempt: AiAttempt,
}

/// How the answer is looked at.
enum Check {
    Nothing,
    Held(BytesMut),
    Stream { lines: SseReader, fixer: ChunkFixer, over: bool },
}

// === impl PassGuard ===

impl PassGuard {
    pub(super) fn new(course: Course, ticket: AiTicket, attempt: AiAttempt) -> PassGuard {
        PassGuard {
            inner: Some(Inner { course, ticket, attempt }),
            status: StatusCode::OK,
            check: Check::Nothing,
            bytes_in: 0,
            bytes_out: 0,
            usage: None,
        }
    }

    fn held(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        let Check::Held(all) = &mut self.check else { return Ok(()) };
        if let Some(bytes) = chunk.take() {
            all.extend_from_slice(&bytes);
        }
        if !end && all.len() <= HELD {
            return Ok(());
        }
        let whole = std::mem::take(all).freeze();
        if end && let Some(inner) = &self.inner {
            self.usage = checked(inner.course.pipeline, &whole)?;
        }
        self.check = Check::Nothing;
        *chunk = Some(whole);
        Ok(())
    }

    fn streamed(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        let Check::Stream { lines, fixer, over } = &mut self.check else { return Ok(()) };
        let mut out = BytesMut::new();
        if let Some(bytes) = chunk.take() {
            lines.feed(&bytes);
        }
        while !*over {
            let fixed = match lines.next().map_err(|why| why.to_string())? {
                None => break,
                Some(Line::Data(json)) => fixer.push(json),
                Some(Line::Done) => {
                    *over = true;
                    break;
                }
                Some(Line::Skipped(_)) => Fixed::Nothing,
            };
            match fixed {
                Fixed::Send(json) => out.extend_from_slice(&ai::sse_event(&json)),
                Fixed::Last(json) => {
                    out.extend_from_slice(&ai::sse_event(&json));
                    *over = true;
                }
                Fixed::Nothing | Fixed::Bad(_) => {}
            }
        }
        if (*over || end) && self.usage.is_none() {
            if let Some(last) = fixer.finish() {
                out.extend_from_slice(&ai::sse_event(&last));
            }
            if !fixer.has_begun() {
                return Err("the stream has no chunk with a choice".into());
            }
            self.usage = Some(usage(fixer.usage().unwrap_or_default()));
            out.extend_from_slice(ai::SSE_DONE);
        }
        *chunk = (!out.is_empty()).then(|| out.freeze());
        Ok(())
    }
}

#[async_trait]
impl Guard for PassGuard {
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        self.status = status;
        let Some(inner) = &self.inner else { return Verdict::Refuse("a fault of ours".into()) };
        if status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 404 | 429) {
            return Verdict::Refuse(format!("the runner answered {}", status.as_u16()));
        }
        inner.attempt.first_byte();
        let streams = inner.course.request.as_ref().is_some_and(|request| request.stream);
        let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        if status == StatusCode::OK && streams && memchr::memmem::find(kind, b"event-stream").is_some() {
            self.check = Check::Stream { lines: SseReader::new(), fixer: ChunkFixer::new(), over: false };
            return Verdict::Rewrite;
        }
        let text = !inner.course.pipeline.file_result();
        let small = length(headers).is_none_or(|length| length <= HELD);
        if status == StatusCode::OK && (text || small) {
            self.check = Check::Held(BytesMut::new());
        }
        Verdict::Pass
    }

    fn sent(&mut self, bytes: &Bytes) {
        self.bytes_in += bytes.len() as u64;
        if let Some(meter) = self.inner.as_mut().and_then(|inner| inner.course.meter.as_mut()) {
            meter.feed(bytes.clone());
        }
    }

    fn received(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        self.bytes_out += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.check {
            Check::Nothing => Ok(()),
            Check::Held(_) => self.held(chunk, end),
            Check::Stream { .. } => self.streamed(chunk, end),
        }
    }

    async fn failed(mut self: Box<Self>, why: Failure) -> Decision {
        let Some(Inner { mut course, mut ticket, attempt }) = self.inner.take() else { return Decision::Close };
        let task = attempt.task();
        let failure = attempt.lost(lost(course.pipeline, &why));
        if why.again && ticket.again(task, &failure) {
            course.meter = course.meter.map(|meter| meter.again());
            return pipeline::next(course, ticket).await;
        }
        ticket.fail(failure.clone());
        refusal::failure(course.pipeline, &failure)
    }

    fn finished(mut self: Box<Self>, end: End) {
        let Some(Inner { course, mut ticket, attempt }) = self.inner.take() else { return };
        // A stock orchestrator hangs up as soon as it has the last chunk.
        let all_out = matches!(self.check, Check::Stream { .. }) && self.usage.is_some();
        match end {
            End::Whole | End::ClientLeft if self.status == StatusCode::OK && (end == End::Whole || all_out) => {
                let units = course.meter.as_ref().map(|meter| meter.units().unwrap_or(0));
                let (usage, bytes_in, bytes_out) = (self.usage, self.bytes_in, self.bytes_out);
                ticket.passed(attempt, Passed { usage, bytes_in, bytes_out, scored: true }, units);
                ticket.close(&Upstream::Accepted);
            }
            End::Whole => {
                let (_, text) = ai::runner_error(course.pipeline, self.status.as_u16(), b"");
                ticket.fail(attempt.lost(Lost::InputError(text)));
            }
            // Dropped: nobody's fault.
            End::ClientLeft => {}
            End::Cut(why) => {
                ticket.fail(attempt.lost(Lost::BadUpload(why)));
            }
        }
    }
}

fn lost(pipeline: Pipeline, why: &Failure) -> Lost {
    match why.kind {
        // What an orchestrator does not know of this pipeline, and is its caller's fault all the same.
        FailureKind::Answered(status) if matches!(status.as_u16(), 400 | 413 | 415 | 422) => {
            let (blame, text) = ai::runner_error(pipeline, status.as_u16(), b"");
            if blame == ai::Blame::Caller { Lost::InputError(text) } else { Lost::WorkerError(text) }
        }
        FailureKind::Connect | FailureKind::Broken => Lost::Disconnected,
        FailureKind::Silent => Lost::Timeout,
        FailureKind::Answered(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Lost::Busy,
        FailureKind::Pin | FailureKind::Answered(_) => Lost::WorkerError(why.text.clone()),
    }
}

/// Whether an orchestrator survives the answer; the tokens that it counts.
fn checked(pipeline: Pipeline, json: &[u8]) -> Result<Option<Usage>, String> {
    if pipeline == Pipeline::ImageToVideo {
        return Ok(None);
    }
    let mut number = 0_u32;
    let name = || {
        number += 1;
        format!("{number:08x}")
    };
    let (json, files) = ai::runner_to_answer(pipeline, json, name)?;
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    Ok(ai::check_answer(pipeline, &json, &names)?.usage.map(usage))
}

fn usage(usage: ai::Usage) -> Usage {
    Usage { prompt: usage.prompt, made: usage.completion }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
