//! A result's body: read at a fair pace, split into parts, looked at and stored as it arrives.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use super::Plane;
use crate::domain::time::Moment;
use crate::domain::work::MediaFacts;
use crate::pool::{Claim, ResultPart, ShelfFull, Spool};
use crate::telemetry;
use crate::wire::headers::{HASH_TYPE, MP4_TYPE, MPEGTS_TYPE};
use crate::wire::media::Probe;
use crate::wire::multipart::{BadMultipart, Event, PartHead, Reader};

/// The protocol's own limit for one rendition: 300 s of 8 Mbit/s.
pub(super) const MOST_PART: u64 = 300_000_000;
/// A slow start is forgiven for so long.
const GRACE: Duration = Duration::from_secs(5);
/// How long the rest of a refused body is awaited.
const UNREAD_WAIT: Duration = Duration::from_secs(2);

/// Why an upload is no result: what the worker is answered, and the reason in the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

/// How slowly a body may arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) began: Instant,
    pub(super) gap: Duration,
    /// Bytes a second after the grace.
    pub(super) rate: u64,
    pub(super) until: Instant,
}

/// A body that is being read.
pub(super) struct Arrival<'a> {
    body: &'a mut Incoming,
    pace: Pace,
    bytes: u64,
    most: u64,
}

/// The part that is arriving.
enum Part {
    Rendition {
        pixels: u64,
        content_type: &'static str,
        probe: Box<Probe>,
        spool: Spool,
    },
    Hash {
        spool: Spool,
    },
    /// Stock readers pass over a part that is neither.
    Skipped,
}

// === impl Broken ===

impl Broken {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Broken {
        Broken { status, why: why.into() }
    }

    pub(super) fn too_long(why: impl Into<String>) -> Broken {
        Broken::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    }
}

impl From<BadMultipart> for Broken {
    fn from(bad: BadMultipart) -> Broken {
        let status = match &bad {
            bad if bad.is_type() => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            bad if bad.is_limit() => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Broken::new(status, bad.to_string())
    }
}

impl From<ShelfFull> for Broken {
    fn from(full: ShelfFull) -> Broken {
        match &full {
            ShelfFull::Item(_) => Broken::too_long(format!("a part has {full}")),
            ShelfFull::Shelf(_) | ShelfFull::Io(_) => {
                telemetry::no_room_for_result(&full);
                Broken::new(StatusCode::SERVICE_UNAVAILABLE, "The pool has no room for results now; not your fault.")
            }
        }
    }
}

// === impl Pace ===

impl Pace {
    /// For a body that must be there by `answer_by`.
    pub(super) fn new(plane: &Plane, answer_by: Moment) -> Pace {
        let (now, until) = (Instant::now(), plane.pool.clock().instant(answer_by));
        Pace {
            began: now,
            gap: plane.edge.body_gap,
            rate: plane.edge.body_rate.max(1),
            // Past its time only a repetition can be claimed, which costs no job anything.
            until: if until <= now { now + GRACE } else { until },
        }
    }

    /// When the next bytes must be there, with `bytes` of them read.
    fn next_by(&self, now: Instant, bytes: u64) -> Instant {
        let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.rate);
        (now + self.gap).min(self.began + GRACE + earned).min(self.until)
    }

    fn broken(&self, now: Instant, bytes: u64) -> Broken {
        let why = if now >= self.until {
            format!("The result was not complete when the task's time was over ({bytes} bytes had arrived).")
        } else {
            format!("The upload was too slow or stopped after {bytes} bytes.")
        };
        Broken::new(StatusCode::REQUEST_TIMEOUT, why)
    }
}

// === impl Arrival ===

impl<'a> Arrival<'a> {
    /// `most` bytes at the most.
    pub(super) fn new(body: &'a mut Incoming, pace: Pace, most: u64) -> Arrival<'a> {
        Arrival { body, pace, bytes: 0, most }
    }

    /// The next bytes; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let by = self.pace.next_by(Instant::now(), self.bytes);
            let frame = match tokio::time::timeout_at(by, self.body.frame()).await {
                Err(_) => return Err(self.pace.broken(Instant::now(), self.bytes)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) => {
                    let why = format!("The upload broke off after {} bytes.", self.bytes);
                    return Err(Broken::new(StatusCode::REQUEST_TIMEOUT, why));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers mean nothing here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.bytes += bytes.len() as u64;
            if self.bytes > self.most {
                return Err(Broken::too_long(format!("The body is longer than {} bytes.", self.most)));
            }
            return Ok(Some(bytes));
        }
    }
}

/// A short body, whole.
pub(super) async fn whole(body: &mut Incoming, most: u64, pace: Pace) -> Result<Bytes, Broken> {
    if body.size_hint().lower() > most {
        return Err(Broken::too_long(format!("The body is longer than {most} bytes.")));
    }
    let mut arrival = Arrival::new(body, pace, most);
    let mut all = BytesMut::new();
    while let Some(bytes) = arrival.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

/// Reads on after a refusal, up to `most` bytes; what is longer is cut off.
pub(super) async fn throw_away(body: &mut Incoming, most: u64) {
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if bytes > most {
                return;
            }
        }
    };
    // A body that stops costs the refusal no more than this.
    let _ = tokio::time::timeout(UNREAD_WAIT, rest).await;
}

/// A result's parts, each on the shelf.
pub(super) async fn parts(
    body: &mut Incoming,
    boundary: &str,
    most: u64,
    claim: &Claim,
    pace: Pace,
) -> Result<Vec<ResultPart>, Broken> {
    let mut arrival = Arrival::new(body, pace, most);
    let mut reader = Reader::new(boundary, MOST_PART);
    let mut running: Option<Part> = None;
    let mut parts = Vec::new();
    while let Some(bytes) = arrival.next().await? {
        reader.feed(bytes);
        while let Some(event) = reader.next()? {
            match event {
                Event::Part(head) => running = Some(Part::begin(head, reader.parts(), claim)?),
                Event::Data(bytes) => {
                    if let Some(part) = &mut running {
                        part.push(bytes).await?;
                    }
                }
                Event::PartEnd => {
                    if let Some(part) = running.take() {
                        parts.extend(part.end().await?);
                    }
                }
                Event::End => {}
            }
        }
    }
    reader.finish()?;
    Ok(parts)
}

// === impl Part ===

impl Part {
    fn begin(head: PartHead, number: u32, claim: &Claim) -> Result<Part, Broken> {
        let essence = head.content_type.split(';').next().unwrap_or_default().trim();
        match head.pixels {
            Some(pixels) => {
                let known = [MPEGTS_TYPE, MP4_TYPE].into_iter().find(|kind| essence.eq_ignore_ascii_case(kind));
                let content_type = known.ok_or_else(|| {
                    let why = format!("part {number}: a rendition is {MPEGTS_TYPE} or {MP4_TYPE}, not {essence:.60}");
                    Broken::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
                })?;
                Ok(Part::Rendition { pixels, content_type, probe: Box::default(), spool: claim.spool() })
            }
            None if essence.eq_ignore_ascii_case(HASH_TYPE) => Ok(Part::Hash { spool: claim.spool() }),
            None => Ok(Part::Skipped),
        }
    }

    async fn push(&mut self, bytes: Bytes) -> Result<(), ShelfFull> {
        match self {
            Part::Rendition { probe, spool, .. } => {
                probe.feed(&bytes);
                spool.push(bytes).await
            }
            Part::Hash { spool } => spool.push(bytes).await,
            Part::Skipped => Ok(()),
        }
    }

    async fn end(self) -> Result<Option<ResultPart>, ShelfFull> {
        let (content_type, pixels, facts, spool) = match self {
            Part::Rendition { pixels, content_type, probe, spool } => {
                (content_type, Some(pixels), probe.finish(), spool)
            }
            Part::Hash { spool } => (HASH_TYPE, None, MediaFacts::Uncounted { what: "perceptual hash" }, spool),
            Part::Skipped => return Ok(None),
        };
        let body = spool.finish().await?;
        Ok(Some(ResultPart { content_type: content_type.to_owned(), pixels, facts, body }))
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
