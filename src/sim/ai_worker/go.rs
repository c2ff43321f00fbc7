//! A job's JSON as Go decodes it: case aside, null is absent, a wrong type fails the whole.
use serde_json::{Map, Value};

use crate::domain::ai::Pipeline;
use crate::sim::ai_content::{Kind, fields};

/// `AIJobData.requestData`.
pub(super) struct Envelope {
    pub(super) input_url: String,
    pub(super) request: Value,
}

pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("invalid JSON: {error}"))?;
    let Value::Object(mut map) = value else { return Err("json: cannot unmarshal into AIJobRequestData".into()) };
    let input_url = match take(&mut map, "input_url") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(url)) => url,
        Some(_) => return Err("json: cannot unmarshal into AIJobRequestData.input_url of type string".into()),
    };
    Ok(Envelope { input_url, request: take(&mut map, "request").unwrap_or_default() })
}

/// The request with its known keys; what does not fit is the error.
pub(super) fn request(pipeline: Pipeline, value: Value) -> Result<Map<String, Value>, String> {
    let mut map = match value {
        Value::Object(map) => map,
        Value::Null => return Err("unexpected end of JSON input".into()),
        _ => return Err(format!("json: cannot unmarshal into the body of {pipeline}")),
    };
    let mut known = Map::new();
    for field in fields(pipeline) {
        let Some(value) = take(&mut map, field.name).filter(|value| !value.is_null()) else { continue };
        if !field.fits(&value) && !nearly(field.kind, &value) {
            return Err(format!("json: cannot unmarshal into the field {} of {pipeline}", field.name));
        }
        known.insert(field.name.to_owned(), value);
    }
    if let Some(name) = pipeline.file_field()
        && let Some(value) = take(&mut map, name)
        && !(value.is_null() || value.is_string())
    {
        return Err(format!("json: cannot unmarshal into the field {name} of {pipeline}"));
    }
    Ok(known)
}

/// Go fills what a message leaves out with nothing.
fn nearly(kind: Kind, value: &Value) -> bool {
    let text = |one: &Value, key: &str| one.get(key).is_none_or(|value| value.is_string() || value.is_null());
    let message = |one: &Value| one.is_object() && text(one, "role") && text(one, "content");
    kind == Kind::Messages && value.as_array().is_some_and(|list| list.iter().all(message))
}

fn take(map: &mut Map<String, Value>, name: &str) -> Option<Value> {
    if let Some(value) = map.remove(name) {
        return Some(value);
    }
    let key = map.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    map.remove(&key)
}
