//! Small real files: PNG, WAV, and an MP4 that is one by its first bytes.
use bytes::{BufMut, Bytes, BytesMut};

/// A stored block of deflate holds this much at most.
const BLOCK: usize = 65_535;
const RATE: u32 = 8000;

/// The next of a row of numbers.
pub(super) fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..length).map(|_| (step(&mut state) & 0xff) as u8).collect()
}

/// Grey noise of that size, uncompressed: one byte a pixel.
pub fn png(width: u32, height: u32, seed: u64) -> Bytes {
    let grey = noise((width as usize) * (height as usize), seed);
    let mut rows = Vec::with_capacity(grey.len() + height as usize);
    for row in grey.chunks(width.max(1) as usize) {
        rows.push(0);
        rows.extend_from_slice(row);
    }
    let mut header = Vec::new();
    header.put_u32(width);
    header.put_u32(height);
    // Eight bits, grey, and the only methods that there are.
    header.extend_from_slice(&[8, 0, 0, 0, 0]);
    let mut file = BytesMut::with_capacity(rows.len() + 200);
    file.put_slice(b"\x89PNG\r\n\x1a\n");
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"IDAT", &stored(&rows));
    chunk(&mut file, b"IEND", b"");
    file.freeze()
}

fn chunk(file: &mut BytesMut, kind: &[u8; 4], body: &[u8]) {
    file.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    let from = file.len();
    file.put_slice(kind);
    file.put_slice(body);
    let sum = crc32(&file[from..]);
    file.put_u32(sum);
}

/// zlib without compression.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = bytes.chunks(BLOCK);
    let last = blocks.len().saturating_sub(1);
    for (n, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(n == last));
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.extend_from_slice(block);
    }
    out.put_u32(adler32(bytes));
    out
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
}

fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc_table();
    !bytes.iter().fold(!0u32, |sum, byte| TABLE[((sum ^ u32::from(*byte)) & 0xff) as usize] ^ (sum >> 8))
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (1u32, 0u32);
    // So many additions fit before the remainder must be taken.
    for part in bytes.chunks(5552) {
        for byte in part {
            low += u32::from(*byte);
            high += low;
        }
        (low, high) = (low % 65_521, high % 65_521);
    }
    high << 16 | low
}

/// 16 bit noise, mono, 8 kHz.
pub fn wav(samples: u32, seed: u64) -> Bytes {
    let data = noise(samples as usize * 2, seed);
    let mut file = BytesMut::with_capacity(data.len() + 44);
    file.put_slice(b"RIFF");
    file.put_u32_le(36 + samples * 2);
    file.put_slice(b"WAVEfmt ");
    file.put_u32_le(16);
    file.put_u16_le(1);
    file.put_u16_le(1);
    file.put_u32_le(RATE);
    file.put_u32_le(RATE * 2);
    file.put_u16_le(2);
    file.put_u16_le(16);
    file.put_slice(b"data");
    file.put_u32_le(samples * 2);
    file.put_slice(&data);
    file.freeze()
}

/// The boxes `ftyp` and `mdat`: nobody on the way decodes it.
pub(super) fn mp4(seed: u64) -> Bytes {
    let data = noise(2000, seed);
    let mut file = BytesMut::new();
    file.put_u32(20);
    file.put_slice(b"ftypisom\0\0\x02\0isom");
    file.put_u32(u32::try_from(data.len()).unwrap_or(0) + 8);
    file.put_slice(b"mdat");
    file.put_slice(&data);
    file.freeze()
}
