//! Writes the heads of H.264 pictures; what follows them is noise.

/// Bits of a NAL unit, most significant first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    bit: u32,
}

/// Bytes that cannot hold a start code: none of them is 0.
pub(super) struct Noise(u64);

const CONSTRAINED_BASELINE: [u8; 3] = [66, 0xC0, 51];

// === impl Bits ===

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for n in (0..count).rev() {
            if self.bit == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (((value >> n) & 1) as u8) << (7 - self.bit);
            }
            self.bit = (self.bit + 1) % 8;
        }
    }

    /// ue(v)
    fn unsigned(&mut self, value: u32) {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.put(0, length - 1);
        self.put(code, length);
    }

    /// The stop bit and the bits that fill the byte.
    fn stop(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}

// === impl Noise ===

impl Noise {
    pub(super) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// Fills up to `length` bytes in all; the last one holds a stop bit.
    pub(super) fn fill(&mut self, unit: &mut Vec<u8>, length: usize) {
        unit.reserve(length.saturating_sub(unit.len()) + 8);
        while unit.len() < length {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let odd = (mixed ^ (mixed >> 32)) | 0x0101_0101_0101_0101;
            unit.extend_from_slice(&odd.to_le_bytes());
        }
        unit.truncate(length);
    }
}

/// Access unit delimiter, parameter sets before the first picture, and the head of an IDR slice.
pub(super) fn begin_picture(to: &mut Vec<u8>, width: u32, height: u32, frame: usize) {
    unit(to, 9, &[0xF0]);
    if frame == 0 {
        unit(to, 0x67, &sequence(width, height));
        unit(to, 0x68, &picture_set());
    }
    let mut bits = Bits::default();
    bits.unsigned(0); // first macroblock
    bits.unsigned(7); // an I slice, as are all of the picture
    bits.unsigned(0); // picture parameter set
    bits.put(0, 4); // frame number: 0 for IDR
    bits.unsigned(frame as u32 % 2); // neighbours must differ
    bits.put(0, 2); // reference marking
    bits.unsigned(0); // quantiser
    unit(to, 0x65, &bits.stop());
}

fn unit(to: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    to.extend_from_slice(&[0, 0, 0, 1, kind]);
    let mut zeros = 0;
    for byte in payload {
        if zeros >= 2 && *byte <= 3 {
            to.push(3);
            zeros = 0;
        }
        to.push(*byte);
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
    }
}

fn sequence(width: u32, height: u32) -> Vec<u8> {
    let (across, down) = (width.div_ceil(16).max(1), height.div_ceil(16).max(1));
    let mut bits = Bits::default();
    for byte in CONSTRAINED_BASELINE {
        bits.put(u32::from(byte), 8);
    }
    bits.unsigned(0); // its id
    bits.unsigned(0); // frame numbers of 4 bits
    bits.unsigned(2); // output order is decoding order
    bits.unsigned(1); // reference frames
    bits.put(0, 1);
    bits.unsigned(across - 1);
    bits.unsigned(down - 1);
    bits.put(1, 1); // frames only
    bits.put(1, 1); // direct 8x8
    let (right, bottom) = ((across * 16 - width) / 2, (down * 16 - height) / 2);
    let cropped = right + bottom > 0;
    bits.put(u32::from(cropped), 1);
    if cropped {
        for side in [0, right, 0, bottom] {
            bits.unsigned(side);
        }
    }
    bits.put(0, 1); // no VUI
    bits.stop()
}

fn picture_set() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.unsigned(0); // its id
    bits.unsigned(0); // its sequence
    bits.put(0, 2);
    bits.unsigned(0); // slice groups
    bits.unsigned(0);
    bits.unsigned(0);
    bits.put(0, 3);
    bits.unsigned(0); // three quantisers
    bits.unsigned(0);
    bits.unsigned(0);
    bits.put(0, 3);
    bits.stop()
}
