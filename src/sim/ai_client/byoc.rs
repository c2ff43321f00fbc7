//! BYOC: capabilities that workers register, and jobs for them.
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::http::whole;
use crate::sim::ai_orchestrator::{Ai, error_answer, stream};
use crate::sim::orchestrator::listen::{Body, full, header_text, text};

/// What a worker registered.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Capability {
    pub name: String,
    pub description: String,
    pub url: String,
    pub capacity: i64,
    pub price_per_unit: i64,
    pub price_scaling: i64,
    pub currency: String,
    pub token: String,
    /// Jobs that hold a slot; nobody looks at `capacity`.
    #[serde(skip)]
    pub load: i64,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum ByocFate {
    /// As passed to the gateway.
    Answered { status: u16, content_type: String, metadata: String, body: Bytes, seconds: u64 },
    /// An SSE answer's lines and when they came; charged every 5 s. Without `[DONE]` the gateway hangs.
    Stream { lines: Vec<(String, Instant)>, done: bool, seconds: u64 },
    /// Cancelled before its headers came: the slot is lost.
    Timeout,
    /// A connection error or a 401: the capability is gone.
    Dropped(String),
    /// 503: not registered.
    NoCapability,
}

#[derive(Default)]
pub struct Byoc {
    capabilities: Mutex<HashMap<String, Capability>>,
}

/// Limits of an answer, of a registration, of capabilities.
const MOST: usize = 512 << 20;
const MOST_TEXT: usize = 1 << 20;
const MOST_CAPABILITIES: usize = 10_000;
const CURRENCIES: [&str; 4] = ["", "wei", "eth", "usd"];

// === impl Ai ===

impl Ai {
    /// Capabilities that stand, by name.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut all: Vec<_> = self.byoc.capabilities.lock().values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// `POST <url>/<rest>`, as a gateway's request makes it.
    pub async fn byoc(&self, name: &str, rest: &str, kind: &str, body: Bytes, patience: Duration) -> ByocFate {
        let Some(capability) = self.load(name, 1) else { return ByocFate::NoCapability };
        self.counters.byoc_jobs.fetch_add(1, Relaxed);
        let slash = if rest.is_empty() { "" } else { "/" };
        let began = Instant::now();
        let url = format!("{}{slash}{rest}", capability.url);
        let response = match self.to_worker(&capability, &url, kind, "", body, patience).await {
            Ok(response) => response,
            Err(None) => {
                self.counters.lost_slots.fetch_add(1, Relaxed);
                return ByocFate::Timeout;
            }
            Err(Some(error)) => return self.dropped(name, error),
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            return self.dropped(name, "worker auth token failed".into());
        }
        let get = |name| header_text(response.headers(), name).to_owned();
        let (content_type, metadata) = (get("content-type"), get("x-metadata"));
        let fate = if content_type.contains("text/event-stream") {
            self.lines(response, patience).await
        } else {
            let status = response.status().as_u16();
            let (status, body) = match whole(response.into_body(), MOST).await {
                Ok(body) => (if status > 399 { status } else { 200 }, body),
                Err(error) => (500, Bytes::from(error)),
            };
            let seconds = began.elapsed().as_nanos().div_ceil(1_000_000_000) as u64;
            ByocFate::Answered { status, content_type, metadata, body, seconds }
        };
        self.load(name, -1);
        fate
    }

    async fn lines(&self, response: Response<Incoming>, patience: Duration) -> ByocFate {
        let began = Instant::now();
        let until = began + patience;
        let mut reader = stream::Lines::new(response.into_body());
        let (mut lines, mut done) = (Vec::new(), false);
        while let Ok(Ok(Some(line))) = tokio::time::timeout_at(until, reader.next()).await {
            // The caller leaves when it sees this.
            done = line.contains("[DONE]");
            lines.push((line, Instant::now()));
            if done {
                break;
            }
        }
        if !done {
            self.counters.stuck_streams.fetch_add(1, Relaxed);
        }
        ByocFate::Stream { lines, done, seconds: began.elapsed().as_secs() / 5 * 5 }
    }

    /// `Err(None)` is a timeout.
    pub(super) async fn to_worker(
        &self,
        capability: &Capability,
        url: &str,
        kind: &str,
        stream: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Response<Incoming>, Option<String>> {
        let mut request = Request::post(url).header(header::CONTENT_TYPE, kind);
        if !stream.is_empty() {
            request = request.header("X-Stream-Id", stream);
        }
        if !capability.token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", capability.token));
        }
        let request = request.body(full(body)).map_err(|bad| Some(bad.to_string()))?;
        match timeout(patience, self.client.send(request)).await {
            Ok(answered) => answered.map_err(Some),
            Err(_) => Err(None),
        }
    }

    /// Changes a capability's load; as it is then.
    pub(super) fn load(&self, name: &str, by: i64) -> Option<Capability> {
        let mut all = self.byoc.capabilities.lock();
        let capability = all.get_mut(name)?;
        capability.load += by;
        Some(capability.clone())
    }

    pub(super) fn dropped(&self, name: &str, why: String) -> ByocFate {
        self.byoc.capabilities.lock().remove(name);
        self.counters.dropped_capabilities.fetch_add(1, Relaxed);
        ByocFate::Dropped(why)
    }

    /// `/capability/register` and `/capability/unregister`.
    pub(in crate::sim) async fn capability(self: &Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let refuse = |status, words: &str| {
            self.counters.refused_capabilities.fetch_add(1, Relaxed);
            Ok(error_answer(status, words))
        };
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        }
        if header_text(&head.headers, "authorization") != self.secret {
            return refuse(StatusCode::BAD_REQUEST, "invalid authorization");
        }
        let Ok(body) = whole(body, MOST_TEXT).await else {
            return refuse(StatusCode::BAD_REQUEST, "Error reading request body");
        };
        match head.uri.path() {
            "/capability/register" => {}
            "/capability/unregister" => {
                self.byoc.capabilities.lock().remove(&*String::from_utf8_lossy(&body));
                return Ok(text(StatusCode::OK, "ok"));
            }
            _ => return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        }
        let capability: Capability = match serde_json::from_slice(&body) {
            Ok(capability) => capability,
            Err(bad) => return refuse(StatusCode::BAD_REQUEST, &format!("Error registering capability: {bad}")),
        };
        if !CURRENCIES.contains(&capability.currency.to_ascii_lowercase().as_str()) {
            self.counters.panicked("error converting price");
            return Err(io::Error::other("panic: error converting price"));
        }
        let mut all = self.byoc.capabilities.lock();
        if all.len() >= MOST_CAPABILITIES {
            return refuse(StatusCode::BAD_REQUEST, "too many");
        }
        // Also forgets its load.
        all.insert(capability.name.clone(), capability);
        self.counters.byoc_registrations.fetch_add(1, Relaxed);
        Ok(text(StatusCode::OK, "ok"))
    }
}
