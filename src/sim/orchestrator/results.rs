//! `POST /transcodeResults`: the checks in go-livepeer's order, then the result's own worth.
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::listen::{Body, header_text, text};
use super::{Check, Shared};
use crate::domain::work::MediaFacts;
use crate::sim::library::{Item, Rendition};
use crate::wire::headers::{ERROR_TYPE, MULTIPART_TYPE, TRANSCODER_AUTHORIZATION};
use crate::wire::media::Probe;
use crate::wire::multipart::{Event, Reader, boundary_from_content_type};

/// What a transcoder answered.
#[derive(Debug)]
pub(super) enum Outcome {
    Result { decoded: u64, parts: Vec<Part> },
    Error(String),
}

#[derive(Debug, Default)]
pub(super) struct Part {
    pixels: u64,
    chunks: Vec<Bytes>,
}

/// Limits of one result: a part, an error's text.
const MOST_PART: u64 = 300_000_000;
const MOST_TEXT: usize = 64 << 10;
/// go-livepeer takes a part under this for an empty one.
const LEAST_PART: usize = 25;

pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let refuse = |status, words| {
        shared.counters.refused_results.fetch_add(1, Relaxed);
        text(status, words)
    };
    let get = |name| header_text(&head.headers, name);
    if get("authorization") != TRANSCODER_AUTHORIZATION || get("credentials") != shared.plan.secret {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    }
    let Some(kind) = media_type(&head.headers) else {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "mime: no media type\n");
    };
    let Ok(task) = get("taskid").parse::<i64>() else { return refuse(StatusCode::BAD_REQUEST, "Invalid Task ID\n") };
    if kind == ERROR_TYPE {
        let Some(words) = error_text(body).await else { return refuse(StatusCode::INTERNAL_SERVER_ERROR, "EOF\n") };
        return done(shared, task, Outcome::Error(words));
    }
    let Ok(decoded) = get("pixels").parse::<u64>() else { return refuse(StatusCode::BAD_REQUEST, "Invalid Pixels\n") };
    if kind != MULTIPART_TYPE {
        // Taken with a 200 and thrown away: the task waits out its budget.
        return text(StatusCode::OK, "OK");
    }
    match read_parts(get("content-type"), body).await {
        Ok(parts) => done(shared, task, Outcome::Result { decoded, parts }),
        Err(why) => {
            done(shared, task, Outcome::Error(why));
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "multipart: broken\n")
        }
    }
}

/// A task that is no longer known gets its 200 all the same.
fn done(shared: &Shared, task: i64, outcome: Outcome) -> Response<Body> {
    let waiting = shared.pending.lock().remove(&task);
    if waiting.is_none_or(|waiting| waiting.send(outcome).is_err()) {
        shared.counters.unknown_results.fetch_add(1, Relaxed);
    }
    text(StatusCode::OK, "OK")
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = header_text(headers, "content-type");
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!kind.is_empty()).then_some(kind)
}

async fn error_text(mut body: Incoming) -> Option<String> {
    let mut words = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        if words.len() + data.len() > MOST_TEXT {
            return None;
        }
        words.extend_from_slice(&data);
    }
    Some(String::from_utf8_lossy(&words).into_owned())
}

async fn read_parts(content_type: &str, mut body: Incoming) -> Result<Vec<Part>, String> {
    let boundary = boundary_from_content_type(content_type).map_err(|bad| bad.to_string())?;
    let mut reader = Reader::new(&boundary, MOST_PART);
    let (mut parts, mut running) = (Vec::new(), None::<Part>);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else { continue };
        reader.feed(data);
        while let Some(event) = reader.next().map_err(|bad| bad.to_string())? {
            match event {
                // A part without pixels is a perceptual hash or nothing.
                Event::Part(head) => running = head.pixels.map(|pixels| Part { pixels, chunks: Vec::new() }),
                Event::Data(bytes) => {
                    if let Some(part) = &mut running {
                        part.chunks.push(bytes);
                    }
                }
                Event::PartEnd => parts.extend(running.take()),
                Event::End => {}
            }
        }
    }
    reader.finish().map_err(|bad| bad.to_string())?;
    Ok(parts)
}

/// What a gateway makes of it: the text of an error, or a result whose truth is counted.
pub(super) fn judge(shared: &Shared, item: &Item, outcome: Outcome) -> Result<(), String> {
    let (decoded, parts) = match outcome {
        Outcome::Error(words) => return Err(words),
        Outcome::Result { decoded, parts } => (decoded, parts),
    };
    let counters = &shared.counters;
    let unfit = match () {
        () if parts.iter().any(|part| part.length() < LEAST_PART) => "ZeroSegments",
        () if parts.len() != item.renditions.len() => "MismatchedSegments",
        () => "",
    };
    if !unfit.is_empty() {
        counters.mismatched.fetch_add(1, Relaxed);
        return Err(unfit.to_owned());
    }
    let pairs = || parts.iter().zip(&item.renditions);
    let (bytes, pixels) = match shared.plan.check {
        Check::Bytes => (
            pairs().all(|(part, wanted)| part.is(&wanted.bytes)),
            pairs().all(|(part, wanted)| part.pixels == wanted.pixels),
        ),
        Check::Counted => {
            let counted: Vec<_> = parts.iter().map(Part::counted).collect();
            let sized = |(facts, wanted): (&Option<(u32, u32, u64)>, &Rendition)| {
                facts.is_some_and(|(width, height, _)| (width, height) == (wanted.width, wanted.height))
            };
            let true_pixels = |(facts, part): (&Option<(u32, u32, u64)>, &Part)| {
                facts.is_some_and(|(_, _, pixels)| pixels == part.pixels)
            };
            (counted.iter().zip(&item.renditions).all(sized), counted.iter().zip(&parts).all(true_pixels))
        }
    };
    if !bytes {
        counters.wrong_bytes.fetch_add(1, Relaxed);
    }
    if !pixels || decoded != item.pixels {
        counters.wrong_pixels.fetch_add(1, Relaxed);
    }
    counters.pixels.fetch_add(parts.iter().map(|part| part.pixels).sum(), Relaxed);
    Ok(())
}

// === impl Part ===

impl Part {
    fn length(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn is(&self, wanted: &[u8]) -> bool {
        let mut rest = wanted;
        for chunk in &self.chunks {
            match rest.strip_prefix(&chunk[..]) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        rest.is_empty()
    }

    fn counted(&self) -> Option<(u32, u32, u64)> {
        let mut probe = Probe::new();
        for chunk in &self.chunks {
            probe.feed(chunk);
        }
        match probe.finish() {
            MediaFacts::Counted(facts) => Some((facts.width, facts.height, facts.pixels())),
            _ => None,
        }
    }
}
