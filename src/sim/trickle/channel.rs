//! One channel: its last five segments, who writes them, who waits for them.
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Read, Received};

/// Segments that are kept.
const KEPT: usize = 5;
/// Bytes of one segment.
const MOST: usize = 256 << 20;

pub struct Channel {
    pub(super) mime: String,
    state: Mutex<State>,
}

struct State {
    segments: [Option<Arc<Segment>>; KEPT],
    next: i64,
    written: Instant,
    closed: bool,
}

pub(super) struct Segment {
    pub(super) number: i64,
    written: Mutex<Written>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Written {
    chunks: Vec<(Bytes, Instant)>,
    length: usize,
    closed: bool,
}

/// Writes one segment piece by piece; dropping it ends the segment.
pub struct Writer {
    channel: Arc<Channel>,
    segment: Arc<Segment>,
}

/// What a GET finds.
pub(super) struct Found {
    pub(super) segment: Option<Arc<Segment>>,
    pub(super) number: i64,
    pub(super) latest: i64,
    pub(super) closed: bool,
}

// === impl Channel ===

impl Channel {
    pub(super) fn new(mime: &str) -> Channel {
        let state = State { segments: Default::default(), next: 0, written: Instant::now(), closed: false };
        Channel { mime: mime.to_owned(), state: Mutex::new(state) }
    }

    /// The next to be written.
    pub fn latest(&self) -> i64 {
        self.state.lock().next
    }

    pub fn closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Publishes one whole segment; its number.
    pub fn publish(&self, body: Bytes) -> i64 {
        let segment = self.for_write(-1);
        if !body.is_empty() {
            segment.write(body);
        }
        self.wrote(&segment);
        segment.close();
        segment.number
    }

    /// Begins a segment that is written piece by piece.
    pub fn begin(self: &Arc<Self>) -> Writer {
        Writer { channel: self.clone(), segment: self.for_write(-1) }
    }

    /// Waits for a segment and reads it to its end.
    pub async fn read(&self, number: i64) -> Read {
        let found = self.for_read(number);
        let Some(segment) = found.segment else {
            return if found.closed { Read::Closed } else { Read::Missing { latest: found.latest } };
        };
        let (mut body, mut at, mut first) = (BytesMut::new(), 0, None);
        let mut last = Instant::now();
        while let Some((chunk, when)) = segment.chunk(at).await {
            at += 1;
            first = first.or(Some(when));
            last = when;
            body.extend_from_slice(&chunk);
        }
        if body.is_empty() && self.closed() {
            return Read::Closed;
        }
        Read::Segment(Received { number: segment.number, body: body.freeze(), first: first.unwrap_or(last), last })
    }

    pub(super) fn idle(&self) -> Duration {
        self.state.lock().written.elapsed()
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        for segment in std::mem::take(&mut state.segments).into_iter().flatten() {
            segment.close();
        }
    }

    /// Any number may be written; -1 is the next. An old segment in its place is ended.
    pub(super) fn for_write(&self, number: i64) -> Arc<Segment> {
        let mut state = self.state.lock();
        let number = if number == -1 { state.next } else { number };
        state.place(number)
    }

    /// -1: the next to be written; -2: the one that is being written. The next may be waited for,
    /// and 1 on a fresh channel.
    pub(super) fn for_read(&self, number: i64) -> Found {
        let mut state = self.state.lock();
        let latest = state.next;
        let number = match number {
            -1 => latest,
            -2 => (latest - 1).max(0),
            number => number,
        };
        let early = number == latest || (latest == 0 && number == 1);
        let mut segment = state.find(number);
        if segment.is_none() && early && !state.closed {
            segment = Some(state.place(number));
        }
        Found { segment, number, latest, closed: state.closed }
    }

    pub(super) fn find(&self, number: i64) -> Option<Arc<Segment>> {
        self.state.lock().find(number)
    }

    /// The writer restarted: what is open before its segment ends.
    pub(super) fn reset(&self, before: i64) {
        for segment in self.state.lock().segments.iter().flatten() {
            if segment.number < before {
                segment.close();
            }
        }
    }

    /// The first byte of a segment, or its end without one.
    pub(super) fn wrote(&self, segment: &Segment) {
        let mut state = self.state.lock();
        state.next = segment.number + 1;
        state.written = Instant::now();
    }
}

// === impl State ===

impl State {
    fn slot(number: i64) -> usize {
        usize::try_from(number.rem_euclid(KEPT as i64)).unwrap_or_default()
    }

    fn find(&self, number: i64) -> Option<Arc<Segment>> {
        self.segments[State::slot(number)].clone().filter(|segment| segment.number == number)
    }

    fn place(&mut self, number: i64) -> Arc<Segment> {
        if let Some(segment) = self.find(number) {
            return segment;
        }
        let segment = Arc::new(Segment { number, written: Mutex::default(), changed: watch::Sender::new(()) });
        if let Some(old) = self.segments[State::slot(number)].replace(segment.clone()) {
            old.close();
        }
        segment
    }
}

// === impl Segment ===

impl Segment {
    /// Whether there was room.
    pub(super) fn write(&self, data: Bytes) -> bool {
        let mut written = self.written.lock();
        if written.length + data.len() > MOST {
            return false;
        }
        written.length += data.len();
        written.chunks.push((data, Instant::now()));
        drop(written);
        self.changed.send_replace(());
        true
    }

    pub(super) fn close(&self) {
        self.written.lock().closed = true;
        self.changed.send_replace(());
    }

    /// Chunk `at`, when it is there; `None` at the end.
    pub(super) async fn chunk(&self, at: usize) -> Option<(Bytes, Instant)> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let written = self.written.lock();
                if let Some(chunk) = written.chunks.get(at) {
                    return Some(chunk.clone());
                }
                if written.closed {
                    return None;
                }
            }
            if changed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Waits until it was ended, by whomever.
    pub(super) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        while !self.written.lock().closed {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

// === impl Writer ===

impl Writer {
    pub fn number(&self) -> i64 {
        self.segment.number
    }

    pub fn write(&mut self, data: Bytes) {
        self.channel.wrote(&self.segment);
        self.segment.write(data);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.channel.latest() <= self.segment.number {
            self.channel.wrote(&self.segment);
        }
        self.segment.close();
    }
}
