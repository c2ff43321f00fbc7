//! Requests: checked, and carried between a form (runner API) and JSON (worker road).
use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::MOST_REQUEST;
use super::json::{self, Object};
use super::keys::{Key, Kind, keys, model_key};
use super::measure::{Measure, measure};
use crate::domain::ai::Pipeline;
use crate::wire::messages::MOST_MODEL;

const MOST_MESSAGES: usize = 4096;

/// Why a request cannot be done: the caller's fault, in the words that each road wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {fault}")]
pub struct BadRequest {
    pub pipeline: Pipeline,
    /// Which key is wrong; `body` when it is the whole.
    pub key: Cow<'static, str>,
    pub fault: Cow<'static, str>,
    /// The status on the runner API: 422 names the key, 400 does where there is no 422.
    pub status: u16,
}

/// What the pool needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    pub model: String,
    /// The answer is asked as a stream; only llm has it.
    pub stream: bool,
    pub measure: Measure,
}

// === impl BadRequest ===

impl BadRequest {
    /// A value that cannot be used.
    pub fn new(pipeline: Pipeline, key: &str, fault: &str) -> BadRequest {
        BadRequest { pipeline, key: key.to_owned().into(), fault: fault.to_owned().into(), status: 400 }
    }

    pub(super) fn missing(pipeline: Pipeline, key: &'static str) -> BadRequest {
        BadRequest::invalid(pipeline, key, "field required".into())
    }

    pub(super) fn of_type(pipeline: Pipeline, key: &'static str) -> BadRequest {
        BadRequest::invalid(pipeline, key, "wrong type".into())
    }

    pub(super) fn not_json(pipeline: Pipeline, fault: &str) -> BadRequest {
        BadRequest::invalid(pipeline, "body", format!("not a JSON object: {fault}").into())
    }

    pub(super) fn too_long(pipeline: Pipeline) -> BadRequest {
        BadRequest::new(pipeline, "body", "the request is too long")
    }

    fn invalid(pipeline: Pipeline, key: &'static str, fault: Cow<'static, str>) -> BadRequest {
        let status = if pipeline == Pipeline::Llm { 400 } else { 422 };
        BadRequest { pipeline, key: key.into(), fault, status }
    }

    /// The body of the runner API's answer.
    pub fn body(&self) -> Bytes {
        let text = match self.status {
            422 => {
                let kind = if self.fault == "field required" { "value_error.missing" } else { "value_error" };
                let loc = if self.key == "body" { vec!["body"] } else { vec!["body", &*self.key] };
                serde_json::json!({"detail": [{"loc": loc, "msg": &*self.fault, "type": kind}]})
            }
            _ => serde_json::json!({"detail": {"msg": self.to_string()}}),
        };
        text.to_string().into()
    }

    /// The error text of the worker road, as a stock worker says it.
    pub fn worker_text(&self) -> String {
        format!("AI request validation failed for {} pipeline err={self}", self.pipeline).replace('%', "")
    }
}

/// Checks a request's JSON, as it goes by the worker road or, without a file, by the runner API.
pub fn check_request(pipeline: Pipeline, request: &[u8]) -> Result<RequestFacts, BadRequest> {
    if request.len() > MOST_REQUEST {
        return Err(BadRequest::too_long(pipeline));
    }
    let object = Object::read(request).map_err(|fault| BadRequest::not_json(pipeline, &fault))?;
    for key in keys(pipeline) {
        match object.get(key.name) {
            None if key.needed => return Err(BadRequest::missing(pipeline, key.name)),
            None => {}
            Some(value) => check_value(pipeline, key, value)?,
        }
    }
    let key = model_key(pipeline);
    let model = object.get(key).and_then(json::text).unwrap_or_default();
    let bad = |fault| Err(BadRequest::new(pipeline, key, fault));
    if model.is_empty() {
        return bad("it is empty");
    }
    if model.len() > MOST_MODEL || model.contains(|c: char| c.is_control()) {
        return bad("not a model's name");
    }
    let stream = object.get("stream").and_then(json::boolean).unwrap_or(false) && pipeline == Pipeline::Llm;
    Ok(RequestFacts { model: model.into_owned(), stream, measure: measure(pipeline, &object)? })
}

fn check_value(pipeline: Pipeline, key: &Key, value: &RawValue) -> Result<(), BadRequest> {
    let right = match key.kind {
        Kind::Text => json::text(value).is_some(),
        Kind::Int => json::int(value).is_some(),
        Kind::Float => json::float(value).is_some(),
        Kind::Bool => json::boolean(value).is_some(),
        Kind::Object => Object::of(value).is_ok(),
        Kind::Messages => return check_messages(pipeline, value),
    };
    if right { Ok(()) } else { Err(BadRequest::of_type(pipeline, key.name)) }
}

fn check_messages(pipeline: Pipeline, value: &RawValue) -> Result<(), BadRequest> {
    let wrong = || BadRequest::of_type(pipeline, "messages");
    let messages = json::array(value).ok_or_else(wrong)?;
    if messages.is_empty() {
        return Err(BadRequest::new(pipeline, "messages", "it is empty"));
    }
    if messages.len() > MOST_MESSAGES {
        return Err(BadRequest::new(pipeline, "messages", "too many"));
    }
    for message in messages {
        let message = Object::of(message).map_err(|_| wrong())?;
        for key in ["role", "content"] {
            if message.get(key).is_some_and(|value| json::text(value).is_none()) {
                return Err(wrong());
            }
        }
    }
    Ok(())
}

/// The text fields of a form as the worker road's JSON, the file as `null`. Fields that the
/// pipeline does not have are left out, as a stock program does.
pub fn form_to_request(pipeline: Pipeline, fields: &[(String, String)]) -> Result<Bytes, BadRequest> {
    let Some(file) = pipeline.file_field() else {
        return Err(BadRequest::new(pipeline, "body", "not a pipeline of forms"));
    };
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in fields {
        if seen.insert(name, value).is_some() {
            return Err(BadRequest::new(pipeline, &name.chars().take(64).collect::<String>(), "it stands there twice"));
        }
    }
    let mut out = format!("{{\"{file}\":null");
    for key in keys(pipeline) {
        let Some(value) = seen.get(key.name) else { continue };
        let value = from_field(key.kind, value).ok_or_else(|| BadRequest::of_type(pipeline, key.name))?;
        out.push_str(&format!(",\"{}\":{value}", key.name));
    }
    out.push('}');
    check_request(pipeline, out.as_bytes())?;
    Ok(out.into())
}

/// A form's text as JSON of the right type.
fn from_field(kind: Kind, text: &str) -> Option<String> {
    match kind {
        Kind::Text => Some(json::quoted(text)),
        Kind::Int => text.trim().parse::<i64>().ok().map(|number| number.to_string()),
        Kind::Float => {
            let number: f32 = text.trim().parse().ok()?;
            number.is_finite().then(|| number.to_string())
        }
        Kind::Bool => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some("true".into()),
            "false" | "0" => Some("false".into()),
            _ => None,
        },
        Kind::Messages | Kind::Object => None,
    }
}

/// The worker road's JSON as the text fields of a form, in the order of the table; the file goes
/// before them.
pub fn request_to_form(pipeline: Pipeline, request: &[u8]) -> Result<Vec<(&'static str, String)>, BadRequest> {
    if pipeline.file_field().is_none() {
        return Err(BadRequest::new(pipeline, "body", "not a pipeline of forms"));
    }
    check_request(pipeline, request)?;
    let object = Object::read(request).map_err(|fault| BadRequest::not_json(pipeline, &fault))?;
    let mut fields = Vec::new();
    for key in keys(pipeline) {
        let Some(value) = object.get(key.name) else { continue };
        let text = into_field(key.kind, value).ok_or_else(|| BadRequest::of_type(pipeline, key.name))?;
        fields.push((key.name, text));
    }
    Ok(fields)
}

fn into_field(kind: Kind, value: &RawValue) -> Option<String> {
    match kind {
        Kind::Text => json::text(value).map(Cow::into_owned),
        Kind::Int => json::int(value).map(|number| number.to_string()),
        Kind::Float => json::float(value).map(|number| format!("{number:.6}")),
        Kind::Bool => json::boolean(value).map(|yes| yes.to_string()),
        Kind::Messages | Kind::Object => None,
    }
}
