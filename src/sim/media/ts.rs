//! Writes MPEG-TS: one program with one H.264 stream, one picture a PES packet.
use bytes::{BufMut, Bytes, BytesMut};

pub(super) const PACKET: usize = 188;
const MAP_ID: u16 = 0x1000;
const VIDEO_ID: u16 = 0x100;
/// The adaptation field with the clock, in the first packet of a picture.
const CLOCK: usize = 8;
const PES_HEAD: usize = 14;
/// Presentation times begin here, as ffmpeg's do, so that the clock can run ahead.
const START: u64 = 126_000;

pub(super) struct Mux {
    out: BytesMut,
    counter: u8,
}

/// Bytes of a picture that fill so many packets exactly.
pub(super) fn room(packets: usize) -> usize {
    packets * (PACKET - 4) - CLOCK - PES_HEAD
}

// === impl Mux ===

impl Mux {
    pub(super) fn new(capacity: usize) -> Mux {
        let mut out = BytesMut::with_capacity(capacity + 2 * PACKET);
        let [map_high, map_low] = MAP_ID.to_be_bytes();
        let [video_high, video_low] = VIDEO_ID.to_be_bytes();
        table(&mut out, 0, 0, &[0, 1, 0xE0 | map_high, map_low]);
        let map = [0xE0 | video_high, video_low, 0xF0, 0, 0x1B, 0xE0 | video_high, video_low, 0xF0, 0];
        table(&mut out, MAP_ID, 2, &map);
        Mux { out, counter: 0 }
    }

    pub(super) fn picture(&mut self, unit: &[u8], time: u64) {
        let shown = time + START;
        let mut head = [0, 0, 1, 0xE0, 0, 0, 0x84, 0x80, 5, 0, 0, 0, 0, 0];
        head[9] = 0x21 | (shown >> 29) as u8 & 0x0E;
        head[10] = (shown >> 22) as u8;
        head[11] = (shown >> 14) as u8 | 1;
        head[12] = (shown >> 7) as u8;
        head[13] = (shown << 1) as u8 | 1;
        let first = (PACKET - 4 - CLOCK - PES_HEAD).min(unit.len());
        self.packet(Some(time), &[&head, &unit[..first]]);
        for piece in unit[first..].chunks(PACKET - 4) {
            self.packet(None, &[piece]);
        }
    }

    /// One packet; what its payload does not fill is stuffed.
    fn packet(&mut self, clock: Option<u64>, payload: &[&[u8]]) {
        let length: usize = payload.iter().map(|piece| piece.len()).sum();
        let field = PACKET - 4 - length;
        let [high, low] = VIDEO_ID.to_be_bytes();
        let starts = if clock.is_some() { 0x40 } else { 0 };
        let control = if field > 0 { 0x30 } else { 0x10 };
        self.out.put_slice(&[0x47, starts | high, low, control | self.counter]);
        self.counter = (self.counter + 1) % 16;
        if field > 0 {
            self.out.put_u8((field - 1) as u8);
        }
        let mut stuffing = field.saturating_sub(2);
        if let Some(clock) = clock {
            self.out.put_slice(&[0x10]);
            self.out.put_u32((clock >> 1) as u32);
            self.out.put_slice(&[(clock << 7) as u8 | 0x7E, 0]);
            stuffing = field - CLOCK;
        } else if field > 1 {
            self.out.put_u8(0);
        }
        self.out.put_bytes(0xFF, stuffing);
        payload.iter().for_each(|piece| self.out.put_slice(piece));
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

/// A packet with one section.
fn table(out: &mut BytesMut, id: u16, table: u8, body: &[u8]) {
    let [high, low] = id.to_be_bytes();
    let mut section = vec![table, 0xB0, (body.len() + 9) as u8, 0, 1, 0xC1, 0, 0];
    section.extend_from_slice(body);
    let sum = checksum(&section);
    out.put_slice(&[0x47, 0x40 | high, low, 0x10, 0]);
    out.put_slice(&section);
    out.put_u32(sum);
    out.put_bytes(0xFF, PACKET - 5 - section.len() - 4);
}

/// CRC-32 as MPEG-2 has it.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte) << 24,
            |sum, _| {
                if sum >> 31 == 1 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 }
            },
        )
    })
}
