//! `/aiResults` in its three forms: files and JSON, an error's text, a stream of events.
use bytes::Bytes;
use http::{Request, StatusCode, header};
use rand::Rng;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Shared;
use crate::sim::body::{Chunks, Upload};
use crate::sim::worker::register::Registration;

const AUTHORIZATION: &str = "Livepeer-AI-Worker-1.0";
const ERROR_TYPE: &str = "livepeer/ai-worker-error";

#[derive(Clone)]
pub(super) struct Head {
    pub(super) task: i64,
    /// As it was asked for.
    pub(super) pipeline: String,
}

/// A result and its Content-Type.
pub(super) struct Multipart {
    kind: String,
    body: Chunks,
}

fn boundary(shared: &Shared) -> String {
    let bytes: [u8; 10] = shared.chance.lock().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files, then the JSON, as Go writes them: headers sorted, names unquoted.
pub(super) fn multipart<'a>(
    shared: &Shared,
    files: impl Iterator<Item = (&'a str, &'a str, Bytes)>,
    json: &Value,
) -> Multipart {
    let boundary = boundary(shared);
    let mut parts: Vec<Bytes> = Vec::new();
    let mut open = format!("--{boundary}\r\n");
    for (name, kind, bytes) in files {
        let head = format!(
            "{open}Content-Disposition: attachment; filename={name}\r\nContent-Length: {}\r\nContent-Type: {kind}\r\n\r\n",
            bytes.len()
        );
        parts.extend([head.into(), bytes]);
        open = format!("\r\n--{boundary}\r\n");
    }
    let json = json.to_string();
    parts.push(format!("{open}Content-Length: {}\r\nContent-Type: application/json\r\n\r\n{json}", json.len()).into());
    parts.push(format!("\r\n--{boundary}--\r\n").into());
    Multipart { kind: format!("multipart/mixed; boundary={boundary}"), body: Chunks::new(parts) }
}

/// The right type, and nothing right in it.
pub(super) fn garbage(shared: &Shared) -> Multipart {
    let noise: Vec<u8> = {
        let mut chance = shared.chance.lock();
        (0..1000).map(|_| chance.random()).collect()
    };
    let kind = format!("multipart/mixed; boundary={}", boundary(shared));
    Multipart { kind, body: Chunks::new([noise.into()]) }
}

pub(super) async fn result(shared: &Shared, registration: &Registration, head: &Head, result: Multipart) {
    post(shared, registration, head, &result.kind, Upload::Whole(result.body)).await;
}

pub(super) async fn error(shared: &Shared, registration: &Registration, head: &Head, words: &str) {
    shared.change(|seen| seen.last_error = Some(words.to_owned()));
    let body = Chunks::new([Bytes::copy_from_slice(words.as_bytes())]);
    post(shared, registration, head, ERROR_TYPE, Upload::Whole(body)).await;
}

pub(super) async fn events(shared: &Shared, registration: &Registration, head: &Head, pieces: mpsc::Receiver<Bytes>) {
    post(shared, registration, head, "text/event-stream", Upload::Stream(pieces)).await;
}

async fn post(shared: &Shared, registration: &Registration, head: &Head, kind: &str, body: Upload) {
    let mut request = Request::post(format!("https://{}/aiResults", shared.pool))
        .header(header::AUTHORIZATION, AUTHORIZATION)
        .header("credentials", &shared.plan.secret)
        .header("taskid", head.task)
        .header("pipeline", &head.pipeline)
        .header(header::CONTENT_TYPE, kind)
        .header(header::USER_AGENT, "Go-http-client/2.0");
    request = match (&body, shared.plan.address) {
        (Upload::Stream(_), _) => request.header(header::CACHE_CONTROL, "no-cache"),
        (Upload::Whole(chunks), None) => request.header(header::CONTENT_LENGTH, chunks.length()),
        (Upload::Whole(chunks), Some(address)) => {
            request.header(header::CONTENT_LENGTH, chunks.length()).header("poolethereumaddress", address.to_string())
        }
    };
    let Ok(request) = request.body(body) else { return };
    let posted = registration.results.post(request).await;
    shared.change(|seen| match posted {
        Ok((StatusCode::OK, _)) => seen.taken += 1,
        Ok((status, words)) => {
            seen.refused += 1;
            seen.last_refusal = Some(format!("{} {words}", status.as_u16()));
        }
        Err(_) => seen.lost += 1,
    });
}

// === impl Multipart ===

impl Multipart {
    /// Keeps about half of itself back for ever.
    pub(super) fn stalling(self) -> Multipart {
        Multipart { body: self.body.stalling(), ..self }
    }
}
