//! A push parser: chunks go in, parts and slices of their bytes come out.
use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem::Finder;

use super::head::{PartHead, read_head};
use super::{BadMultipart, MOST_HEAD, MOST_PARTS, PartFault};

/// What a body is made of, in the order of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Part(PartHead),
    /// Bytes of the part: slices of the chunks as they came.
    Data(Bytes),
    PartEnd,
    /// The closing boundary was seen.
    End,
}

/// Reads one body: `feed` a chunk, then take events by `next` until there are none, then
/// the next chunk; `finish` when the body ended.
pub struct Reader {
    /// CR, LF, two dashes and the boundary.
    delimiter: Finder<'static>,
    most_part: u64,
    buffer: Bytes,
    state: State,
    /// Parts begun.
    parts: u32,
    /// Bytes of the running part so far.
    taken: u64,
    /// The error that ended the reading; it is given again when asked again.
    failed: Option<BadMultipart>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// The delimiter was read; what comes now says whether a part follows.
    Delimited,
    Head,
    /// A part of known length, with this much to come.
    Counted {
        length: u64,
        left: u64,
    },
    Scanned,
    Ended,
}

/// What a step of the machine did.
enum Step {
    Yield(Event),
    Again,
    Starved,
}

/// A delimiter line may have spaces after the boundary.
const MOST_PADDING: usize = 32;

// === impl Reader ===

impl Reader {
    /// `most_part` is the limit on the bytes of one part.
    pub fn new(boundary: &str, most_part: u64) -> Reader {
        let delimiter = format!("\r\n--{boundary}");
        Reader {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            most_part,
            buffer: Bytes::new(),
            state: State::Start,
            parts: 0,
            taken: 0,
            failed: None,
        }
    }

    pub fn feed(&mut self, chunk: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = chunk;
            return;
        }
        // What is left over is shorter than a delimiter or a part's headers: a chunk is copied
        // only where one of those is split.
        let left = std::mem::take(&mut self.buffer);
        let mut joined = left.try_into_mut().unwrap_or_else(|left| {
            let mut joined = BytesMut::with_capacity(left.len() + chunk.len());
            joined.extend_from_slice(&left);
            joined
        });
        joined.extend_from_slice(&chunk);
        self.buffer = joined.freeze();
    }

    /// The next event; `None` when it takes another chunk. Not an iterator: after `None` come
    /// more events.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Event>, BadMultipart> {
        loop {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            let step = match self.state {
                State::Start => self.start(),
                State::Delimited => self.delimited(),
                State::Head => self.head(),
                State::Counted { length, left } => self.counted(length, left),
                State::Scanned => self.scanned(),
                State::Ended => self.ended(),
            };
            match step {
                Ok(Step::Yield(event)) => return Ok(Some(event)),
                Ok(Step::Again) => {}
                Ok(Step::Starved) => return Ok(None),
                Err(error) => {
                    self.buffer = Bytes::new();
                    self.failed = Some(error);
                }
            }
        }
    }

    /// The body ended: an error unless the closing boundary was seen.
    pub fn finish(self) -> Result<(), BadMultipart> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.state {
            State::Ended => Ok(()),
            State::Start => Err(BadMultipart::NoStart),
            State::Delimited => Err(BadMultipart::Truncated { parts: self.parts }),
            State::Head | State::Counted { .. } | State::Scanned => Err(self.fault(PartFault::CutShort)),
        }
    }

    /// Parts begun so far.
    pub fn parts(&self) -> u32 {
        self.parts
    }

    fn fault(&self, fault: PartFault) -> BadMultipart {
        BadMultipart::Part { part: self.parts, fault }
    }

    /// A body begins with a boundary; with CRLF before it when it has no parts.
    fn start(&mut self) -> Result<Step, BadMultipart> {
        let whole = self.delimiter.needle();
        let wanted = match self.buffer.first() {
            None => return Ok(Step::Starved),
            Some(b'\r') => whole,
            Some(_) => &whole[2..],
        };
        let seen = self.buffer.len().min(wanted.len());
        if self.buffer[..seen] != wanted[..seen] {
            return Err(BadMultipart::NoStart);
        }
        if seen < wanted.len() {
            return Ok(Step::Starved);
        }
        self.buffer.advance(seen);
        self.state = State::Delimited;
        Ok(Step::Again)
    }

    fn delimited(&mut self) -> Result<Step, BadMultipart> {
        if self.buffer.starts_with(b"--") {
            self.buffer.advance(2);
            self.state = State::Ended;
            return Ok(Step::Yield(Event::End));
        }
        let padding = self.buffer.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let rest = &self.buffer[padding..];
        let malformed = BadMultipart::Part { part: self.parts + 1, fault: PartFault::Delimiter };
        match rest {
            _ if padding > MOST_PADDING => Err(malformed),
            [b'\r', b'\n', ..] if self.parts == MOST_PARTS => Err(BadMultipart::TooManyParts),
            [b'\r', b'\n', ..] => {
                // The line's end stays: with it even empty headers end in CRLF CRLF.
                self.buffer.advance(padding);
                self.parts += 1;
                self.taken = 0;
                self.state = State::Head;
                Ok(Step::Again)
            }
            [] | [b'\r'] => Ok(Step::Starved),
            [b'-'] if padding == 0 => Ok(Step::Starved),
            _ => Err(malformed),
        }
    }

    fn head(&mut self) -> Result<Step, BadMultipart> {
        let window = &self.buffer[..self.buffer.len().min(MOST_HEAD)];
        let Some(end) = memchr::memmem::find(window, b"\r\n\r\n") else {
            let full = self.buffer.len() >= MOST_HEAD;
            return if full { Err(self.fault(PartFault::HeadTooLong)) } else { Ok(Step::Starved) };
        };
        let lines = &self.buffer[2.min(end + 2)..end + 2];
        let head = read_head(lines).map_err(|fault| self.fault(fault))?;
        self.buffer.advance(end + 4);
        self.state = match head.content_length {
            Some(length) if length > self.most_part => return Err(self.fault(PartFault::TooLong(self.most_part))),
            Some(length) => State::Counted { length, left: length },
            None => State::Scanned,
        };
        Ok(Step::Yield(Event::Part(head)))
    }

    fn counted(&mut self, length: u64, left: u64) -> Result<Step, BadMultipart> {
        if left > 0 {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            if take == 0 {
                return Ok(Step::Starved);
            }
            self.state = State::Counted { length, left: left - take as u64 };
            return Ok(Step::Yield(Event::Data(self.buffer.split_to(take))));
        }
        let wanted = self.delimiter.needle();
        let seen = self.buffer.len().min(wanted.len());
        if self.buffer[..seen] != wanted[..seen] {
            return Err(self.fault(PartFault::LyingLength(length)));
        }
        if seen < wanted.len() {
            return Ok(Step::Starved);
        }
        self.buffer.advance(seen);
        self.state = State::Delimited;
        Ok(Step::Yield(Event::PartEnd))
    }

    fn scanned(&mut self) -> Result<Step, BadMultipart> {
        let wanted = self.delimiter.needle();
        let (take, found) = match self.delimiter.find(&self.buffer) {
            Some(at) => (at, true),
            None => (self.buffer.len() - begun(&self.buffer, wanted), false),
        };
        if take > 0 {
            self.taken += take as u64;
            if self.taken > self.most_part {
                return Err(self.fault(PartFault::TooLong(self.most_part)));
            }
            return Ok(Step::Yield(Event::Data(self.buffer.split_to(take))));
        }
        if !found {
            return Ok(Step::Starved);
        }
        self.buffer.advance(wanted.len());
        self.state = State::Delimited;
        Ok(Step::Yield(Event::PartEnd))
    }

    /// Line ends may follow the closing boundary, nothing else.
    fn ended(&mut self) -> Result<Step, BadMultipart> {
        if self.buffer.iter().any(|b| !b.is_ascii_whitespace()) {
            return Err(BadMultipart::Trailing);
        }
        self.buffer = Bytes::new();
        Ok(Step::Starved)
    }
}

/// How many bytes at the end may be the beginning of the delimiter.
fn begun(bytes: &[u8], delimiter: &[u8]) -> usize {
    let tail = &bytes[bytes.len() - bytes.len().min(delimiter.len() - 1)..];
    // CR stands at the front of a delimiter only: the last one decides.
    match memchr::memrchr(b'\r', tail) {
        Some(at) if delimiter.starts_with(&tail[at..]) => tail.len() - at,
        _ => 0,
    }
}
