//! The work itself: profiles, media facts, pixels.
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    H264,
    Hevc,
    Vp8,
    Vp9,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    MpegTs,
    Mp4,
}

/// One rendition that the gateway asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: Arc<str>,
    pub width: u32,
    pub height: u32,
    /// Frames a second as a fraction; 0 means "as the source".
    pub fps: u32,
    /// 0 is read as 1.
    pub fps_den: u32,
    pub codec: Codec,
    pub container: Container,
}

/// The part of a segment that the gateway wants, in milliseconds from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clip {
    pub from_ms: u64,
    /// 0: to the end.
    pub to_ms: u64,
}

/// What a look at the bytes told us of a piece of video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaFacts {
    /// Counted: H.264 in MPEG-TS.
    Counted(Counted),
    /// Recognised as a container or codec that is not counted here.
    Uncounted { what: &'static str },
    /// Not what it claims to be; the text says why in words.
    Broken { why: String },
}

/// Facts counted from the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub width: u32,
    pub height: u32,
    /// Pictures (a pair of fields is one).
    pub frames: u64,
    /// From presentation times: last minus first plus one frame. 0 when it cannot be told.
    pub duration_ms: u64,
    /// A fingerprint of the elementary video stream: equal for two copies of the same video.
    pub digest: u64,
}

// === impl Clip ===

impl Clip {
    /// What is left of so many seconds.
    pub fn of(self, seconds: f64) -> f64 {
        let [from, to] = [self.from_ms, self.to_ms].map(|ms| Duration::from_millis(ms).as_secs_f64());
        let end = if self.to_ms == 0 { seconds } else { to.min(seconds) };
        (end - from).max(0.0)
    }
}

// === impl Profile ===

impl Profile {
    /// Frames a second, or `source` when the profile follows it.
    pub fn rate(&self, source: f64) -> f64 {
        if self.fps == 0 { source } else { f64::from(self.fps) / f64::from(self.fps_den.max(1)) }
    }
}

// === impl Counted ===

impl Counted {
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * self.frames
    }
}

/// Ladder cost in units of 720p30: the sum of width x height x rate over the profiles.
pub fn ladder_cost(profiles: &[Profile]) -> f64 {
    const HD30: f64 = 1280.0 * 720.0 * 30.0;
    let sum: f64 = profiles.iter().map(|p| f64::from(p.width) * f64::from(p.height) * p.rate(30.0)).sum();
    (sum / HD30).max(1.0 / 64.0)
}
