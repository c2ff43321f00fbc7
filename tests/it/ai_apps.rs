//! Live runners through the whole program: static and dynamic ones, sticky sessions, sockets, and
//! runners of workers that beat to the pool.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::domain::ids::OrchestratorName;
use openpool_proxy::planes::runner::live::{Listed, LiveConfig, static_config};
use openpool_proxy::sim::ai_orchestrator::Ai;
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use openpool_proxy::sim::runner::{Death, RunnerBehaviour, RunnerPlan, SimRunner};
use openpool_proxy::transport::client::h1::H1;
use openpool_proxy::transport::client::{Dialer, Origin, Speak};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::ai_bed::{AiBed, TOKEN};
use crate::bed::{SECRET, until};

const APP: &str = "live/echo";

fn plan(name: &str, capacity: u32) -> RunnerPlan {
    let mut plan = RunnerPlan::new(name).with(Pipeline::App, APP, capacity);
    plan.apps = true;
    plan.token = Some(format!("secret of {name}"));
    plan
}

fn orchestrator() -> OrchestratorPlan {
    let mut plan = OrchestratorPlan::new(SECRET, Traffic::None);
    plan.ai.health_every = Duration::from_millis(100);
    plan.ai.heartbeat_every = Duration::from_millis(100);
    plan.ai.heartbeat_ttl = Duration::from_secs(1);
    plan
}

async fn bed(plans: Vec<RunnerPlan>, listed: Listed) -> AiBed {
    AiBed::with(vec![orchestrator()], plans, |settings| {
        settings.runner.apps = vec![LiveConfig { listed, ..LiveConfig::new(APP, 1.5) }];
        settings.runner.times.health_grace = Duration::from_secs(2);
    })
    .await
}

/// As an operator would: the pool's own text for `-liveRunnerConfig`.
async fn register(bed: &AiBed, capacity: u32) -> String {
    let runner = &bed.settings.runner;
    let name = OrchestratorName::from("o0");
    let config = static_config(runner, &name, &name, |_| capacity).unwrap();
    let registered = bed.ai().register_live_runners(&config).await.unwrap();
    assert_eq!((registered[0].app.as_str(), registered[0].capacity), (APP, i64::from(capacity)));
    registered[0].route.clone()
}

async fn dial(url: &str) -> openpool_proxy::transport::client::Dialled {
    let origin = Origin::of(&url.parse().unwrap()).unwrap();
    Dialer::new(Duration::from_secs(5)).unwrap().dial(&origin, Speak::H1).await.unwrap()
}

async fn ask(url: &str, method: Method, path: &str, auth: &str, body: &str) -> (u16, Bytes) {
    let mut conn = H1::new(dial(url).await).await.unwrap();
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let request = Request::builder().method(method).uri(path).header("Host", "o").header("Authorization", auth);
    let answer = conn.send(request.body(body).unwrap()).await.unwrap();
    let (head, mut body) = answer.into_parts();
    let mut all = Vec::new();
    while let Some(chunk) = conn.next(&mut body).await {
        all.extend_from_slice(&chunk.unwrap());
    }
    (head.status.as_u16(), all.into())
}

/// A request of a session, through the orchestrator.
async fn visit(
    o: &SimOrchestrator,
    route: &str,
    session: &str,
    method: Method,
    rest: &str,
    body: &str,
) -> (u16, Value) {
    let path = format!("/apps/{route}/session/{session}/app{rest}");
    let (status, said) = ask(&o.url(), method, &path, "", body).await;
    (status, serde_json::from_slice(&said).unwrap_or_else(|_| String::from_utf8_lossy(&said).into_owned().into()))
}

async fn ready(ai: &Arc<Ai>, capacity: i64) -> String {
    let stands = || ai.live_runners().into_iter().find(|one| one.ready && one.capacity == capacity);
    until("the app stands", || stands().is_some()).await;
    stands().unwrap().route
}

fn here(bed: &AiBed, capacity: u32) -> bool {
    let models = bed.app().pool.ai_models();
    models.iter().any(|offer| *offer.key.model == *APP && offer.capacity == capacity)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_static_runner_stay_where_they_are() {
    let bed = bed(vec![plan("a", 1), plan("b", 1)], Listed::Static).await;
    until("both are here", || here(&bed, 2)).await;
    let route = register(&bed, 2).await;
    let (ai, o) = (bed.ai(), &bed.orchestrators[0]);
    assert!(ready(ai, 2).await == route);
    let sessions = [ai.reserve_session(&route).unwrap(), ai.reserve_session(&route).unwrap()];
    assert_eq!(ai.reserve_session(&route).unwrap_err().0, 503);
    let mut homes = Vec::new();
    for session in &sessions {
        let (status, said) = visit(o, &route, session, Method::PUT, "/x/y?q=1&r=%2F", "hello").await;
        assert_eq!((status, &said["method"], &said["path"]), (200, &json!("PUT"), &json!("/x/y")), "{said}");
        assert_eq!((&said["query"], &said["body"]), (&json!("q=1&r=%2F"), &json!("hello")), "{said}");
        assert_eq!(said["headers"]["livepeer-session-id"], json!(session), "{said}");
        assert!(said["headers"]["livepeer-session-token"].is_string() && !said.to_string().contains(TOKEN), "{said}");
        homes.push(said["runner"].clone());
    }
    assert_ne!(homes[0], homes[1], "each has room for one session");
    for n in 0..8 {
        let (status, said) = visit(o, &route, &sessions[n % 2], Method::GET, "", "").await;
        assert_eq!((status, &said["runner"]), (200, &homes[n % 2]), "{said}");
    }
    let (status, events) = visit(o, &route, &sessions[0], Method::GET, "/sse?n=5", "").await;
    assert_eq!((status, events.as_str().unwrap().matches("data: ").count()), (200, 5), "{events}");
    assert_eq!(visit(o, &route, &sessions[0], Method::GET, "/status/418", "").await.0, 418);
    // Its runner is gone: the session goes on at the other one, as soon as that has room.
    assert!(ai.release_session(&route, &sessions[1]));
    let lost = usize::from(homes[0] == "b");
    bed.runners[lost].stop().await;
    until("it is out", || here(&bed, 1)).await;
    assert_eq!(ai.counters().lost_sessions, 0);
    // Nobody comes by without the orchestrator's key.
    let port = bed.settings.runner.public_url.clone().unwrap();
    assert_eq!(ask(&port, Method::GET, "/apps/live~echo/x", "", "").await.0, 404);
    let lines = bed.lines().await;
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert!(lines.iter().all(|one| one["door"] == "live" && one["pipeline"] == "app"), "{lines:?}");
    // What one session asks for within a second is charged once.
    let units: u64 = lines.iter().map(|one| one["units"].as_u64().unwrap()).sum();
    assert!((2..=6).contains(&units), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_passed_on_and_paid_by_the_second() {
    let bed = bed(vec![plan("a", 2)], Listed::Static).await;
    until("it is here", || here(&bed, 2)).await;
    let route = register(&bed, 2).await;
    ready(bed.ai(), 2).await;
    let session = bed.ai().reserve_session(&route).unwrap();
    let url = format!("wss://o/apps/{route}/session/{session}/app/ws");
    let io = dial(&bed.orchestrators[0].url()).await.io;
    let (mut socket, _) = tokio_tungstenite::client_async(url, io).await.unwrap();
    for n in 0..20 {
        let said = Message::text(format!("{n} {}", "x".repeat(n * 100)));
        socket.send(said.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), said);
    }
    tokio::time::sleep(Duration::from_millis(1300)).await;
    // Others of its session pass beside it.
    assert_eq!(visit(&bed.orchestrators[0], &route, &session, Method::GET, "/beside", "").await.0, 200);
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|read| read.is_ok()) {}
    drop(socket);
    until("its request is over", || bed.app().pool.jobs() == 0).await;
    assert_eq!(bed.runners[0].counters().websockets, 1);
    let lines = bed.lines().await;
    let units: u64 = lines.iter().map(|one| one["units"].as_u64().unwrap()).sum();
    assert!(lines.len() == 2 && (2..=5).contains(&units), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_does_not_flap() {
    let bed = bed(vec![plan("a", 1), plan("b", 1)], Listed::Static).await;
    until("both are here", || here(&bed, 2)).await;
    let route = register(&bed, 2).await;
    let ai = bed.ai();
    ready(ai, 2).await;
    let _session = ai.reserve_session(&route).unwrap();
    bed.runners[0].stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.runners[1].stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.runners[1].restart().await.unwrap();
    until("it is back", || here(&bed, 1)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = ai.counters();
    assert!(seen.health_checks > 15 && seen.failed_health_checks == 0 && seen.lost_sessions == 0, "{seen:?}");
    bed.runners[1].stop().await;
    until("at last it is not well", || ai.counters().failed_health_checks > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_heartbeats_keep_an_app_and_hear_of_its_sessions() {
    let mut bed = bed(vec![plan("a", 1), plan("b", 1)], Listed::Dynamic).await;
    let ai = bed.ai().clone();
    let route = ready(&ai, 2).await;
    assert!(!ai.live_runners()[0].is_static);
    let o = &bed.orchestrators[0];
    // Many sessions one after another: a slot is free as soon as the orchestrator says so.
    for _ in 0..3 {
        let sessions = [ai.reserve_session(&route).unwrap(), ai.reserve_session(&route).unwrap()];
        for session in &sessions {
            let (status, said) = visit(o, &route, session, Method::POST, "/go", "{}").await;
            assert_eq!(status, 200, "{said}");
        }
        for session in &sessions {
            assert!(ai.release_session(&route, session));
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    bed.runners[1].stop().await;
    ready(&ai, 1).await;
    assert_eq!(ai.counters().lost_sessions, 0);
    // Another process at its address.
    let address = o.address();
    bed.orchestrators[0].stop().await;
    bed.orchestrators[0] =
        SimOrchestrator::start(OrchestratorPlan { listen: address, ..orchestrator() }).await.unwrap();
    let ai = bed.ai().clone();
    let route = ready(&ai, 1).await;
    let session = ai.reserve_session(&route).unwrap();
    assert_eq!(visit(&bed.orchestrators[0], &route, &session, Method::GET, "/again", "").await.0, 200);
    ai.release_session(&route, &session);
    bed.stop().await;
    assert!(ai.live_runners().is_empty(), "taken back at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_runner_is_gone_goes_on_elsewhere() {
    let bed = bed(vec![plan("a", 2), plan("b", 2)], Listed::Dynamic).await;
    let (ai, o) = (bed.ai(), &bed.orchestrators[0]);
    let route = ready(ai, 4).await;
    let session = ai.reserve_session(&route).unwrap();
    let home = visit(o, &route, &session, Method::GET, "/x", "").await.1["runner"].clone();
    let (here, there) = if home == "a" { (0, 1) } else { (1, 0) };
    // What may have been done is not asked of another.
    bed.runners[here].behave(RunnerBehaviour::Dies { when: Death::Before, rate: 1.0 });
    let (status, said) = visit(o, &route, &session, Method::POST, "/once", "{}").await;
    assert_eq!((status, bed.runners[there].counters().requests), (502, 0), "{said}");
    let (status, said) = visit(o, &route, &session, Method::GET, "/x", "").await;
    assert_eq!((status, said["runner"] == home), (200, false), "{said}");
    // At once, before anybody has noticed.
    bed.runners[here].behave(RunnerBehaviour::Honest);
    bed.runners[there].stop().await;
    let (status, said) = visit(o, &route, &session, Method::POST, "/x", "{}").await;
    assert_eq!((status, &said["runner"]), (200, &home), "{said}");
    bed.runners[here].stop().await;
    until("nobody is here", || bed.app().pool.ai_models().is_empty()).await;
    assert_eq!(visit(o, &route, &session, Method::GET, "/x", "").await.0, 503);
    assert_eq!(bed.lines().await.len(), 3);
}

/// An orchestrator of our own: what it says to heartbeats, one after another, the last for ever.
async fn scripted(answers: Vec<(u16, Value)>) -> (String, Arc<Mutex<Vec<(String, Value)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let (log, turn) = (seen.clone(), Arc::new(AtomicUsize::new(0)));
    openpool_proxy::transport::Tasks::new().spawn("scripted", async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = tcp.read_u8().await else { break };
                head.push(byte);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            if !head.starts_with("POST /runners/heartbeat") {
                continue;
            }
            let field = |name: &str| {
                let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
                line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned()).unwrap_or_default()
            };
            let mut body = vec![0; field("content-length").parse().unwrap()];
            tcp.read_exact(&mut body).await.unwrap();
            log.lock().push((field("authorization"), serde_json::from_slice(&body).unwrap()));
            let (status, said) = &answers[turn.fetch_add(1, Relaxed).min(answers.len() - 1)];
            let said = said.to_string();
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}", said.len());
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_that_is_not_known_bootstraps_again() {
    let first = |secret: &str| json!({ "runner_id": "x", "heartbeat_interval": "50ms", "heartbeat_ttl": "1s", "heartbeat_secret": secret, "session_ids": [] });
    let next = json!({ "runner_id": "x", "heartbeat_interval": "50ms", "heartbeat_ttl": "1s", "session_ids": [] });
    let answers = vec![(200, first("s1")), (200, next.clone()), (404, json!("")), (200, first("s2")), (200, next)];
    let (url, seen) = scripted(answers).await;
    let _bed = AiBed::with(vec![orchestrator()], vec![plan("a", 3)], |settings| {
        settings.runner.apps = vec![LiveConfig::new(APP, 1.5)];
        settings.orchestrators[0].url = url.parse().unwrap();
    })
    .await;
    until("five beats", || seen.lock().len() >= 5).await;
    let seen = seen.lock().clone();
    let secrets: Vec<&str> = seen.iter().take(5).map(|(secret, _)| secret.as_str()).collect();
    assert_eq!(secrets, [SECRET, "s1", "s1", SECRET, "s2"]);
    let keys = ["runner_id", "runner_url", "app", "mode", "capacity", "price_info", "status", "session_ids", "gpu"];
    for (_, beat) in &seen {
        assert!(keys.iter().all(|key| beat.get(*key).is_some()), "every field each time: {beat}");
        assert_eq!((&beat["app"], &beat["capacity"]), (&json!(APP), &json!(3)));
        assert_eq!(beat["price_info"], json!({ "price": 1.5, "currency": "usd", "unit": "hour" }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_own_runner_beats_to_the_pool() {
    let mut theirs = RunnerPlan::new("theirs");
    theirs.apps = true;
    let theirs = SimRunner::start(theirs).unwrap();
    let bed = AiBed::with(vec![orchestrator()], Vec::new(), |settings| {
        settings.runner.apps = vec![LiveConfig::new(APP, 1.5)];
        settings.runner.private_runners = true;
    })
    .await;
    let port = bed.settings.runner.public_url.clone().unwrap();
    let credential = format!("0x{}.rig", "ab".repeat(20));
    let beat =
        |app: &str| json!({ "runner_id": "r1", "runner_url": theirs.url(), "app": app, "capacity": 2 }).to_string();
    let path = "/runners/heartbeat";
    assert_eq!(ask(&port, Method::POST, path, "nobody", &beat(APP)).await.0, 401);
    assert_eq!(ask(&port, Method::POST, path, &credential, &beat("live/other")).await.0, 400);
    let (status, said) = ask(&port, Method::POST, path, &credential, &beat(APP)).await;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((status, &said["heartbeat_ttl"]), (200, &json!("20s")), "{said}");
    let secret = said["heartbeat_secret"].as_str().unwrap().to_owned();
    assert_eq!(ask(&port, Method::POST, path, &credential, &beat(APP)).await.0, 401);
    let route = ready(bed.ai(), 2).await;
    let session = bed.ai().reserve_session(&route).unwrap();
    let (status, said) = visit(&bed.orchestrators[0], &route, &session, Method::GET, "/x", "").await;
    assert_eq!((status, &said["runner"]), (200, &json!("theirs")), "{said}");
    let (status, said) = ask(&port, Method::POST, path, &secret, &beat(APP)).await;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((status, &said["session_ids"], said.get("heartbeat_secret")), (200, &json!([session]), None), "{said}");
    let gone = "/runners/r1/unregister";
    assert_eq!(ask(&port, Method::POST, gone, "wrong", "").await.0, 401);
    assert_eq!(ask(&port, Method::POST, gone, &secret, "").await.0, 204);
    until("its seat is gone", || !here(&bed, 2)).await;
    assert_eq!(ask(&port, Method::POST, path, &secret, &beat(APP)).await.0, 404);
    let lines = bed.lines().await;
    let name = lines[0]["worker"].as_str().unwrap().to_lowercase();
    assert_eq!((lines.len(), name), (1, credential), "{lines:?}");
}
