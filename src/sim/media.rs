//! Media for tests and benches: real segments, and ones made to measure.

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
