//! multipart/mixed, pushed in and pulled out chunk by chunk.
mod head;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use head::{PartHead, boundary_from_content_type, form_boundary};
pub use reader::{Event, Reader};
pub use writer::{FileOut, PartOut, Writer};

/// Parts that a body may have: a result has at most 64 renditions or, with hashes, half as many.
pub const MOST_PARTS: u32 = 64;
/// Bytes of one part's headers.
pub const MOST_HEAD: usize = 4 << 10;

/// Why a body is not the multipart that it claims to be. Parts are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMultipart {
    #[error("the Content-Type is not the multipart that it must be, with a boundary")]
    ContentType,
    #[error("the boundary in the Content-Type is malformed")]
    Boundary,
    #[error("the body does not begin with the boundary that its Content-Type names")]
    NoStart,
    #[error("more than {MOST_PARTS} parts")]
    TooManyParts,
    #[error("part {part}: {fault}")]
    Part { part: u32, fault: PartFault },
    #[error("the body ends before its closing boundary, {}", after(*.parts))]
    Truncated { parts: u32 },
    #[error("bytes after the closing boundary")]
    Trailing,
}

/// What is wrong with one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartFault {
    #[error("the boundary before it is malformed")]
    Delimiter,
    #[error("its headers are longer than {MOST_HEAD} bytes")]
    HeadTooLong,
    #[error("a header line is malformed")]
    Head,
    #[error("its {0} is repeated")]
    Repeated(&'static str),
    #[error("its {0} is malformed")]
    Malformed(&'static str),
    #[error("a multipart inside a multipart")]
    Nested,
    #[error("longer than the {0} bytes that are allowed")]
    TooLong(u64),
    #[error("lying length: no boundary follows the {0} bytes that its Content-Length names")]
    LyingLength(u64),
    #[error("it is cut short")]
    CutShort,
}

// === impl BadMultipart ===

impl BadMultipart {
    /// The answer is 415 rather than 400: the type itself is at fault.
    pub fn is_type(&self) -> bool {
        matches!(self, BadMultipart::ContentType | BadMultipart::Boundary)
    }

    /// The answer is 413: it broke the limit that the caller gave.
    pub fn is_limit(&self) -> bool {
        matches!(self, BadMultipart::Part { fault: PartFault::TooLong(_), .. })
    }
}

fn after(parts: u32) -> String {
    match parts {
        0 => "before any part".into(),
        _ => format!("after part {parts}"),
    }
}
