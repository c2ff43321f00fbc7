//! A live app: says what it was asked, streams events and bytes, and gives back what a WebSocket says.
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Shared;
use super::body::{self, Body};
use super::counters::{Fate, Running};
use super::listen::{Asked, authorized};
use crate::sim::tasks::Tasks;

/// A body that is said back as text; of a longer one the sum and the length tell.
const MOST_SHOWN: usize = 64 << 10;
const MOST_EVENTS: u64 = 100_000;

pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    let value = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Gives back every message until the other side closes.
pub(super) fn websocket(
    shared: &Arc<Shared>,
    tasks: &Tasks,
    mut request: Request<Incoming>,
    running: Running,
) -> Response<Body> {
    let Some(key) = request.headers().get("sec-websocket-key") else {
        return body::whole(StatusCode::BAD_REQUEST, "text/plain", "no Sec-WebSocket-Key\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(&mut request);
    shared.counters.change(|seen| seen.websockets += 1);
    tasks.spawn(async move {
        // Counted as running until it closes.
        let _running = running;
        let Ok(upgraded) = upgraded.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let said = message.is_text() || message.is_binary();
            if said && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(body::full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

/// `.../sse?n=20`, `.../bytes?n=1048576`, `.../status/404`; everything else is said back.
pub(super) async fn answer(shared: &Arc<Shared>, asked: Asked) -> (Response<Body>, Running) {
    let Asked { head, body, mut running, .. } = asked;
    if !authorized(shared, &head) {
        running.will_be(Fate::Refused);
        return (body::whole(StatusCode::UNAUTHORIZED, "text/plain", "unauthorized\n"), running);
    }
    sleep(shared.time(1.0)).await;
    let path = head.uri.path();
    let number = |name: &str| {
        let pairs = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
    };
    if path.ends_with("/sse") {
        let count = number("n").unwrap_or(10).min(MOST_EVENTS);
        let event = |n: u64| format!("data: {}\n\n", json!({ "n": n, "runner": shared.plan.name }));
        return (body::events((0..count).map(event).collect(), shared.plan.stream.gap), running);
    }
    if path.ends_with("/bytes") {
        let length = usize::try_from(number("n").unwrap_or(1 << 20)).unwrap_or(usize::MAX);
        let mut response = Response::new(body::long("", length, ""));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        return (response, running);
    }
    let asked = path.rsplit_once("/status/").and_then(|(_, code)| StatusCode::from_bytes(code.as_bytes()).ok());
    (body::json(asked.unwrap_or(StatusCode::OK), &said(shared, &head, &body)), running)
}

fn said(shared: &Shared, head: &http::request::Parts, body: &[u8]) -> Value {
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let sum: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = (body.len() <= MOST_SHOWN).then(|| String::from_utf8_lossy(body).into_owned());
    json!({ "runner": shared.plan.name, "method": head.method.as_str(), "path": head.uri.path(),
        "query": head.uri.query().unwrap_or_default(), "headers": headers, "body": shown,
        "length": body.len(), "sha256": sum })
}
