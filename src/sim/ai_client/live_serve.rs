//! What live runners and their clients ask of the service port, and the proxying between them.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::http::whole;
use super::live::{Refusal, not_found};
use crate::sim::ai_orchestrator::{Ai, error_answer, json_answer};
use crate::sim::orchestrator::listen::{Body, Error, header_text, text};

const MOST_TEXT: usize = 1 << 20;
const MOST_CHANNELS: usize = 25;
/// Of one connection; upgrades are passed on separately.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// A single-shot session: over when its answer is, or its client has gone.
struct OneShot {
    ai: Arc<Ai>,
    route: String,
    session: String,
}

struct Held {
    inner: Body,
    _held: Option<OneShot>,
}

// === impl Ai ===

impl Ai {
    pub(in crate::sim) async fn live_runner(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').splitn(6, '/').collect();
        let (post, delete) = (request.method() == Method::POST, request.method() == Method::DELETE);
        let auth = header_text(request.headers(), "authorization").to_owned();
        let answered = match parts.as_slice() {
            ["runners", "heartbeat"] if post => self.beat(&auth, request).await,
            ["runners", id, "unregister"] if post => {
                self.unregister_live(id, &auth).map(|()| text(StatusCode::NO_CONTENT, ""))
            }
            ["runner", route, "session", session, what] if post || delete => {
                self.callback(route, session, what, request).await
            }
            ["discovery"] => Ok(self.discovery()),
            ["apps", route, "session"] if post => self.reserve_answer(route),
            ["apps", route, "session", session, "stop"] if post => {
                self.release_session(route, session);
                Ok(text(StatusCode::NO_CONTENT, ""))
            }
            ["apps", route, "session", session, "app"] => self.proxy(route, session, "", request, None).await,
            ["apps", route, "session", session, "app", rest] => self.proxy(route, session, rest, request, None).await,
            ["apps", route, "app", ..] => {
                let rest = path.splitn(5, '/').nth(4).unwrap_or_default();
                self.single_shot(route, rest, request).await
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "404 page not found\n")),
        };
        answered.unwrap_or_else(|(status, words)| error_answer(status, &words))
    }

    async fn beat(&self, auth: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let body = whole(request.into_body(), MOST_TEXT).await.map_err(|bad| (StatusCode::BAD_REQUEST, bad))?;
        match self.heartbeat(auth, &body) {
            Ok(answer) => {
                self.counters.heartbeats.fetch_add(1, Relaxed);
                Ok(json_answer(StatusCode::OK, &answer))
            }
            Err(refused) => {
                self.counters.refused_heartbeats.fetch_add(1, Relaxed);
                Err(refused)
            }
        }
    }

    fn discovery(&self) -> Response<Body> {
        let runners = self.live.runners.lock();
        let ready = runners.iter().filter(|(_, runner)| runner.ready);
        let list: Vec<Value> = ready
            .map(|(route, runner)| {
                let end = if runner.single_shot() { "app" } else { "session" };
                let used = runner.sessions.len() as i64;
                json!({
                    "url": self.url(&format!("/apps/{route}/{end}")), "app": runner.record.app,
                    "version": runner.record.version, "mode": runner.record.mode, "capacity": runner.record.capacity,
                    "metadata": runner.record.metadata, "price_info": runner.record.price_info,
                    "capacity_used": used, "capacity_available": runner.record.capacity - used,
                })
            })
            .collect();
        json_answer(StatusCode::OK, &json!([{"address": self.url(""), "runners": list}]))
    }

    fn reserve_answer(&self, route: &str) -> Result<Response<Body>, Refusal> {
        let single = self.live.runners.lock().get(route).ok_or_else(not_found)?.single_shot();
        if single {
            return Err((StatusCode::BAD_REQUEST, "only persistent runners have sessions".into()));
        }
        let session = self.reserve_live(route)?;
        let control = self.url(&format!("/apps/{route}/session/{session}"));
        let answer = json!({"session_id": session, "app_url": format!("{control}/app"), "control_url": control});
        Ok(json_answer(StatusCode::OK, &answer))
    }

    async fn single_shot(
        self: &Arc<Self>,
        route: &str,
        rest: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let single = self.live.runners.lock().get(route).ok_or_else(not_found)?.single_shot();
        if !single {
            return Err((StatusCode::BAD_REQUEST, "runner is not single-shot".into()));
        }
        let session = self.reserve_live(route)?;
        let held = OneShot { ai: self.clone(), route: route.to_owned(), session: session.clone() };
        self.proxy(route, &session, rest, request, Some(held)).await
    }

    /// `channels` and `stop`, with the session's token.
    async fn callback(
        &self,
        route: &str,
        session: &str,
        what: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let token = header_text(request.headers(), "livepeer-session-token").to_owned();
        let post = request.method() == Method::POST;
        let bad = |words: String| (StatusCode::BAD_REQUEST, words);
        let body = whole(request.into_body(), MOST_TEXT).await.map_err(bad)?;
        {
            let runners = self.live.runners.lock();
            let runner = runners.get(route).filter(|runner| runner.ready).ok_or_else(not_found)?;
            let known = runner.sessions.get(session);
            let known = known.ok_or_else(|| (StatusCode::NOT_FOUND, "runner session not found".into()))?;
            if known.token != token {
                return Err((StatusCode::UNAUTHORIZED, "invalid authorization".into()));
            }
        }
        if what == "stop" && post {
            self.release_session(route, session);
            return Ok(text(StatusCode::NO_CONTENT, ""));
        }
        if what != "channels" {
            return Ok(text(StatusCode::NOT_FOUND, "404 page not found\n"));
        }
        let asked: Value = serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
        let asked = asked["channels"].as_array().filter(|list| !list.is_empty());
        let asked = asked.ok_or_else(|| bad("channels is required".into()))?;
        if asked.len() > MOST_CHANNELS {
            return Err(bad(format!("channels cannot contain more than {MOST_CHANNELS} entries")));
        }
        let mut runners = self.live.runners.lock();
        let known = runners.get_mut(route).and_then(|runner| runner.sessions.get_mut(session)).ok_or_else(not_found)?;
        let mut done = Vec::new();
        for entry in asked {
            let name = if post { &entry["name"] } else { entry }.as_str().unwrap_or_default().trim().to_owned();
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(legal) {
                return Err(bad("invalid channel name".into()));
            }
            if !post {
                let gone = known.channels.remove(&name);
                let gone = gone.ok_or_else(|| (StatusCode::NOT_FOUND, "trickle channel not found".into()))?;
                self.trickle.close(gone["channel_name"].as_str().unwrap_or_default());
                done.push(Value::from(name));
                continue;
            }
            let channel = known.channels.entry(name.clone()).or_insert_with(|| {
                let mime = entry["mime_type"].as_str().unwrap_or("application/octet-stream");
                let full = format!("{session}-{name}");
                self.trickle.open(&full, mime);
                let url = self.url(&format!("/ai/trickle/{full}"));
                json!({"name": name, "channel_name": full, "url": url, "internal_url": url, "mime_type": mime})
            });
            done.push(channel.clone());
        }
        let answer = if post { json!({"channels": done}) } else { json!({"deleted": done}) };
        Ok(json_answer(StatusCode::OK, &answer))
    }

    async fn proxy(
        self: &Arc<Self>,
        route: &str,
        session: &str,
        rest: &str,
        mut request: Request<Incoming>,
        held: Option<OneShot>,
    ) -> Result<Response<Body>, Refusal> {
        let (target, token) = {
            let runners = self.live.runners.lock();
            let runner = runners.get(route).filter(|runner| runner.ready).ok_or_else(not_found)?;
            let known = runner.sessions.get(session);
            let known = known.ok_or_else(|| (StatusCode::NOT_FOUND, "runner session not found".to_owned()))?;
            (runner.record.runner_url.clone(), known.token.clone())
        };
        self.counters.proxied.fetch_add(1, Relaxed);
        let gateway = |words: String| (StatusCode::BAD_GATEWAY, words);
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let slash = if rest.is_empty() { "" } else { "/" };
        let url = format!("{}{slash}{rest}{query}", target.trim_end_matches('/'));
        let upgrade = request.headers().get(header::UPGRADE).cloned();
        let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let mut out = Request::new(body.map_err(Into::into).boxed_unsync());
        *out.method_mut() = head.method;
        *out.uri_mut() = url.parse().map_err(|bad: http::uri::InvalidUri| gateway(bad.to_string()))?;
        *out.headers_mut() = passed_on(head.headers);
        let control = self.url(&format!("/runner/{route}/session/{session}"));
        let added = [
            ("livepeer-runner-route", route),
            ("livepeer-session-id", session),
            ("livepeer-session-token", &token),
            ("livepeer-session-control", &control),
        ];
        for (name, value) in added {
            let value = HeaderValue::from_str(value).map_err(|bad| gateway(bad.to_string()))?;
            out.headers_mut().insert(HeaderName::from_static(name), value);
        }
        if let Some(upgrade) = upgrade {
            out.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            out.headers_mut().insert(header::UPGRADE, upgrade);
        }
        let mut response = self.client.send_verified(out).await.map_err(gateway)?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), client) {
            let server = hyper::upgrade::on(&mut response);
            self.tasks.spawn(async move {
                let _held = held;
                if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
            let mut switching = text(StatusCode::SWITCHING_PROTOCOLS, "");
            *switching.headers_mut() = response.headers().clone();
            return Ok(switching);
        }
        let (mut head, body) = response.into_parts();
        head.headers = passed_on(head.headers);
        let inner = body.map_err(Into::into).boxed_unsync();
        Ok(Response::from_parts(head, Held { inner, _held: held }.boxed_unsync()))
    }
}

/// Without what belongs to one connection, and without what a caller says of itself.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    let named = header_text(&headers, "connection").to_owned();
    for name in named.split(',').map(str::trim).chain(HOP_BY_HOP).chain(FORWARDED).chain(["host"]) {
        headers.remove(name);
    }
    headers
}

// === impl OneShot ===

impl Drop for OneShot {
    fn drop(&mut self) {
        self.ai.release_session(&self.route, &self.session);
    }
}

// === impl Held ===

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.get_mut().inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
