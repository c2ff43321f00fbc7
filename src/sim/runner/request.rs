//! A request for a pipeline, read as strictly as FastAPI reads it for a stock runner.
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::form;
use crate::domain::ai::Pipeline;
use crate::sim::ai_content::{Field, Kind, fields};

pub(super) struct Work {
    pub(super) request: Map<String, Value>,
    pub(super) file: Option<Bytes>,
}

/// Refused with that status and that `detail`.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) detail: Value,
}

pub(super) fn read(pipeline: Pipeline, content_type: &str, body: &Bytes) -> Result<Work, Refused> {
    match pipeline.file_field() {
        Some(file) => read_form(pipeline, file, content_type, body),
        None => read_json(pipeline, content_type, body),
    }
}

fn read_json(pipeline: Pipeline, content_type: &str, body: &Bytes) -> Result<Work, Refused> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(invalid(vec![fault(&["body"], "Input should be a valid dictionary", "model_attributes_type")]));
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| invalid(vec![fault(&["body"], &error.to_string(), "json_invalid")]))?;
    let Value::Object(request) = value else {
        return Err(invalid(vec![fault(&["body"], "Input should be a valid dictionary", "model_attributes_type")]));
    };
    let faults: Vec<Value> = fields(pipeline)
        .iter()
        .filter_map(|field| match request.get(field.name) {
            None if field.required => Some(missing(field.name)),
            Some(value) if !field.fits(value) => Some(mistyped(field)),
            _ => None,
        })
        .collect();
    if faults.is_empty() { Ok(Work { request, file: None }) } else { Err(invalid(faults)) }
}

fn read_form(pipeline: Pipeline, file_field: &str, content_type: &str, body: &Bytes) -> Result<Work, Refused> {
    let parts = match form::read(content_type, body) {
        Some(Ok(parts)) => parts,
        Some(Err(words)) => return Err(Refused { status: StatusCode::BAD_REQUEST, detail: words.into() }),
        None => Vec::new(),
    };
    let (mut request, mut file, mut faults) = (Map::new(), None, Vec::new());
    for part in parts {
        if part.name == file_field {
            match part.filename {
                Some(_) => file = Some(part.bytes),
                None => faults.push(fault(&["body", file_field], "Expected UploadFile, received str", "value_error")),
            }
            continue;
        }
        // Others are ignored, as a stock runner does.
        let Some(field) = fields(pipeline).iter().find(|field| field.name == part.name) else { continue };
        let text = std::str::from_utf8(&part.bytes).ok().filter(|_| part.filename.is_none());
        match text.and_then(|text| value(field.kind, text)) {
            Some(value) => drop(request.insert(part.name, value)),
            None => faults.push(mistyped(field)),
        }
    }
    if file.is_none() && faults.is_empty() {
        faults.push(missing(file_field));
    }
    let required = fields(pipeline).iter().filter(|field| field.required);
    faults.extend(required.filter(|field| !request.contains_key(field.name)).map(|field| missing(field.name)));
    if faults.is_empty() { Ok(Work { request, file }) } else { Err(invalid(faults)) }
}

/// A text field's value as its kind says.
fn value(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(text.into()),
        Kind::Int => text.parse::<i64>().ok().map(Value::from),
        Kind::Float => {
            text.parse::<f64>().ok().and_then(|number| serde_json::Number::from_f64(number).map(Value::from))
        }
        Kind::Bool => text.parse::<bool>().ok().map(Value::from),
        Kind::Messages | Kind::Object => None,
    }
}

fn mistyped(field: &Field) -> Value {
    let (msg, kind) = match field.kind {
        Kind::Text => ("Input should be a valid string", "string_type"),
        Kind::Int => ("Input should be a valid integer", "int_type"),
        Kind::Float => ("Input should be a valid number", "float_type"),
        Kind::Bool => ("Input should be a valid boolean", "bool_type"),
        Kind::Messages => ("Input should be a valid list", "list_type"),
        Kind::Object => ("Input should be a valid dictionary", "dict_type"),
    };
    fault(&["body", field.name], msg, kind)
}

fn missing(name: &str) -> Value {
    fault(&["body", name], "Field required", "missing")
}

fn fault(place: &[&str], msg: &str, kind: &str) -> Value {
    json!({ "loc": place, "msg": msg, "type": kind })
}

fn invalid(faults: Vec<Value>) -> Refused {
    Refused { status: StatusCode::UNPROCESSABLE_ENTITY, detail: faults.into() }
}
