//! A whole AI answer: its files on the shelf, then the JSON that names them.
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use hyper::body::Incoming;

use super::result::MOST_RESULT;
use super::upload::{Arrival, Broken, MOST_PART, Pace};
use crate::pool::Spool;
use crate::pool::ai::{AiClaim, AiFile};
use crate::wire::headers::{JSON_TYPE, PNG_TYPE, WAV_TYPE};
use crate::wire::multipart::{Event, PartHead, Reader};

/// Bytes of an answer's JSON: masks are the longest of them.
const MOST_JSON: usize = 16 << 20;
const VIDEO_TYPE: &str = "video/mp4";

/// An answer as it was posted, not yet checked.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) json: Bytes,
    pub(super) files: Vec<AiFile>,
}

/// The part that is arriving.
enum Part {
    Json(BytesMut),
    File { name: String, content_type: &'static str, spool: Box<Spool> },
}

pub(super) async fn answer(body: &mut Incoming, boundary: &str, claim: &AiClaim, pace: Pace) -> Result<Posted, Broken> {
    let mut arrival = Arrival::new(body, pace, MOST_RESULT);
    let mut reader = Reader::new(boundary, MOST_PART);
    let mut running: Option<Part> = None;
    let (mut json, mut files) = (None, Vec::new());
    while let Some(bytes) = arrival.next().await? {
        reader.feed(bytes);
        while let Some(event) = reader.next()? {
            match event {
                Event::Part(head) => running = Some(Part::begin(head, reader.parts(), claim, &files)?),
                Event::Data(bytes) => {
                    if let Some(part) = &mut running {
                        part.push(bytes).await?;
                    }
                }
                Event::PartEnd => match running.take() {
                    Some(Part::Json(text)) if json.is_none() => json = Some(text.freeze()),
                    Some(Part::Json(_)) => return Err(bad("The answer has JSON twice.")),
                    Some(Part::File { name, content_type, spool }) => {
                        let body = spool.finish().await?;
                        if body.is_empty() {
                            return Err(bad(format!("The file {name:.60} is empty.")));
                        }
                        files.push(AiFile { name, content_type: content_type.to_owned(), body });
                    }
                    None => {}
                },
                Event::End => {}
            }
        }
    }
    reader.finish()?;
    let json = json.ok_or_else(|| bad(format!("The answer has no part of type {JSON_TYPE}.")))?;
    Ok(Posted { json, files })
}

fn bad(why: impl Into<String>) -> Broken {
    Broken::new(StatusCode::BAD_REQUEST, why)
}

// === impl Part ===

impl Part {
    fn begin(head: PartHead, number: u32, claim: &AiClaim, before: &[AiFile]) -> Result<Part, Broken> {
        let essence = head.content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(JSON_TYPE) {
            return Ok(Part::Json(BytesMut::new()));
        }
        let known = [PNG_TYPE, VIDEO_TYPE, WAV_TYPE].into_iter().find(|kind| essence.eq_ignore_ascii_case(kind));
        let content_type = known.ok_or_else(|| {
            let why = format!("part {number}: a file is {PNG_TYPE}, {VIDEO_TYPE} or {WAV_TYPE}, not {essence:.60}");
            Broken::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
        })?;
        let name = head.parameter("filename").ok_or_else(|| bad(format!("part {number}: the file has no name")))?;
        if before.iter().any(|file| file.name == name) {
            return Err(bad(format!("part {number}: a second file of one name")));
        }
        Ok(Part::File { name, content_type, spool: Box::new(claim.spool()) })
    }

    async fn push(&mut self, bytes: Bytes) -> Result<(), Broken> {
        match self {
            Part::Json(text) if text.len() + bytes.len() > MOST_JSON => {
                Err(Broken::too_long(format!("The answer's JSON is longer than {MOST_JSON} bytes.")))
            }
            Part::Json(text) => {
                text.extend_from_slice(&bytes);
                Ok(())
            }
            Part::File { spool, .. } => Ok(spool.push(bytes).await?),
        }
    }
}
