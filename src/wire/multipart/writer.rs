//! The body of a result, in the bytes that a stock transcoder writes.
use bytes::Bytes;

use crate::wire::headers::{JSON_TYPE, MULTIPART_TYPE};

/// What is written of a part before its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartOut<'a> {
    pub content_type: &'a str,
    pub length: u64,
    pub pixels: Option<u64>,
}

/// A file of an AI worker's answer, named by the JSON behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOut<'a> {
    /// Letters, digits, dots, dashes: it stands unquoted.
    pub name: &'a str,
    pub content_type: &'a str,
    pub length: u64,
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
        let boundary = boundary_of(chance);
        let heads = parts.iter().enumerate().map(|(n, part)| head(&boundary, n, part)).collect();
        Writer::around(boundary, heads, parts.iter().map(|part| part.length).sum())
    }

    /// An AI worker's answer: its files, then its JSON as the last part.
    pub fn for_answer(chance: u128, files: &[FileOut<'_>], json_length: u64) -> Writer {
        let boundary = boundary_of(chance);
        let mut heads: Vec<Bytes> = files.iter().enumerate().map(|(n, file)| file_head(&boundary, n, file)).collect();
        let json = PartOut { content_type: JSON_TYPE, length: json_length, pixels: None };
        heads.push(head(&boundary, files.len(), &json));
        Writer::around(boundary, heads, files.iter().map(|file| file.length).sum::<u64>() + json_length)
    }

    fn around(boundary: String, heads: Vec<Bytes>, inside: u64) -> Writer {
        let tail = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        let around: usize = heads.iter().map(Bytes::len).sum::<usize>() + tail.len();
        Writer { boundary, heads, tail, length: inside + around as u64 }
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

fn boundary_of(chance: u128) -> String {
    format!("{:020x}", chance & ((1 << 80) - 1))
}

fn file_head(boundary: &str, n: usize, file: &FileOut<'_>) -> Bytes {
    let before = if n == 0 { "" } else { "\r\n" };
    let FileOut { name, content_type, length } = file;
    format!(
        "{before}--{boundary}\r\nContent-Disposition: attachment; filename={name}\r\n\
         Content-Length: {length}\r\nContent-Type: {content_type}\r\n\r\n"
    )
    .into()
}

/// Headers stand in the order of the alphabet, as Go writes them.
fn head(boundary: &str, n: usize, part: &PartOut<'_>) -> Bytes {
    let before = if n == 0 { "" } else { "\r\n" };
    let (length, kind) = (part.length, part.content_type);
    let pixels = part.pixels.map(|pixels| format!("Pixels: {pixels}\r\n")).unwrap_or_default();
    format!("{before}--{boundary}\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n{pixels}\r\n").into()
}
