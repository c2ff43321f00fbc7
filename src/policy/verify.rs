//! Whether a result is true, and what it is worth: never by the worker's word alone.
use crate::domain::work::{MediaFacts, Profile};

/// One rendition of a result: what the worker says, what the bytes say.
#[derive(Clone, Debug)]
pub struct PartClaim {
    pub reported: u64,
    pub bytes: u64,
    pub facts: MediaFacts,
}

/// A result that holds: pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    pub reported: u64,
    /// None when a rendition is of a kind that is not counted yet.
    pub computed: Option<u64>,
    pub credited: u64,
}

/// Judges a result: parts against profiles (`MismatchedSegments`, `ZeroSegments`), container,
/// codec, width and height, frames against rate and duration, not the source, reported pixels
/// not above computed. The error is a plain sentence for the worker's console, at most 200
/// characters, without `%`.
pub fn check(
    profiles: &[Profile],
    source: Option<&MediaFacts>,
    duration_ms: u64,
    parts: &[PartClaim],
) -> Result<Credit, String> {
    let _ = (profiles, source, duration_ms, parts);
    Err("not written".into())
}
