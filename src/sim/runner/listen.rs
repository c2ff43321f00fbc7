//! The port: connections, routes, and what the plan's behaviour makes of an answer.
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rand::Rng;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::body::{self, Body};
use super::counters::{Fate, Running};
use super::{Death, RunnerBehaviour, Shared, apps, byoc, pipelines};
use crate::domain::ai::Pipeline;
use crate::sim::tasks::Tasks;

const HANDSHAKE: Duration = Duration::from_secs(5);
/// Of a request: 300 MB of file and what is around it.
const MOST_BODY: usize = 301_000_000;

/// The connection is cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("simulated death")]
pub(super) struct Cut;

/// A request that was read whole.
pub(super) struct Asked {
    pub(super) head: http::request::Parts,
    pub(super) body: Bytes,
    pub(super) running: Running,
    pub(super) tasks: Tasks,
}

pub(super) fn start(shared: &Arc<Shared>, listener: StdListener) -> io::Result<Tasks> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let tasks = Tasks::default();
    tasks.spawn(accept(shared.clone(), tasks.clone(), listener));
    Ok(tasks)
}

async fn accept(shared: Arc<Shared>, tasks: Tasks, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => tasks.spawn(connection(shared.clone(), tasks.clone(), tcp)),
            // Out of descriptors, most likely: some connection will end.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(shared: Arc<Shared>, tasks: Tasks, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    match shared.tls.as_ref().map(|pair| TlsAcceptor::from(pair.config.clone())) {
        Some(acceptor) => {
            if let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                serve(shared, tasks, tls).await;
            }
        }
        None => serve(shared, tasks, tcp).await,
    }
}

async fn serve(shared: Arc<Shared>, tasks: Tasks, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut server = auto::Builder::new(tasks.clone());
    server.http1().timer(TokioTimer::new());
    let service = service_fn(move |request| answer(shared.clone(), tasks.clone(), request));
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<Shared>, tasks: Tasks, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    if let Some(told) = told(&shared, request.method(), request.uri().path()) {
        shared.counters.change(|seen| seen.calls += 1);
        return Ok(told);
    }
    let Some(pipeline) = pipeline(&shared, &request) else {
        return Ok(detail(StatusCode::NOT_FOUND, "Not Found"));
    };
    let mut running = Running::begin(&shared, &tasks, pipeline);
    let (head, incoming) = request.into_parts();
    let upgrade = apps::is_websocket(&head.headers);
    if upgrade && pipeline == Pipeline::App {
        running.over();
        return Ok(apps::websocket(&shared, &tasks, Request::from_parts(head, incoming), running));
    }
    let body = match read(incoming).await {
        Ok(body) => body,
        Err(Unread::Left) => return Err(Cut),
        Err(Unread::TooLong) => {
            running.will_be(Fate::Refused);
            return Ok(body::counted(detail(StatusCode::PAYLOAD_TOO_LARGE, "too large"), running));
        }
    };
    if let Some(fate) = before(&shared, &mut running).await? {
        return Ok(body::counted(fate, running));
    }
    let asked = Asked { head, body, running, tasks };
    let (response, running) = match pipeline {
        Pipeline::Byoc => byoc::answer(&shared, asked).await,
        Pipeline::App => apps::answer(&shared, asked).await,
        stock => pipelines::answer(&shared, stock, asked).await,
    };
    Ok(after(&shared, pipeline, response, running))
}

/// What work a path asks for.
fn pipeline(shared: &Shared, request: &Request<Incoming>) -> Option<Pipeline> {
    let plan = &shared.plan;
    let path = request.uri().path().trim_start_matches('/');
    let stock = Pipeline::STOCK.into_iter().find(|pipeline| pipeline.name() == path);
    let offered = stock.filter(|pipeline| plan.models.iter().any(|offer| offer.key.pipeline == *pipeline));
    if offered.is_some() && request.method() == Method::POST {
        return offered;
    }
    let first = path.strip_prefix("byoc/").unwrap_or(path).split('/').next().unwrap_or_default();
    let named = first == "stream" || plan.capabilities.iter().any(|name| name == first);
    match plan.apps {
        true if named && !plan.capabilities.is_empty() => Some(Pipeline::Byoc),
        true => Some(Pipeline::App),
        false => (!plan.capabilities.is_empty() && request.method() == Method::POST).then_some(Pipeline::Byoc),
    }
}

/// What a runner says about itself.
fn told(shared: &Shared, method: &Method, path: &str) -> Option<Response<Body>> {
    if method != Method::GET {
        return None;
    }
    let (pipeline, model) = match shared.plan.models.first() {
        Some(offer) => (offer.key.pipeline.name(), offer.key.model.as_ref()),
        None => ("", ""),
    };
    let gpu = |key: &str, more: Value| {
        let mut one = json!({ "id": format!("GPU-{}", shared.plan.name), "name": "Simulated",
            "memory_free": 40_000_000_000u64, "memory_total": 48_000_000_000u64 });
        if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
            one.extend(more);
        }
        json!({ "pipeline": pipeline, "model_id": model, key: { "0": one } })
    };
    let value = match path {
        "/health" => json!({ "status": *shared.health.lock() }),
        "/version" => json!({ "pipeline": pipeline, "model_id": model, "version": shared.plan.version }),
        "/hardware/info" => gpu("gpu_info", json!({ "major": 9, "minor": 0 })),
        "/hardware/stats" => gpu("gpu_stats", json!({ "utilization_compute": 50, "utilization_memory": 20 })),
        _ => return None,
    };
    Some(body::json(StatusCode::OK, &value))
}

/// FastAPI's own errors have a text there.
pub(super) fn detail(status: StatusCode, words: &str) -> Response<Body> {
    body::json(status, &json!({ "detail": words }))
}

/// The errors of ai-runner.
pub(super) fn message(status: StatusCode, words: &str) -> Response<Body> {
    body::json(status, &json!({ "detail": { "msg": words } }))
}

/// `Authorization: Bearer <token>`, when the plan has one.
pub(super) fn authorized(shared: &Shared, head: &http::request::Parts) -> bool {
    let Some(token) = &shared.plan.token else { return true };
    let sent = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let good = sent.and_then(|value| value.strip_prefix("Bearer ")) == Some(token);
    if !good {
        shared.counters.change(|seen| seen.unauthorized += 1);
    }
    good
}

/// Behaviours that need no answer to spoil.
async fn before(shared: &Shared, running: &mut Running) -> Result<Option<Response<Body>>, Cut> {
    let behaviour = shared.behaviour();
    let response = match behaviour {
        RunnerBehaviour::Busy503 => message(StatusCode::SERVICE_UNAVAILABLE, "simulated: busy"),
        RunnerBehaviour::Fails { rate, status } if shared.rolls(rate) => {
            sleep(shared.time(0.5)).await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            match status {
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let fault = json!({ "loc": ["body", "prompt"], "msg": "simulated", "type": "value_error" });
                    body::json(status, &json!({ "detail": [fault] }))
                }
                _ => message(status, "simulated: out of memory"),
            }
        }
        RunnerBehaviour::Hangs { rate } if shared.rolls(rate) => {
            sleep(shared.plan.hang).await;
            return Ok(None);
        }
        RunnerBehaviour::Dies { when: Death::Before, rate } if shared.rolls(rate) => {
            sleep(shared.time(0.5)).await;
            running.will_be(Fate::Failed);
            running.over();
            return Err(Cut);
        }
        _ => return Ok(None),
    };
    running.will_be(Fate::Failed);
    Ok(Some(response))
}

/// Behaviours that spoil a good answer.
fn after(shared: &Shared, pipeline: Pipeline, response: Response<Body>, mut running: Running) -> Response<Body> {
    let own = matches!(pipeline, Pipeline::Byoc | Pipeline::App);
    if response.status() != StatusCode::OK {
        return body::counted(response, running);
    }
    let spoiled = match shared.behaviour() {
        RunnerBehaviour::Dies { when, rate } if when != Death::Before && shared.rolls(rate) => {
            running.will_be(Fate::Failed);
            running.over();
            return body::counted(body::cut(response, when == Death::After), running);
        }
        RunnerBehaviour::Garbage if !own => {
            let noise: [u8; 32] = shared.chance.lock().random();
            body::whole(StatusCode::OK, "application/json", noise.to_vec())
        }
        RunnerBehaviour::NotJson if !own => {
            body::whole(StatusCode::OK, "text/html", "<html><body>It works!</body></html>")
        }
        RunnerBehaviour::Oversize if !own => {
            response.map(|_| body::long("{\"text\":\"", shared.plan.oversize, "\",\"images\":[]}"))
        }
        _ => return body::counted(response, running),
    };
    running.will_be(Fate::Failed);
    body::counted(spoiled, running)
}

enum Unread {
    TooLong,
    /// The caller hung up.
    Left,
}

async fn read(mut incoming: Incoming) -> Result<Bytes, Unread> {
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return Err(Unread::Left) };
        let data = frame.into_data().unwrap_or_default();
        if body.len() + data.len() > MOST_BODY {
            return Err(Unread::TooLong);
        }
        body.extend_from_slice(&data);
    }
    Ok(body.freeze())
}
