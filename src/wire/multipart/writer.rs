//! The body of a result, in the bytes that a stock transcoder writes.
use bytes::Bytes;

use crate::wire::headers::MULTIPART_TYPE;

/// What is written of a part before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOut<'a> {
    pub content_type: &'a str,
    pub length: u64,
    pub pixels: Option<u64>,
}

/// Everything of a body but the bytes of its parts: write `head(0)`, part 0, `head(1)`,
/// part 1, ..., `tail()`.
#[derive(Clone, Debug)]
pub struct Writer {
    boundary: String,
    heads: Vec<Bytes>,
    tail: Bytes,
    length: u64,
}

// === impl Writer ===

impl Writer {
    /// `chance` makes the boundary, 80 bits of it.
    pub fn new(chance: u128, parts: &[PartOut<'_>]) -> Writer {
        let boundary = format!("{:020x}", chance & ((1 << 80) - 1));
        let heads: Vec<Bytes> = parts.iter().enumerate().map(|(n, part)| head(&boundary, n, part)).collect();
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let around: usize = heads.iter().map(Bytes::len).sum::<usize>() + tail.len();
        let length = parts.iter().map(|part| part.length).sum::<u64>() + around as u64;
        Writer { boundary, heads, tail, length }
    }

    pub fn content_type(&self) -> String {
        format!("{MULTIPART_TYPE}; boundary={}", self.boundary)
    }

    /// Bytes of the whole body.
    pub fn content_length(&self) -> u64 {
        self.length
    }

    /// What stands before the bytes of part `n`, counted from 0; empty past the last.
    pub fn head(&self, n: usize) -> Bytes {
        self.heads.get(n).cloned().unwrap_or_default()
    }

    pub fn tail(&self) -> Bytes {
        self.tail.clone()
    }
}

/// Headers stand in the order of the alphabet, as Go writes them.
fn head(boundary: &str, n: usize, part: &PartOut<'_>) -> Bytes {
    let before = if n == 0 { "" } else { "\r\n" };
    let (length, kind) = (part.length, part.content_type);
    let pixels = part.pixels.map(|pixels| format!("Pixels: {pixels}\r\n")).unwrap_or_default();
    format!("{before}--{boundary}\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n{pixels}\r\n").into()
}
