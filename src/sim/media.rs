//! Media for tests and benches: real segments, and ones made to measure.
mod h264;
mod ts;

use bytes::Bytes;

/// A real segment of 2 s and its renditions, made by ffmpeg (`examples/media/make.sh`).
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// 640x360, 60 frames.
    pub source: &'static [u8],
    /// Width, height and bytes.
    pub renditions: [(u32, u32, &'static [u8]); 2],
}

macro_rules! segment {
    ($name:literal) => {
        include_bytes!(concat!("../../examples/media/", $name, ".ts"))
    };
}

const SAMPLES: [Sample; 3] = [
    Sample {
        source: segment!("src1"),
        renditions: [(426, 240, segment!("src1-426x240")), (256, 144, segment!("src1-256x144"))],
    },
    Sample {
        source: segment!("src2"),
        renditions: [(426, 240, segment!("src2-426x240")), (256, 144, segment!("src2-256x144"))],
    },
    Sample {
        source: segment!("src3"),
        renditions: [(426, 240, segment!("src3-426x240")), (256, 144, segment!("src3-256x144"))],
    },
];

/// One of the real segments, `n` taken round.
pub fn sample(n: usize) -> Sample {
    SAMPLES[n % SAMPLES.len()]
}

/// A segment of H.264 in MPEG-TS with exactly these facts, of `bytes` bytes as near as packets
/// allow; never fewer than one packet a frame. Its pictures are noise: count them, do not decode.
pub fn synth_segment(width: u32, height: u32, frames: u32, fps: u32, bytes: usize) -> Bytes {
    synth_segment_seeded(width, height, frames, fps, bytes, 0)
}

/// The same with other noise for each seed.
pub fn synth_segment_seeded(width: u32, height: u32, frames: u32, fps: u32, bytes: usize, seed: u64) -> Bytes {
    let packets = (bytes / ts::PACKET).saturating_sub(2);
    let count = frames.max(1) as usize;
    let mut noise = h264::Noise::new(seed);
    let mut out = ts::Mux::new(bytes + count * ts::PACKET);
    let mut unit = Vec::new();
    for frame in 0..count {
        // The remainder goes one each to the first frames.
        let share = packets / count + usize::from(frame < packets % count);
        unit.clear();
        h264::begin_picture(&mut unit, width, height, frame);
        let room = ts::room(share.max(1));
        noise.fill(&mut unit, room);
        out.picture(&unit, frame as u64 * 90_000 / u64::from(fps.max(1)));
    }
    out.finish()
}
