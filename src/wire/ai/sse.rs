//! Server-sent events, line by line, as go-livepeer reads and writes them.
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a line, its end left out: Go's scanner stops at the next one.
pub const MOST_LINE: usize = (64 << 10) - 1;
const PREFIX: &[u8] = b"data: ";
/// Bytes of a chunk: its line still fits with the prefix.
pub(super) const MOST_CHUNK: usize = MOST_LINE - PREFIX.len();

pub const SSE_DONE: &[u8] = b"data: [DONE]\n\n";

/// What a line says. Empty lines are not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The text behind `data:`, or a bare JSON object.
    Data(Bytes),
    /// `[DONE]`. A stock program reads on until the body ends.
    Done,
    /// Another field, a comment, or anything else.
    Skipped(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {MOST_LINE} bytes")]
pub struct LineTooLong;

/// Reads a stream: `feed` a chunk, then take lines by `next` until there are none; `finish` when
/// the body ended.
#[derive(Debug, Default)]
pub struct SseReader {
    buffer: BytesMut,
    /// So much of the buffer has no line end.
    searched: usize,
    failed: bool,
}

// === impl SseReader ===

impl SseReader {
    pub fn new() -> SseReader {
        SseReader::default()
    }

    pub fn feed(&mut self, chunk: &[u8]) {
        if !self.failed {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next line; `None` when it takes another chunk. Not an iterator: after `None` come more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Line>, LineTooLong> {
        while !self.failed {
            let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                // One more for a CR before the line end.
                if self.searched > MOST_LINE + 1 {
                    return self.fail();
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.searched + at).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if let Some(line) = sort(line).map_err(|_| self.failed = true).unwrap_or_default() {
                return Ok(Some(line));
            }
        }
        self.fail()
    }

    /// The body ended: its last line needs no line end.
    pub fn finish(mut self) -> Result<Option<Line>, LineTooLong> {
        if self.failed {
            return Err(LineTooLong);
        }
        sort(self.buffer.split().freeze())
    }

    fn fail(&mut self) -> Result<Option<Line>, LineTooLong> {
        self.failed = true;
        self.buffer = BytesMut::new();
        Err(LineTooLong)
    }
}

fn sort(mut line: Bytes) -> Result<Option<Line>, LineTooLong> {
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    if line.len() > MOST_LINE {
        return Err(LineTooLong);
    }
    let data = match line.strip_prefix(b"data:") {
        Some(data) => line.slice_ref(data.trim_ascii()),
        None if line.first() == Some(&b'{') => line,
        None if line.is_empty() => return Ok(None),
        None if &line[..] == b"[DONE]" => return Ok(Some(Line::Done)),
        None => return Ok(Some(Line::Skipped(line))),
    };
    Ok(match &data[..] {
        b"" => None,
        b"[DONE]" => Some(Line::Done),
        _ => Some(Line::Data(data)),
    })
}

/// A chunk as an event: `data: {json}` and an empty line.
pub fn sse_event(json: &[u8]) -> Bytes {
    [PREFIX, json, b"\n\n"].concat().into()
}
