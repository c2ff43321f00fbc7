//! Error texts of the worker road and error answers of the runner API.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::json::{self, Object};
use crate::domain::ai::Pipeline;
use crate::wire::headers::AI_BUSY;

/// Bytes of a text that goes on; a runner's list of faults fits.
pub const MOST_TEXT: usize = 8 << 10;
/// Bytes of an error body that are read.
pub const MOST_ERROR_BODY: usize = 256 << 10;

/// Whose fault an error is. Another worker is tried for a worker's only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Caller,
    Worker,
}

/// A body with status 422.
#[derive(Deserialize, Serialize)]
struct Invalid {
    detail: Vec<Fault>,
}

#[derive(Deserialize, Serialize)]
struct Fault {
    loc: Vec<Place>,
    msg: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Place {
    Key(String),
    Index(i64),
}

/// Words of a download that failed; a stock worker wraps them as a failed validation.
const DOWNLOAD: &[&str] = &[
    "Get \"",
    "://",
    "timeout",
    "deadline exceeded",
    "connection",
    "no such host",
    "http2",
    "tls",
    "pipeline type not supported",
];

/// An HTTP runner's error in a stock worker's words, and whose fault it is. 401 is about the
/// token that we hold, so it is not the caller's.
pub fn runner_error(pipeline: Pipeline, status: u16, body: &[u8]) -> (Blame, String) {
    let spelled = spelled(pipeline);
    let body = &body[..body.len().min(MOST_ERROR_BODY)];
    let blame = match status {
        400 | 413 | 415 | 422 => Blame::Caller,
        _ => Blame::Worker,
    };
    let text = match status {
        // Spelled without a colon there.
        413 if pipeline == Pipeline::ImageToText => "413 file too large; max file size is 50MB".to_owned(),
        413 if is_allowed(pipeline, 413) => "413: file too large; max file size is 50MB".to_owned(),
        422 if is_allowed(pipeline, 422) => match read_invalid(body) {
            Some(list) => format!("422: {list}"),
            None => format!("400: {}", message(body)),
        },
        status if is_allowed(pipeline, status) => format!("{status}: {}", message(body)),
        413 | 415 | 422 => format!("400: {}", message(body)),
        // Statuses that nobody knows on the other side.
        _ => format!("500: the runner answered {status}: {}", message(body)),
    };
    (blame, clean(&format!("{spelled} container returned {text}")))
}

/// How the error texts call a pipeline.
fn spelled(pipeline: Pipeline) -> &'static str {
    match pipeline {
        Pipeline::SegmentAnything2 => "segment anything 2",
        Pipeline::Llm => "LLM",
        other => other.name(),
    }
}

/// The `detail` of an error body, as a stock runner writes it and as others do.
fn message(body: &[u8]) -> String {
    let find = || {
        let object = Object::read(body).ok()?;
        let value = object.get("detail").or_else(|| object.get("error")).or_else(|| object.get("message"))?;
        if let Some(text) = json::text(value) {
            return Some(text.into_owned());
        }
        let inner = Object::of(value).ok()?;
        let value = inner.get("msg").or_else(|| inner.get("message"))?;
        json::text(value).map(|text| text.into_owned())
    };
    find().filter(|text| !text.is_empty()).unwrap_or_else(|| "no reason given".into())
}

fn read_invalid(body: &[u8]) -> Option<String> {
    let invalid: Invalid = serde_json::from_slice(body).ok()?;
    if invalid.detail.is_empty() { None } else { serde_json::to_string(&invalid).ok() }
}

/// Whose fault an error text of a worker tells of.
pub fn classify(text: &str) -> Blame {
    let text = text.trim();
    if text == AI_BUSY {
        return Blame::Worker;
    }
    if text.starts_with("AI request validation failed") {
        let cause = text.split_once("err=").map_or("", |(_, cause)| cause);
        // A status line such as `404 Not Found` is a download's, too.
        let download = cause.starts_with(|c: char| c.is_ascii_digit())
            || cause.ends_with("EOF")
            || DOWNLOAD.iter().any(|word| cause.contains(word));
        return if download { Blame::Worker } else { Blame::Caller };
    }
    match returned(text) {
        Some((400 | 401 | 413 | 415 | 422, _)) => Blame::Caller,
        _ => Blame::Worker,
    }
}

/// The status and the rest of `... container returned NNN: ...`.
fn returned(text: &str) -> Option<(u16, &str)> {
    let (_, rest) = text.split_once(" container returned ")?;
    let status = rest.get(..3)?.parse().ok()?;
    Some((status, rest.get(3..)?.trim_start_matches(':').trim_start()))
}

/// The statuses that a stock orchestrator understands; anything else it reads as an empty success.
fn is_allowed(pipeline: Pipeline, status: u16) -> bool {
    match status {
        400 | 401 | 500 => true,
        413 => matches!(pipeline, Pipeline::AudioToText | Pipeline::ImageToText),
        415 => pipeline == Pipeline::AudioToText,
        422 => pipeline != Pipeline::Llm,
        _ => false,
    }
}

/// The runner API's status for an error text of a worker.
pub fn status_for(pipeline: Pipeline, text: &str) -> u16 {
    if classify(text) == Blame::Worker {
        return 500;
    }
    match returned(text) {
        Some((422, list)) if is_allowed(pipeline, 422) && read_invalid(list.as_bytes()).is_some() => 422,
        Some((422, _)) => 400,
        Some((status, _)) if is_allowed(pipeline, status) => status,
        _ => 400,
    }
}

/// The runner API's whole answer to an error text of a worker.
pub fn error_answer(pipeline: Pipeline, text: &str) -> (u16, Bytes) {
    let text = clean(text);
    let status = status_for(pipeline, &text);
    // An orchestrator puts `... container returned NNN: ` before it again.
    let rest = returned(&text).map_or(text.as_str(), |(_, rest)| rest);
    match (status, read_invalid(rest.as_bytes())) {
        (422, Some(list)) => (422, list.into()),
        _ => (status, error_body(status, rest)),
    }
}

/// `{"detail":{"msg":"..."}}`, or a list with one fault for 422.
pub fn error_body(status: u16, msg: &str) -> Bytes {
    let msg = clean(msg);
    let body = match status {
        422 => serde_json::json!({"detail": [{"loc": ["body"], "msg": msg, "type": "value_error"}]}),
        _ => serde_json::json!({"detail": {"msg": msg}}),
    };
    body.to_string().into()
}

/// A text that may go to strangers: no addresses, no `%` (v0.8.8 reads it as a format), no control
/// characters, and not too long.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MOST_TEXT));
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if out.len() + c.len_utf8() > MOST_TEXT {
            break;
        }
        if let Some(address) = rest.strip_prefix("http://").or_else(|| rest.strip_prefix("https://")) {
            out.push_str("(address)");
            let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>)]},\\".contains(c);
            rest = &address[address.find(ends).unwrap_or(address.len())..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '%' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
