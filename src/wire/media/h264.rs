//! H.264: finds NAL units in a stream and counts its pictures.
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::bits::Bits;
use super::digest::Digest;

/// Bytes of a slice's head that are read, and of a parameter set.
const SLICE_HEAD: usize = 24;
const MOST_SET: usize = 4096;
const MOST_SIDE: u32 = 16_384;
/// Built once: a packet is too short to build a search for.
static START: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&[0, 0, 1]));

#[derive(Debug, Default)]
pub(super) struct Video {
    digest: Digest,
    /// Zero bytes at the end of what came, at most 2: a start code may be split.
    zeros: usize,
    /// The beginning of the running NAL unit, and how much of it is wanted.
    unit: Vec<u8>,
    wanted: usize,
    pictures: Pictures,
}

/// What the whole stream holds.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: u64,
    pub(super) digest: u64,
}

#[derive(Debug, Default)]
struct Pictures {
    sequences: Vec<Option<Sequence>>,
    /// Which sequence each picture parameter set belongs to.
    of_picture: Vec<Option<u32>>,
    size: Option<(u32, u32)>,
    size_changed: bool,
    frames: u64,
    /// A first field that waits for its second: bottom, and the frame's number.
    field: Option<(bool, u32)>,
}

/// What is needed of a sequence parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) width: u32,
    pub(super) height: u32,
    planes: bool,
    number_bits: u32,
    fields: bool,
}

// === impl Video ===

impl Video {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.digest.feed(bytes);
        let mut at = match bytes {
            [1, ..] if self.zeros >= 2 => 1,
            [0, 1, ..] if self.zeros >= 1 => 2,
            _ => 0,
        };
        if at > 0 {
            self.next_unit();
        }
        while let Some(found) = START.find(&bytes[at..]) {
            self.collect(&bytes[at..at + found]);
            self.next_unit();
            at += found + 3;
        }
        self.collect(&bytes[at..]);
        self.zeros = match bytes {
            [] => self.zeros,
            [.., 0, 0] => 2,
            [0] => (self.zeros + 1).min(2),
            [.., 0] => 1,
            _ => 0,
        };
    }

    fn collect(&mut self, bytes: &[u8]) {
        if self.wanted == 0 {
            return;
        }
        if self.unit.is_empty()
            && let Some(first) = bytes.first()
        {
            self.wanted = match first & 0x1F {
                1 | 2 | 5 => SLICE_HEAD,
                7 => MOST_SET,
                8 => SLICE_HEAD,
                _ => 0,
            };
        }
        let take = bytes.len().min(self.wanted);
        self.unit.extend_from_slice(&bytes[..take]);
        self.wanted -= take;
    }

    /// A start code was seen: what was collected is a whole unit, or enough of it.
    fn next_unit(&mut self) {
        self.pictures.unit(&self.unit);
        self.unit.clear();
        // One byte tells the kind.
        self.wanted = 1;
    }

    pub(super) fn finish(mut self) -> Result<Picture, String> {
        self.next_unit();
        let pictures = self.pictures;
        let Some((width, height)) = pictures.size else {
            let known = pictures.sequences.iter().any(Option::is_some);
            let why =
                if known { "the video stream has no pictures" } else { "the video stream has no H.264 parameters" };
            return Err(why.into());
        };
        if pictures.size_changed {
            return Err(format!("the picture size changes after {width}x{height}"));
        }
        Ok(Picture { width, height, frames: pictures.frames, digest: self.digest.value() })
    }
}

// === impl Pictures ===

impl Pictures {
    /// What cannot be read is skipped: a decoder could not use it either.
    fn unit(&mut self, unit: &[u8]) {
        let Some((first, body)) = unit.split_first() else { return };
        let _ = match first & 0x1F {
            1 | 2 | 5 => self.slice(body),
            7 => self.sequence(body),
            8 => self.picture_set(body),
            _ => None,
        };
    }

    fn sequence(&mut self, body: &[u8]) -> Option<()> {
        let (id, sequence) = read_sequence(body)?;
        put(&mut self.sequences, id, 31, sequence)
    }

    fn picture_set(&mut self, body: &[u8]) -> Option<()> {
        let mut bits = Bits::new(body);
        let id = bits.unsigned()?;
        let sequence = bits.unsigned()?;
        put(&mut self.of_picture, id, 255, sequence)
    }

    fn slice(&mut self, body: &[u8]) -> Option<()> {
        let mut bits = Bits::new(body);
        // A picture begins with its first macroblock; its other slices do not count.
        if bits.unsigned()? != 0 {
            return None;
        }
        let _kind = bits.unsigned()?;
        let picture_set = bits.unsigned()?;
        let id = *self.of_picture.get(picture_set as usize)?;
        let sequence = (*self.sequences.get(id? as usize)?)?;
        if sequence.planes && bits.take(2)? != 0 {
            return None;
        }
        let number = bits.take(sequence.number_bits)?;
        let size = (sequence.width, sequence.height);
        self.size_changed |= *self.size.get_or_insert(size) != size;
        if !(sequence.fields && bits.flag()?) {
            self.field = None;
            self.frames += 1;
            return Some(());
        }
        let bottom = bits.flag()?;
        if self.field == Some((!bottom, number)) {
            self.field = None;
        } else {
            self.field = Some((bottom, number));
            self.frames += 1;
        }
        Some(())
    }
}

fn put<T>(list: &mut Vec<Option<T>>, id: u32, most: u32, value: T) -> Option<()> {
    if id > most {
        return None;
    }
    let id = id as usize;
    while list.len() <= id {
        list.push(None);
    }
    list[id] = Some(value);
    Some(())
}

/// A sequence parameter set without its first byte, up to the cropping; what follows is not
/// needed.
pub(super) fn read_sequence(body: &[u8]) -> Option<(u32, Sequence)> {
    let mut bits = Bits::new(body);
    let profile = bits.take(8)?;
    bits.take(16)?;
    let id = bits.unsigned()?;
    let mut chroma = 1;
    let mut planes = false;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.unsigned()?;
        planes = chroma == 3 && bits.flag()?;
        bits.unsigned()?;
        bits.unsigned()?;
        bits.flag()?;
        if bits.flag()? {
            skip_scaling(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    let number_bits = bits.unsigned()?.checked_add(4).filter(|count| *count <= 16)?;
    skip_order(&mut bits)?;
    bits.unsigned()?;
    bits.flag()?;
    let width = bits.unsigned()?.checked_add(1)?.checked_mul(16)?;
    let units = bits.unsigned()?.checked_add(1)?;
    let fields = !bits.flag()?;
    let height = units.checked_mul(if fields { 32 } else { 16 })?;
    if fields {
        bits.flag()?;
    }
    bits.flag()?;
    let [mut cut_width, mut cut_height] = [0u32; 2];
    if bits.flag()? {
        // Cropping counts in chroma samples, and in pairs of lines when there are fields.
        let (unit_width, unit_height) = match (chroma, planes) {
            (1, false) => (2, 2),
            (2, false) => (2, 1),
            _ => (1, 1),
        };
        let unit_height = if fields { 2 * unit_height } else { unit_height };
        cut_width = bits.unsigned()?.checked_add(bits.unsigned()?)?.checked_mul(unit_width)?;
        cut_height = bits.unsigned()?.checked_add(bits.unsigned()?)?.checked_mul(unit_height)?;
    }
    let side = |whole: u32, cut: u32| whole.checked_sub(cut).filter(|side| (1..=MOST_SIDE).contains(side));
    let (width, height) = (side(width, cut_width)?, side(height, cut_height)?);
    Some((id, Sequence { width, height, planes, number_bits, fields }))
}

fn skip_scaling(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// The picture order count's part.
fn skip_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.flag()?;
            bits.signed()?;
            bits.signed()?;
            let count = bits.unsigned()?;
            if count > 255 {
                return None;
            }
            for _ in 0..count {
                bits.signed()?;
            }
        }
        _ => {}
    }
    Some(())
}
