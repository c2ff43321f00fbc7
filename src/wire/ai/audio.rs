//! How long a recording is, found by walking through its packets.
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::units::Timestamp;

/// Packets that are walked through: a day of the shortest ones.
const MOST_PACKETS: u32 = 1 << 24;
/// Longer recordings are not believed.
const MOST_MS: u64 = 7 * 24 * 3600 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAudio {
    #[error("not a recording of a known kind")]
    Unknown,
    #[error("the recording is cut short or damaged")]
    Damaged,
    #[error("the recording is too long")]
    TooLong,
}

/// Thousandths of a second of a WAV, MP3, FLAC, Ogg, AAC, MP4 or Matroska recording. It reads all
/// of the file and computes: not for a thread that serves others.
pub fn audio_ms(bytes: Bytes) -> Result<u64, BadAudio> {
    let length = bytes.len() as u64;
    audio_ms_of(Cursor::new(bytes), length)
}

/// The same for a recording that is not in memory.
pub fn audio_ms_of<R: Read + Seek + Send + Sync>(from: R, length: u64) -> Result<u64, BadAudio> {
    let source = Box::new(Source { from, length });
    // The decoder is somebody else's code, and the bytes are a stranger's.
    let walked = catch_unwind(AssertUnwindSafe(|| {
        let stream = MediaSourceStream::new(source, Default::default());
        let probe = symphonia::default::get_probe();
        let format = probe.probe(&Hint::new(), stream, Default::default(), Default::default());
        format.map_err(|_| BadAudio::Unknown).and_then(|mut format| walk(format.as_mut()))
    }));
    walked.unwrap_or(Err(BadAudio::Damaged))
}

/// The end of the last packet. What a header says of the length is a claim only.
fn walk(format: &mut dyn FormatReader) -> Result<u64, BadAudio> {
    let track = format.default_track(TrackType::Audio).ok_or(BadAudio::Unknown)?;
    let (id, base) = (track.id, track.time_base.ok_or(BadAudio::Unknown)?);
    let start = track.start_ts.get();
    let mut end = start;
    for _ in 0..MOST_PACKETS {
        // Whatever stands behind the last good packet is no sound.
        let Ok(Some(packet)) = format.next_packet() else {
            let time = base.calc_time(Timestamp::new(end.saturating_sub(start)));
            let ms = time.map_or(-1, |time| time.as_millis());
            return match u64::try_from(ms) {
                Ok(0) | Err(_) => Err(BadAudio::Damaged),
                Ok(ms) if ms > MOST_MS => Err(BadAudio::TooLong),
                Ok(ms) => Ok(ms),
            };
        };
        if packet.track_id == id {
            let length = i64::try_from(packet.dur.get()).unwrap_or(i64::MAX);
            end = end.max(packet.pts.get().saturating_add(length));
        }
    }
    Err(BadAudio::TooLong)
}

struct Source<R> {
    from: R,
    length: u64,
}

// === impl Source ===

impl<R: Read> Read for Source<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.from.read(into)
    }
}

impl<R: Seek> Seek for Source<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.from.seek(to)
    }
}

impl<R: Read + Seek + Send + Sync> MediaSource for Source<R> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.length)
    }
}
