//! The request data of a notice: `{"input_url": "...", "request": {...}}`.
use bytes::Bytes;

use super::json::{self, Object};
use super::measure::Measure;
use super::request::{BadRequest, check_request};
use super::{MOST_REQUEST, MOST_URL};
use crate::domain::ai::Pipeline;

/// A job as an orchestrator hands it to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobData {
    /// Empty when the pipeline takes no file.
    pub input_url: String,
    /// The request as it was written, byte for byte.
    pub request: Bytes,
    pub model: String,
    pub stream: bool,
    /// What it is charged by.
    pub measure: Measure,
}

/// Keys beside the two are dropped; `patch_job` keeps them.
pub fn read_job(pipeline: Pipeline, raw: &Bytes) -> Result<JobData, BadRequest> {
    if raw.len() > MOST_REQUEST + MOST_URL {
        return Err(BadRequest::too_long(pipeline));
    }
    let job = Object::read(raw).map_err(|fault| BadRequest::not_json(pipeline, &fault))?;
    let request = job.get("request").ok_or_else(|| BadRequest::missing(pipeline, "request"))?;
    let request = raw.slice_ref(request.get().as_bytes());
    let facts = check_request(pipeline, &request)?;
    let url = job.get("input_url").map(|url| json::text(url).ok_or_else(|| BadRequest::of_type(pipeline, "input_url")));
    let input_url = url.transpose()?.unwrap_or_default().into_owned();
    if input_url.len() > MOST_URL {
        return Err(BadRequest::new(pipeline, "input_url", "it is too long"));
    }
    if pipeline.file_field().is_some() && input_url.is_empty() {
        return Err(BadRequest::missing(pipeline, "input_url"));
    }
    Ok(JobData { input_url, request, model: facts.model, stream: facts.stream, measure: facts.measure })
}

/// `request` is a JSON object that was checked.
pub fn write_job(input_url: &str, request: &[u8]) -> Bytes {
    let url = json::quoted(input_url);
    [b"{\"input_url\":", url.as_bytes(), b",\"request\":", request.trim_ascii(), b"}"].concat().into()
}

/// The data of a notice with another address in it; every other key stays as it is.
pub fn patch_job(raw: &[u8], input_url: &str) -> Result<Bytes, String> {
    Ok(Object::read(raw)?.with("input_url", &json::quoted(input_url)).into())
}
