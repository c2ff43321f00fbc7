//! Live runners: health, heartbeats, sessions, proxying.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::answer;
use super::*;

async fn post(orchestrator: &SimOrchestrator, path: &str, auth: &str, body: Value) -> (u16, Value) {
    let request = http::Request::post(path).header("Authorization", auth).header("Livepeer-Session-Token", auth);
    let (status, _, body) = send(orchestrator.address(), request.body(whole(body.to_string())).unwrap()).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_missed_health_check_releases_every_session() {
    let orchestrator = orchestrator(|plan| plan.health_every = Duration::from_millis(30)).await;
    let ill = Arc::new(AtomicBool::new(false));
    let told = ill.clone();
    let server = Server::start(move |seen| match seen.line.as_str() {
        "GET /r/health" => answer(if told.load(Relaxed) { 500 } else { 200 }, "text/plain", ""),
        _ => answer(418, "text/plain", format!("{} {:?}", seen.line, seen.headers)),
    })
    .await;
    let ai = orchestrator.ai();
    let url = format!("{}/r", server.url());
    let entry = json!({"label": "l", "routing": "label", "runner_url": url, "health_url": "/health", "app": "a/b", "capacity": 1});
    let config = json!({ "runners": [entry] });
    assert!(ai.register_live_runners(&config).await.unwrap()[0].ready);
    let (status, session) = post(&orchestrator, "/apps/l/session", "", Value::Null).await;
    assert_eq!((status, post(&orchestrator, "/apps/l/session", "", Value::Null).await.0), (200, 503));
    let path = session["app_url"].as_str().unwrap().split_once("/apps").unwrap().1.to_owned();
    let request =
        http::Request::put(format!("/apps{path}/x/y?q=1")).header("X-Forwarded-For", "me").body(whole("")).unwrap();
    let (status, _, body) = send(orchestrator.address(), request).await;
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(status == 418 && body.starts_with("PUT /r/x/y?q=1 ") && !body.contains("forwarded"), "{body}");
    let id = session["session_id"].as_str().unwrap();
    assert!(
        body.contains(id) && body.contains("livepeer-session-token") && body.contains("/runner/l/session/"),
        "{body}"
    );
    ill.store(true, Relaxed);
    until("released", || ai.live_runners()[0].sessions.is_empty()).await;
    assert_eq!(ai.counters().lost_sessions, 1);
    ill.store(false, Relaxed);
    until("back", || ai.live_runners()[0].ready).await;
    assert!(ai.reserve_session("l").is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_have_their_own_secret_and_a_time_to_live() {
    let orchestrator = orchestrator(|plan| {
        (plan.heartbeat_every, plan.heartbeat_ttl) = (Duration::from_millis(50), Duration::from_millis(300));
    })
    .await;
    let o = &orchestrator;
    let beat = json!({"runner_id": "runner_x", "runner_url": "http://127.0.0.1:1", "app": "a", "capacity": 2});
    let path = "/runners/heartbeat";
    assert_eq!(post(o, path, "wrong", beat.clone()).await.0, 401);
    let (status, first) = post(o, path, SECRET, beat.clone()).await;
    assert_eq!((status, &first["heartbeat_ttl"]), (200, &json!("300ms")));
    let secret = first["heartbeat_secret"].as_str().unwrap();
    assert_eq!(post(o, path, SECRET, beat.clone()).await.0, 401);
    let session = o.ai().reserve_session("runner_x").unwrap();
    let (status, second) = post(o, path, secret, beat.clone()).await;
    assert_eq!((status, &second["session_ids"], second.get("heartbeat_secret")), (200, &json!([session]), None));
    let o2r = o.ai().trickle().channel(first["o2r"]["channel_name"].as_str().unwrap()).unwrap();
    let trickle::Read::Segment(event) = o2r.read(0).await else { panic!("no event") };
    assert!(event.body.starts_with(b"{\"event\":\"reserved\""));
    let mut bad = beat.clone();
    bad["metadata"] = "x".repeat(1025).into();
    assert_eq!(post(o, path, secret, bad).await.0, 400);
    until("expired", || o.ai().live_runners().is_empty()).await;
    assert!(o2r.closed());
    assert_eq!(post(o, "/runners/runner_x/unregister", secret, Value::Null).await.0, 404);
    let (_, again) = post(o, path, SECRET, beat).await;
    let secret = again["heartbeat_secret"].as_str().unwrap();
    assert_eq!(post(o, "/runners/runner_x/unregister", secret, Value::Null).await.0, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_shot_is_one_request_and_a_socket_is_passed_on() {
    let orchestrator = orchestrator(|_| {}).await;
    let server = Server::start(|seen| {
        if seen.headers.contains_key("upgrade") {
            let switching = http::Response::builder().status(101).header("Upgrade", "websocket");
            return switching.header("Connection", "Upgrade").body(whole("")).unwrap();
        }
        answer(
            200,
            "text/plain",
            seen.headers.get("livepeer-session-token").map_or(Vec::new(), |token| token.as_bytes().to_vec()),
        )
    })
    .await;
    let entry = |label: &str, mode: &str| json!({"label": label, "routing": "label", "runner_url": server.url(), "health_url": "/h", "app": "a", "mode": mode});
    let config = json!({"runners": [entry("one", "single_shot"), entry("many", "")]});
    let ai = orchestrator.ai();
    ai.register_live_runners(&config).await.unwrap();
    for _ in 0..3 {
        let get = http::Request::get("/apps/one/app/x").body(whole("")).unwrap();
        assert_eq!(send(orchestrator.address(), get).await.0.as_u16(), 200);
        until("released", || ai.live_runners().iter().all(|runner| runner.sessions.is_empty())).await;
    }
    assert_eq!(post(&orchestrator, "/apps/one/session", "", Value::Null).await.0, 400);
    let session = ai.reserve_session("many").unwrap();
    let mut tls = tls::Dialer::new().unwrap().dial(orchestrator.address(), tls::Alpn::H1).await.unwrap();
    let head = format!(
        "GET /apps/many/session/{session}/app/ws HTTP/1.1\r\nHost: o\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\n") {
        got.push(tls.read_u8().await.unwrap());
    }
    assert!(got.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&got));
    tls.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    tls.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    // Callbacks want the session's token.
    let path = format!("/runner/many/session/{session}");
    let channels = json!({"channels": [{"name": "out", "mime_type": "video/MP2T"}]});
    assert_eq!(post(&orchestrator, &format!("{path}/channels"), "wrong", channels.clone()).await.0, 401);
    let get = http::Request::get(format!("/apps/many/session/{session}/app")).body(whole("")).unwrap();
    let token = String::from_utf8(send(orchestrator.address(), get).await.2.to_vec()).unwrap();
    let (status, made) = post(&orchestrator, &format!("{path}/channels"), &token, channels).await;
    let name = made["channels"][0]["channel_name"].as_str().unwrap();
    assert!(status == 200 && ai.trickle().channel(name).is_some());
    assert_eq!(post(&orchestrator, &format!("{path}/stop"), &token, Value::Null).await.0, 204);
    assert!(ai.trickle().channel(name).is_none());
}
