//! A server of one's own behind BYOC: any path, events, streams.
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::body::{self, Body};
use super::counters::{Fate, Running};
use super::listen::{Asked, authorized};
use super::{Shared, live};
use crate::sim::tasks::Tasks;

const TEXT: &str = "text/plain; charset=utf-8";
const MOST_STREAMS: usize = 1000;

pub(super) async fn answer(shared: &Arc<Shared>, asked: Asked) -> (Response<Body>, Running) {
    let Asked { head, body, mut running, tasks } = asked;
    if !authorized(shared, &head) {
        running.will_be(Fate::Refused);
        return (body::whole(StatusCode::UNAUTHORIZED, TEXT, "unauthorized\n"), running);
    }
    let path = head.uri.path();
    if let Some(at) = path.find("/stream/") {
        let id = head.headers.get("x-stream-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let done = stream(shared, &tasks, &path[at + 8..], id, &body);
        return match done {
            Ok(()) => (body::json(StatusCode::OK, &json!({ "status": "ok" })), running),
            Err((status, words)) => {
                shared.counters.refused(&format!("byoc {path}: {words}"));
                running.will_be(Fate::Refused);
                (body::whole(status, TEXT, format!("{words}\n")), running)
            }
        };
    }
    sleep(shared.time(1.0)).await;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path.ends_with("/sse") || request.get("stream") == Some(&Value::Bool(true)) {
        return (events(shared, &request), running);
    }
    let mut echo = Response::new(body::full(body));
    let kind = head.headers.get(header::CONTENT_TYPE).cloned();
    echo.headers_mut().insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static(TEXT)));
    if let Ok(name) = HeaderValue::from_str(&format!("runner={}", shared.plan.name)) {
        echo.headers_mut().insert("x-metadata", name);
    }
    (echo, running)
}

/// As many events as `n` in the request says, ten otherwise.
fn events(shared: &Shared, request: &Value) -> Response<Body> {
    let plan = &shared.plan.stream;
    let count = request.get("n").and_then(Value::as_u64).unwrap_or(10).min(plan.chunks as u64);
    let event = |n: u64| format!("data: {}\n\n", json!({ "n": n, "runner": shared.plan.name }));
    let mut blocks: Vec<String> = (0..count).map(event).collect();
    if plan.done {
        blocks.push("data: [DONE]\n\n".into());
    }
    body::events(blocks, plan.gap)
}

fn stream(shared: &Arc<Shared>, tasks: &Tasks, what: &str, id: &str, body: &[u8]) -> Result<(), (StatusCode, String)> {
    let bad = |words: &str| (StatusCode::BAD_REQUEST, words.to_owned());
    if id.is_empty() {
        return Err(bad("no X-Stream-Id"));
    }
    match what {
        "start" => {
            let request: Map<String, Value> = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
            for key in ["gateway_request_id", "control_url", "events_url"] {
                if !request.get(key).is_some_and(Value::is_string) {
                    return Err(bad(&format!("no {key}")));
                }
            }
            let over = CancellationToken::new();
            {
                let mut streams = shared.streams.lock();
                if streams.len() >= MOST_STREAMS {
                    streams.retain(|_, over| !over.is_cancelled());
                }
                if streams.len() >= MOST_STREAMS {
                    return Err((StatusCode::SERVICE_UNAVAILABLE, "too many streams".into()));
                }
                if let Some(before) = streams.insert(id.to_owned(), over.clone()) {
                    before.cancel();
                }
            }
            let job = live::start(shared, tasks, live::Channels::of(&request));
            shared.counters.change(|seen| seen.streams_started += 1);
            tasks.spawn(async move {
                tokio::select! {
                    () = over.cancelled() => job.end(),
                    () = job.ended() => over.cancel(),
                }
            });
            Ok(())
        }
        "params" if shared.streams.lock().contains_key(id) => {
            shared.counters.change(|seen| {
                seen.params += 1;
                seen.last_params = Some(String::from_utf8_lossy(body).into_owned());
            });
            Ok(())
        }
        "stop" => {
            let found = shared.streams.lock().remove(id).ok_or((StatusCode::NOT_FOUND, "no such stream".to_owned()))?;
            found.cancel();
            shared.counters.change(|seen| seen.streams_stopped += 1);
            Ok(())
        }
        _ => Err((StatusCode::NOT_FOUND, "no such stream".into())),
    }
}
