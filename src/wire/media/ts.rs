//! MPEG-TS: packets, the way to the video stream, and its presentation times.
use super::h264::Video;
use super::psi::{self, Section};
use crate::domain::work::Counted;

pub(super) const PACKET: usize = 188;
pub(super) const SYNC: u8 = 0x47;
const H264: u8 = 0x1B;
/// Head of a video PES packet: up to 9 + 255 bytes.
const MOST_HEAD: usize = 264;

#[derive(Debug, Default)]
pub(super) struct Ts {
    packets: u64,
    pat: Section,
    map: Option<u16>,
    pmt: Section,
    video: Option<u16>,
    head: Head,
    times: Times,
    stream: Video,
}

/// Why the rest need not be read.
#[derive(Debug)]
pub(super) enum Stop {
    Uncounted(&'static str),
    Broken(String),
}

/// The head of a PES packet.
#[derive(Debug, Default)]
enum Head {
    /// Nothing began yet: bytes are of an earlier segment's picture.
    #[default]
    Before,
    /// Split over packets.
    Partial(Vec<u8>),
    Read,
}

/// Presentation times, as ticks of 1/90000 s from the first one.
#[derive(Debug, Default)]
struct Times {
    first: Option<u64>,
    least: i64,
    most: i64,
    count: u64,
}

// === impl Ts ===

impl Ts {
    pub(super) fn packet(&mut self, packet: &[u8; PACKET]) -> Result<(), Stop> {
        let [sync, high, low, control, ..] = *packet;
        if sync != SYNC {
            let at = self.packets * PACKET as u64;
            return Err(Stop::Broken(format!("MPEG-TS sync lost at byte {at}")));
        }
        self.packets += 1;
        let id = u16::from(high & 0x1F) << 8 | u16::from(low);
        let starts = high & 0x40 != 0;
        let payload = match control & 0x30 {
            0x10 => &packet[4..],
            0x30 => packet.get(5 + usize::from(packet[4])..).unwrap_or_default(),
            _ => return Ok(()),
        };
        if self.video == Some(id) {
            if control & 0xC0 != 0 {
                return Err(Stop::Broken("the video is scrambled".into()));
            }
            return self.video(payload, starts);
        }
        if self.video.is_some() {
            return Ok(());
        }
        if id == 0 && self.map.is_none() {
            self.map = self.pat.feed(payload, starts, 0).and_then(psi::map_id);
        } else if self.map == Some(id) {
            match self.pmt.feed(payload, starts, 2).and_then(psi::video_id) {
                None => {}
                Some(None) => return Err(Stop::Broken("no video stream in the MPEG-TS".into())),
                Some(Some((H264, id))) => self.video = Some(id),
                Some(Some((kind, _))) => return Err(Stop::Uncounted(psi::codec(kind).unwrap_or("video"))),
            }
        }
        Ok(())
    }

    fn video(&mut self, payload: &[u8], starts: bool) -> Result<(), Stop> {
        if starts {
            self.head = Head::Partial(Vec::new());
        }
        match &mut self.head {
            Head::Before => Ok(()),
            Head::Read => {
                self.stream.feed(payload);
                Ok(())
            }
            Head::Partial(held) if held.is_empty() => {
                let Some(length) = head_length(payload)? else {
                    held.extend_from_slice(payload);
                    return Ok(());
                };
                let (head, body) = payload.split_at(length);
                self.begin(head, body);
                Ok(())
            }
            Head::Partial(held) => {
                held.extend_from_slice(payload);
                let Some(length) = head_length(held)? else { return Ok(()) };
                let held = std::mem::take(held);
                let (head, body) = held.split_at(length);
                self.begin(head, body);
                Ok(())
            }
        }
    }

    fn begin(&mut self, head: &[u8], body: &[u8]) {
        self.head = Head::Read;
        if let Some(time) = presentation_time(head) {
            self.times.add(time);
        }
        self.stream.feed(body);
    }

    pub(super) fn finish(self) -> Result<Counted, String> {
        if self.map.is_none() {
            return Err("no program table in the MPEG-TS".into());
        }
        if self.video.is_none() {
            return Err("no program map in the MPEG-TS".into());
        }
        let picture = self.stream.finish()?;
        Ok(Counted {
            width: picture.width,
            height: picture.height,
            frames: picture.frames,
            duration_ms: self.times.duration_ms(),
            digest: picture.digest,
        })
    }
}

/// Bytes of the head at the front; `None` when it has not come whole.
fn head_length(bytes: &[u8]) -> Result<Option<usize>, Stop> {
    let seen = bytes.len().min(3);
    if bytes[..seen] != [0, 0, 1][..seen] {
        return Err(Stop::Broken("a video packet does not begin with a PES header".into()));
    }
    let Some(rest) = bytes.get(8) else { return Ok(None) };
    let length = (9 + usize::from(*rest)).min(MOST_HEAD);
    Ok((bytes.len() >= length).then_some(length))
}

/// The PTS of a whole head, 33 bits.
fn presentation_time(head: &[u8]) -> Option<u64> {
    if head.get(7)? & 0x80 == 0 {
        return None;
    }
    let field = head.get(9..14)?;
    let (a, b, c) = (u64::from(field[0]), u64::from(field[1]), u64::from(field[2]));
    let (d, e) = (u64::from(field[3]), u64::from(field[4]));
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

// === impl Times ===

impl Times {
    fn add(&mut self, time: u64) {
        let first = *self.first.get_or_insert(time);
        // The clock wraps at 33 bits: the nearer way round is taken.
        const TURN: i64 = 1 << 33;
        let ahead = (time.wrapping_sub(first) & (TURN as u64 - 1)) as i64;
        let from_first = if ahead >= TURN / 2 { ahead - TURN } else { ahead };
        self.least = self.least.min(from_first);
        self.most = self.most.max(from_first);
        self.count += 1;
    }

    /// Last minus first plus one frame of the mean length.
    fn duration_ms(&self) -> u64 {
        if self.count < 2 {
            return 0;
        }
        let span = (self.most - self.least).unsigned_abs();
        // Under 2^33 ticks, and the product is of 64 bits for any count of packets.
        let whole = u128::from(span) * u128::from(self.count) / u128::from(self.count - 1);
        u64::try_from((whole + 45) / 90).unwrap_or(0)
    }
}
