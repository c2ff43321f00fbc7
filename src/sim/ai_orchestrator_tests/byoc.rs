//! BYOC: registration, jobs, streams.
use super::ai_client::{ByocFate, StreamWants};
use super::server::answer;
use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

async fn register(orchestrator: &SimOrchestrator, secret: &str, body: String) -> (u16, Bytes) {
    let request =
        http::Request::post("/capability/register").header("Authorization", secret).body(whole(body)).unwrap();
    let (status, _, body) = send(orchestrator.address(), request).await;
    (status.as_u16(), body)
}

fn capability(url: &str) -> String {
    json!({"name": "echo", "url": url, "capacity": 1, "price_per_unit": 1, "price_scaling": 1, "token": "t"})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_reach_the_worker_and_only_some_failures_drop_it() {
    let orchestrator = orchestrator(|_| {}).await;
    let ai = orchestrator.ai();
    let server = Server::start(|seen| match seen.line.as_str() {
        "POST /base/a/b" => answer(200, "text/event-stream", "data: 1\n\ndata: [DONE]\n\n"),
        "POST /base/endless" => answer(200, "text/event-stream", "data: 1\n\n"),
        "POST /base/401" => answer(401, "text/plain", "who?"),
        "POST /base/503" => answer(503, "text/plain", "full"),
        _ => answer(200, "application/json", seen.body.clone()),
    })
    .await;
    let url = format!("{}/base", server.url());
    assert_eq!(register(&orchestrator, "wrong", capability(&url)).await.0, 400);
    assert_eq!(register(&orchestrator, SECRET, "no json".into()).await.0, 400);
    assert_eq!(register(&orchestrator, SECRET, capability(&url)).await, (200, "ok".into()));
    let job = |rest: &'static str| ai.byoc("echo", rest, "application/json", "{\"a\":1}".into(), PATIENCE);
    let plain = job("").await;
    assert!(
        matches!(plain, ByocFate::Answered { status: 200, seconds: 1, ref body, .. } if &body[..] == b"{\"a\":1}"),
        "{plain:?}"
    );
    let seen = server.seen.lock().last().unwrap().clone();
    assert_eq!((seen.line.as_str(), seen.headers["authorization"].to_str().unwrap()), ("POST /base", "Bearer t"));
    assert!(matches!(job("a/b").await, ByocFate::Stream { done: true, ref lines, .. } if lines.len() == 3));
    assert!(matches!(job("endless").await, ByocFate::Stream { done: false, .. }));
    assert!(matches!(job("503").await, ByocFate::Answered { status: 503, .. }));
    assert_eq!((ai.capabilities().len(), ai.capabilities()[0].load), (1, 0));
    assert!(matches!(job("401").await, ByocFate::Dropped(_)));
    assert_eq!(job("").await, ByocFate::NoCapability);
    register(&orchestrator, SECRET, capability(&url)).await;
    server.stop().await;
    assert!(matches!(job("").await, ByocFate::Dropped(_)));
    let seen = ai.counters();
    assert_eq!((seen.dropped_capabilities, seen.stuck_streams, seen.refused_capabilities), (2, 1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_loses_a_slot_until_the_next_registration() {
    let orchestrator = orchestrator(|_| {}).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    register(&orchestrator, SECRET, capability(&url)).await;
    let ai = orchestrator.ai();
    let fate = ai.byoc("echo", "", "text/plain", Bytes::new(), Duration::from_millis(50)).await;
    assert_eq!((fate, ai.capabilities()[0].load, ai.counters().lost_slots), (ByocFate::Timeout, 1, 1));
    register(&orchestrator, SECRET, capability(&url)).await;
    assert_eq!(ai.capabilities()[0].load, 0);
    let gone =
        http::Request::post("/capability/unregister").header("Authorization", SECRET).body(whole("echo")).unwrap();
    send(orchestrator.address(), gone).await;
    assert!(ai.capabilities().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_currency_panics_the_request() {
    let orchestrator = orchestrator(|_| {}).await;
    let tls = tls::Dialer::new().unwrap().dial(orchestrator.address(), tls::Alpn::H1).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(tls);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let tasks = tasks::Tasks::default();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let body = json!({"name": "x", "url": "http://x", "currency": "beans"}).to_string();
    let request = http::Request::post("/capability/register").header("Host", "o").header("Authorization", SECRET);
    assert!(sender.send_request(request.body(whole(body)).unwrap()).await.is_err());
    assert_eq!(orchestrator.ai().counters().panics, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_start_change_and_stop() {
    let orchestrator = orchestrator(|_| {}).await;
    let ai = orchestrator.ai();
    let server = Server::start(|seen| answer(200, "application/json", seen.body.clone())).await;
    register(&orchestrator, SECRET, capability(&server.url())).await;
    let wants = StreamWants { ingress: true, data: true, ..Default::default() };
    let keys = json!({"control_url": "mine", "style": "x"});
    let stream = ai.byoc_start("echo", "s1", wants, keys, PATIENCE).await.ok().unwrap();
    let first = server.seen.lock()[0].clone();
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!((first.line.as_str(), first.headers["x-stream-id"].to_str().unwrap()), ("POST /stream/start", "s1"));
    assert_eq!((&body["control_url"], &body["style"], body.get("publish_url")), (&json!("mine"), &json!("x"), None));
    assert_eq!(body["data_url"], format!("{}/ai/trickle/s1-data", orchestrator.url()));
    assert_eq!(ai.capabilities()[0].load, 1);
    assert_eq!(ai.byoc_params(&stream, "{\"p\":1}".into(), PATIENCE).await.unwrap().1, "{\"p\":1}");
    assert_eq!(ai.byoc_stop(&stream, "{}".into(), PATIENCE).await.unwrap().0, 200);
    assert!(ai.trickle().names().is_empty() && stream.control.closed());
    assert_eq!((ai.capabilities()[0].load, server.lines().last().unwrap().as_str()), (0, "POST /stream/stop"));
}
