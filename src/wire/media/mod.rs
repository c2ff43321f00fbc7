//! Media facts, counted from the bytes.
mod bits;
mod digest;
mod h264;
mod psi;
mod ts;

#[cfg(test)]
mod tests;

use crate::domain::work::MediaFacts;
use ts::{PACKET, SYNC, Ts};

/// Looks at a piece of video as its bytes go by, in chunks of any size. It keeps a few hundred
/// bytes, and of a picture it reads the first ones only.
#[derive(Debug)]
pub struct Probe {
    /// The beginning of a packet whose rest has not come.
    partial: [u8; PACKET],
    held: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Not a whole packet yet.
    Unknown,
    Ts(Box<Ts>),
    Other(&'static str),
    /// Judged; the rest of the bytes changes nothing.
    Broken(String),
}

// === impl Probe ===

impl Default for Probe {
    fn default() -> Probe {
        Probe::new()
    }
}

impl Probe {
    pub fn new() -> Probe {
        Probe { partial: [0; PACKET], held: 0, kind: Kind::Unknown }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        if self.held > 0 {
            let take = bytes.len().min(PACKET - self.held);
            self.partial[self.held..self.held + take].copy_from_slice(&bytes[..take]);
            self.held += take;
            bytes = &bytes[take..];
            if self.held < PACKET {
                return;
            }
            self.held = 0;
            let packet = self.partial;
            self.packet(&packet);
        }
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        for packet in packets {
            self.packet(packet);
            if matches!(self.kind, Kind::Other(_) | Kind::Broken(_)) {
                return;
            }
        }
        self.partial[..rest.len()].copy_from_slice(rest);
        self.held = rest.len();
    }

    fn packet(&mut self, packet: &[u8; PACKET]) {
        if let Kind::Unknown = self.kind {
            self.kind = guess(packet);
        }
        if let Kind::Ts(ts) = &mut self.kind
            && let Err(why) = ts.packet(packet)
        {
            self.kind = match why {
                ts::Stop::Uncounted(what) => Kind::Other(what),
                ts::Stop::Broken(why) => Kind::Broken(why),
            };
        }
    }

    /// What it was.
    pub fn finish(self) -> MediaFacts {
        let left = &self.partial[..self.held];
        let broken = |why: String| MediaFacts::Broken { why };
        match self.kind {
            Kind::Unknown if left.is_empty() => broken("it is empty".into()),
            Kind::Unknown => match guess(left) {
                Kind::Other(what) => MediaFacts::Uncounted { what },
                Kind::Broken(why) => broken(why),
                Kind::Unknown | Kind::Ts(_) => broken("it ends within its first packet".into()),
            },
            Kind::Ts(_) if !left.is_empty() => broken("it is cut short in the middle of an MPEG-TS packet".into()),
            Kind::Ts(ts) => ts.finish().map_or_else(broken, MediaFacts::Counted),
            Kind::Other(what) => MediaFacts::Uncounted { what },
            Kind::Broken(why) => broken(why),
        }
    }
}

/// What the first bytes look like.
fn guess(start: &[u8]) -> Kind {
    if start.first() == Some(&SYNC) {
        return Kind::Ts(Box::default());
    }
    if matches!(start.get(4..8), Some(b"ftyp" | b"styp")) {
        return Kind::Other("MP4");
    }
    if start.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        return Kind::Other("Matroska");
    }
    let text = start.trim_ascii_start();
    let plain = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let why = if text.first() == Some(&b'<') {
        "it is an HTML or XML page, not video"
    } else if start.iter().all(plain) {
        "it is plain text, not video"
    } else {
        "it is neither MPEG-TS nor MP4"
    };
    Kind::Broken(why.into())
}
