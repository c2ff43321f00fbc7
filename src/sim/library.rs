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

#[derive(Clone, Debug)]
pub struct Rendition {
    pub width: u32,
    pub height: u32,
    pub bytes: Bytes,
    pub pixels: u64,
}

/// A set of segments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    items: Arc<Vec<Arc<Item>>>,
    by_print: Arc<HashMap<u64, Vec<usize>>>,
}

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

fn print(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.len().hash(&mut hasher);
    bytes[..bytes.len().min(PRINT)].hash(&mut hasher);
    hasher.finish()
}
