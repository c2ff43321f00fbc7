//! Media facts, counted from the bytes.
use crate::domain::work::MediaFacts;

/// Looks at a piece of video as its bytes go by.
#[derive(Debug, Default)]
pub struct Probe {}

// === impl Probe ===

impl Probe {
    pub fn new() -> Probe {
        Probe::default()
    }

    /// The next bytes, in chunks of any size.
    pub fn feed(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// What it was.
    pub fn finish(self) -> MediaFacts {
        MediaFacts::Broken { why: "not written".into() }
    }
}
