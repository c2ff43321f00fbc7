//! The tables of MPEG-TS that lead to the video: PAT, then PMT.

/// The longest section, its head included.
const MOST: usize = 3 + 1021;

/// Puts one section together from the payloads of its packets.
#[derive(Debug, Default)]
pub(super) struct Section {
    bytes: Vec<u8>,
    running: bool,
}

// === impl Section ===

impl Section {
    /// The payload of a packet; gives the section's body (without head and checksum) when it is
    /// whole.
    pub(super) fn feed(&mut self, payload: &[u8], starts: bool, table: u8) -> Option<&[u8]> {
        if starts {
            let pointer = usize::from(*payload.first()?);
            self.bytes.clear();
            self.bytes.extend_from_slice(payload.get(1 + pointer..)?);
            self.running = true;
        } else if self.running {
            self.bytes.extend_from_slice(payload);
        }
        if !self.running || self.bytes.len() < 3 {
            return None;
        }
        let length = 3 + (usize::from(self.bytes[1] & 0x0F) << 8 | usize::from(self.bytes[2]));
        if self.bytes[0] != table || !(12..=MOST).contains(&length) {
            self.running = false;
            return None;
        }
        if self.bytes.len() < length {
            return None;
        }
        self.running = false;
        // Eight bytes of head, four of checksum.
        self.bytes.get(8..length - 4)
    }
}

/// The packet id of the first program's map.
pub(super) fn map_id(body: &[u8]) -> Option<u16> {
    let (entries, _) = body.as_chunks::<4>();
    let program = entries.iter().find(|entry| entry[0] != 0 || entry[1] != 0)?;
    Some(u16::from(program[2] & 0x1F) << 8 | u16::from(program[3]))
}

/// The first video stream of a map: stream type and packet id. `Some(None)`: there is none.
pub(super) fn video_id(body: &[u8]) -> Option<Option<(u8, u16)>> {
    let about = usize::from(body.get(2)? & 0x0F) << 8 | usize::from(*body.get(3)?);
    let mut rest = body.get(4 + about..)?;
    while let [kind, id_high, id_low, length_high, length_low, ..] = *rest {
        if codec(kind).is_some() {
            return Some(Some((kind, u16::from(id_high & 0x1F) << 8 | u16::from(id_low))));
        }
        let about = usize::from(length_high & 0x0F) << 8 | usize::from(length_low);
        rest = rest.get(5 + about..).unwrap_or_default();
    }
    Some(None)
}

/// Names of the video stream types.
pub(super) fn codec(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x01 => "MPEG-1 video",
        0x02 => "MPEG-2 video",
        0x10 => "MPEG-4 video",
        0x1B => "H.264",
        0x21 => "JPEG 2000 video",
        0x24 => "HEVC",
        0x33 => "VVC",
        0xEA => "VC-1",
        _ => return None,
    })
}
