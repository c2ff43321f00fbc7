//! Segments and their renditions, known to both simulated sides: one sends them, the other answers by them.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::media;

/// Frames of every segment in `examples/media`: 2 s at 30.
const FRAMES: u64 = 60;
/// What tells sources apart; the whole is compared afterwards.
const PRINT: usize = 4096;

/// One segment.
#[derive(Clone, Debug)]
pub struct Item {
    pub source: Bytes,
    /// Decoded pixels of the source.
    pub pixels: u64,
    pub renditions: Vec<Rendition>,
}

/// One prepared rendition.
#[derive(Clone, Debug)]
pub struct Rendition {
    pub width: u32,
    pub height: u32,
    pub bytes: Bytes,
    pub pixels: u64,
}

/// What segments are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The real ones of `examples/media`.
    Sample,
    /// Countable noise: a source of 1280x720 and two renditions of so many bytes together.
    Synth { bytes_in: usize, bytes_out: usize },
    /// 10 KB in and 10 KB out, one rendition: the control path alone.
    Tiny,
}

/// A set of segments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    items: Arc<Vec<Arc<Item>>>,
    by_print: Arc<HashMap<u64, Vec<usize>>>,
}

/// Different synthetic segments, and frames of each: 2 s at 24.
const SYNTHETIC: u64 = 4;
const SYNTHETIC_FRAMES: u32 = 48;
const SYNTHETIC_RATE: u32 = 24;

// === impl Library ===

impl Library {
    pub fn new(items: Vec<Item>) -> Library {
        let mut by_print: HashMap<u64, Vec<usize>> = HashMap::new();
        for (n, item) in items.iter().enumerate() {
            by_print.entry(print(&item.source)).or_default().push(n);
        }
        let items = items.into_iter().map(Arc::new).collect();
        Library { items: Arc::new(items), by_print: Arc::new(by_print) }
    }

    pub fn of(payload: Payload) -> Library {
        match payload {
            Payload::Sample => Library::samples(),
            Payload::Synth { bytes_in, bytes_out } => {
                let sizes = [(640, 360, bytes_out / 3 * 2), (426, 240, bytes_out / 3)];
                Library::new((0..SYNTHETIC).map(|seed| synthetic((1280, 720, bytes_in), &sizes, seed)).collect())
            }
            Payload::Tiny => {
                let size = |width, height| (width, height, 10_000);
                Library::new((0..SYNTHETIC).map(|seed| synthetic(size(640, 360), &[size(426, 240)], seed)).collect())
            }
        }
    }

    /// The real segments of `examples/media`.
    pub fn samples() -> Library {
        let item = |n: usize| {
            let sample = media::sample(n);
            let rendition = |(width, height, bytes): (u32, u32, &'static [u8])| Rendition {
                width,
                height,
                bytes: Bytes::from_static(bytes),
                pixels: u64::from(width) * u64::from(height) * FRAMES,
            };
            Item {
                source: Bytes::from_static(sample.source),
                pixels: 640 * 360 * FRAMES,
                renditions: sample.renditions.map(rendition).to_vec(),
            }
        };
        Library::new((0..3).map(item).collect())
    }

    /// Segment `n`, taken round. None when the library is empty.
    pub fn item(&self, n: usize) -> Option<Arc<Item>> {
        let at = n.checked_rem(self.items.len())?;
        self.items.get(at).cloned()
    }

    /// The segment whose source these bytes are, to the last byte.
    pub fn find(&self, source: &[u8]) -> Option<Arc<Item>> {
        let candidates = self.by_print.get(&print(source))?;
        let same = |n: &&usize| self.items.get(**n).is_some_and(|item| item.source == source);
        candidates.iter().find(same).and_then(|n| self.items.get(*n)).cloned()
    }
}

// === impl Item ===

impl Item {
    pub fn rendition(&self, width: u32, height: u32) -> Option<&Rendition> {
        self.renditions.iter().find(|rendition| rendition.width == width && rendition.height == height)
    }
}

/// Width, height and bytes of the source and of each rendition.
fn synthetic(source: (u32, u32, usize), renditions: &[(u32, u32, usize)], seed: u64) -> Item {
    let made = |(width, height, bytes): (u32, u32, usize), seed| {
        media::synth_segment_seeded(width, height, SYNTHETIC_FRAMES, SYNTHETIC_RATE, bytes, seed)
    };
    let pixels = |(width, height, _)| u64::from(width) * u64::from(height) * u64::from(SYNTHETIC_FRAMES);
    let rendition = |(n, size): (usize, &(u32, u32, usize))| Rendition {
        width: size.0,
        height: size.1,
        bytes: made(*size, seed << 8 | (n as u64 + 1)),
        pixels: pixels(*size),
    };
    Item {
        source: made(source, seed << 8),
        pixels: pixels(source),
        renditions: renditions.iter().enumerate().map(rendition).collect(),
    }
}

fn print(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.len().hash(&mut hasher);
    bytes[..bytes.len().min(PRINT)].hash(&mut hasher);
    hasher.finish()
}
