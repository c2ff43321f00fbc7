//! Watches what passes between a worker and the orchestrator's channels.
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::far::{CLOSED, LATEST, SEQ, number};
use super::hand::{Entered, Hand};
use super::job::Role;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::{Decision, End, Failure, Guard, Verdict};
use crate::planes::runner::route::Manner;

/// What a request does. Numbers are the orchestrator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Read(i64),
    Write(i64),
    Next,
    Other(Option<i64>),
}

pub(super) struct TrickleGuard {
    entered: Entered,
    role: Role,
    what: What,
    status: StatusCode,
    /// The segment's number as the orchestrator tells it, and the next to be written.
    seq: Option<i64>,
    latest: Option<i64>,
    /// Something of the request's body went up.
    begun: bool,
    /// A control message, or the number that `next` tells.
    message: BytesMut,
}

/// Control messages of this size are kept for a worker that comes later.
const MOST_MESSAGE: usize = 64 << 10;

// === impl What ===

impl What {
    pub(super) fn number(self) -> Option<i64> {
        match self {
            What::Read(number) | What::Write(number) | What::Other(Some(number)) => Some(number),
            What::Next | What::Other(None) => None,
        }
    }
}

// === impl TrickleGuard ===

impl TrickleGuard {
    pub(super) fn new(entered: Entered, role: Role, what: What) -> TrickleGuard {
        let (seq, latest) = (None, None);
        let status = StatusCode::OK;
        TrickleGuard { entered, role, what, status, seq, latest, begun: false, message: BytesMut::new() }
    }

    fn hand(&self) -> &Hand {
        &self.entered.0
    }

    /// The number that this request writes, when it is known.
    fn written(&self) -> Option<i64> {
        match self.what {
            What::Write(number) if number >= 0 => Some(number),
            What::Write(_) => self.seq,
            _ => None,
        }
    }

    /// The orchestrator's number as the worker counts.
    fn theirs(&self, number: i64) -> i64 {
        number.saturating_sub(self.hand().offset(self.role)).max(0)
    }

    fn shifted(&self) -> bool {
        self.hand().offset(self.role) != 0
    }

    /// `next` tells its number as text, too.
    fn next(&mut self, chunk: &mut Option<Bytes>, end: bool) {
        if let Some(bytes) = chunk.take() {
            self.keep(&bytes);
        }
        if end {
            let told = std::str::from_utf8(&self.message).ok().and_then(|text| text.trim().parse::<i64>().ok());
            let text = told.map(|number| Bytes::from(self.theirs(number).to_string()));
            *chunk = Some(text.unwrap_or_else(|| self.message.split().freeze()));
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MOST_MESSAGE + 1 - self.message.len().min(MOST_MESSAGE + 1);
        self.message.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[async_trait]
impl Guard for TrickleGuard {
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> Verdict {
        self.status = status;
        (self.seq, self.latest) = (number(headers, SEQ), number(headers, LATEST));
        if status == StatusCode::NOT_FOUND || headers.contains_key(CLOSED) {
            self.hand().job.over(self.role);
        }
        match self.what {
            What::Next if self.shifted() && status == StatusCode::OK => Verdict::Rewrite,
            _ => Verdict::Pass,
        }
    }

    /// One who came later counts from 0 all the same.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        if !self.shifted() {
            return Vec::new();
        }
        let told = [(SEQ, self.seq), (LATEST, self.latest)];
        let number = |(name, number): (&'static str, Option<i64>)| {
            Some((HeaderName::from_static(name), HeaderValue::from(self.theirs(number?))))
        };
        told.into_iter().filter_map(number).collect()
    }

    fn may_send(&self) -> Result<(), String> {
        match self.hand().is_replaced() {
            true => Err("another worker has this video now".into()),
            false => Ok(()),
        }
    }

    fn sent(&mut self, bytes: &Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.hand().touch();
        if self.role == Role::Publish {
            self.hand().made.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        if !std::mem::replace(&mut self.begun, true)
            && let Some(number) = self.written()
        {
            self.hand().job.wrote(self.role, number);
        }
    }

    fn received(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        match (self.role, self.what) {
            (Role::Subscribe, What::Read(_)) => {
                let bytes = chunk.as_ref().map_or(0, Bytes::len);
                self.hand().sent.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            (Role::Control, What::Read(_)) if self.status == StatusCode::OK => {
                if let Some(bytes) = chunk {
                    let bytes = bytes.clone();
                    self.keep(&bytes);
                }
            }
            (_, What::Next) if self.shifted() && self.status == StatusCode::OK => self.next(chunk, end),
            _ => {}
        }
        Ok(())
    }

    async fn failed(self: Box<Self>, why: Failure) -> Decision {
        self.hand().job.doubt();
        let text = format!("the orchestrator cannot be reached: {}", why.text);
        Decision::Answer(Answer::fault(Manner::Plain, StatusCode::BAD_GATEWAY, &text))
    }

    fn finished(self: Box<Self>, end: End) {
        let hand = self.hand();
        let job = &hand.job;
        match (&end, self.written()) {
            // A segment without a byte uses up its number all the same.
            (End::Whole, Some(number)) if self.status == StatusCode::OK => job.wrote(self.role, number),
            (End::ClientLeft | End::Cut(_), Some(number)) if self.begun => hand.broke(self.role, number),
            _ => {}
        }
        match end {
            End::Whole => {
                let whole = self.role == Role::Control && self.message.len() <= MOST_MESSAGE;
                if whole && matches!(self.what, What::Read(_)) {
                    job.heard(&self.message);
                }
                hand.touch();
            }
            End::ClientLeft => job.stir.notify_one(),
            End::Cut(_) => job.doubt(),
        }
    }
}
