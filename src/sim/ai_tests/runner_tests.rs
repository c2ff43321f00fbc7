//! The runner: every pipeline, its refusals, its ways of failing, BYOC and apps.
use super::*;
use crate::sim::ai_content::Usage;
use crate::sim::runner::{Death, RunnerBehaviour, RunnerPlan, SimRunner, StreamPlan};

const MODEL: &str = "org/model";

fn plan() -> RunnerPlan {
    RunnerPlan { speed: 0.001, ..RunnerPlan::new("r1").with_all(MODEL, 2) }
}

async fn post_json(runner: &SimRunner, path: &str, body: &Value) -> Raw {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
    ask(runner.address(), &head, body.to_string().as_bytes()).await
}

async fn post(runner: &SimRunner, pipeline: Pipeline, request: &Map<String, Value>, file: &[u8]) -> Raw {
    if pipeline.file_field().is_none() {
        return post_json(runner, &format!("/{pipeline}"), &Value::Object(request.clone())).await;
    }
    let (kind, body) = form(pipeline, request, file);
    ask(runner.address(), &format!("POST /{pipeline} HTTP/1.1\r\nContent-Type: {kind}"), &body).await
}

#[tokio::test]
async fn every_pipeline_answers_what_is_expected() {
    let runner = SimRunner::start(plan()).unwrap();
    for pipeline in Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.by_worker()) {
        let asked = request(pipeline, MODEL);
        let got = post(&runner, pipeline, &asked, b"x--b0und is not the end\r\n--b0").await;
        assert_eq!((got.status, got.whole), (200, true), "{pipeline}: {}", got.text());
        let file = pipeline.file_field().map(|_| b"x--b0und is not the end\r\n--b0".as_slice());
        ai_content::answer(Road::Runner, pipeline, &asked, file).check_runner(&got.json()).unwrap();
    }
    let seen = runner.counters();
    assert_eq!((seen.requests, seen.answered, seen.failed, seen.cancelled, seen.running), (9, 9, 0, 0, 0));
    assert_eq!(seen.by_pipeline["image-to-video"], 1);
}

#[tokio::test]
async fn what_is_not_as_demanded_is_refused() {
    let runner = SimRunner::start(RunnerPlan { token: Some("t0ken".into()), ..plan() }).unwrap();
    let mut asked = request(Pipeline::TextToImage, MODEL);
    assert_eq!(post(&runner, Pipeline::TextToImage, &asked, b"").await.status, 401);
    asked.insert("width".into(), json!(512.0));
    asked.remove("prompt");
    let got = post(&runner, Pipeline::TextToImage, &asked, b"").await;
    assert_eq!(got.status, 422);
    let places: Vec<String> =
        got.json()["detail"].as_array().unwrap().iter().map(|fault| fault["loc"].to_string()).collect();
    assert_eq!(places, [r#"["body","prompt"]"#, r#"["body","width"]"#]);
    let (_, body) = form(Pipeline::Upscale, &request(Pipeline::Upscale, MODEL), b"x");
    let sent = |kind: &str, body: &[u8]| {
        let head = format!("POST /upscale HTTP/1.1\r\nAuthorization: Bearer t0ken\r\nContent-Type: {kind}");
        let (to, body) = (runner.address(), body.to_vec());
        async move { ask(to, &head, &body).await }
    };
    assert_eq!(sent("multipart/form-data; boundary=b0und", &body).await.status, 200);
    assert_eq!(sent("multipart/form-data; boundary=other", &body).await.status, 400);
    assert_eq!(sent("multipart/form-data", &body).await.status, 400);
    assert_eq!(sent("application/json", b"{}").await.status, 422);
    let other = request(Pipeline::Upscale, "org/other");
    let got = sent("multipart/form-data; boundary=b0und", &form(Pipeline::Upscale, &other, b"x").1).await;
    assert_eq!((got.status, got.json()["detail"]["msg"].is_string()), (400, true));
    let seen = runner.counters();
    assert_eq!((seen.unauthorized, seen.refused, seen.answered), (1, 6, 1));
    assert_eq!(ask(runner.address(), "POST /nothing HTTP/1.1", b"").await.status, 404);
}

#[tokio::test]
async fn a_stream_comes_chunk_by_chunk() {
    for usage in [Usage::Nowhere, Usage::InLast, Usage::After] {
        let stream = StreamPlan { chunks: 11, gap: Duration::from_millis(10), usage, done: usage != Usage::Nowhere };
        let runner = SimRunner::start(RunnerPlan { stream, ..plan() }).unwrap();
        let mut asked = request(Pipeline::Llm, MODEL);
        asked.insert("stream".into(), json!(true));
        let began = tokio::time::Instant::now();
        let got = post(&runner, Pipeline::Llm, &asked, b"").await;
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert!(got.head.contains("content-type: text/event-stream"), "{}", got.head);
        let text = got.text();
        let mut blocks: Vec<&str> = text.split_terminator("\n\n").map(|b| b.strip_prefix("data: ").unwrap()).collect();
        if usage != Usage::Nowhere {
            assert_eq!(blocks.pop(), Some("[DONE]"));
        }
        let mut chunks: Vec<Value> = blocks.iter().map(|block| serde_json::from_str(block).unwrap()).collect();
        let expected = ai_content::llm(&asked);
        if usage == Usage::After {
            assert!(expected.check_chunks(&chunks).is_err());
            let last = chunks.pop().unwrap();
            assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &expected.usage()));
        }
        assert_eq!(chunks.len(), 11);
        expected.check_chunks(&chunks).unwrap();
        assert!(expected.check_chunks(&chunks[..10]).is_err());
        assert!(expected.check_chunks(&chunks[1..]).is_err());
    }
}

#[tokio::test]
async fn every_way_of_failing_is_seen() {
    let plan = RunnerPlan { oversize: 1 << 20, hang: Duration::from_millis(200), ..plan() };
    let runner = SimRunner::start(plan).unwrap();
    let asked = request(Pipeline::Llm, MODEL);
    let rate = 1.0;
    for (behaviour, status, whole, json) in [
        (RunnerBehaviour::Fails { rate, status: 500 }, 500, true, true),
        (RunnerBehaviour::Fails { rate, status: 422 }, 422, true, true),
        (RunnerBehaviour::Busy503, 503, true, true),
        (RunnerBehaviour::Dies { when: Death::Before, rate }, 0, false, false),
        (RunnerBehaviour::Dies { when: Death::Within, rate }, 200, false, false),
        (RunnerBehaviour::Dies { when: Death::After, rate }, 200, false, false),
        (RunnerBehaviour::Garbage, 200, true, false),
        (RunnerBehaviour::NotJson, 200, true, false),
        (RunnerBehaviour::Oversize, 200, true, true),
        (RunnerBehaviour::EmptyChoices, 200, true, true),
        (RunnerBehaviour::Slow { factor: 2.0 }, 200, true, true),
        (RunnerBehaviour::Hangs { rate }, 200, true, true),
    ] {
        runner.behave(behaviour);
        let began = tokio::time::Instant::now();
        let got = post(&runner, Pipeline::Llm, &asked, b"").await;
        assert_eq!((got.status, got.whole), (status, whole), "{behaviour:?}: {}", got.head);
        assert_eq!(serde_json::from_slice::<Value>(&got.body).is_ok(), json, "{behaviour:?}");
        match behaviour {
            RunnerBehaviour::Dies { when, .. } => assert_eq!(got.body.is_empty(), when != Death::After),
            RunnerBehaviour::EmptyChoices => assert_eq!(got.json()["choices"], json!([])),
            RunnerBehaviour::Oversize => assert_eq!(got.body.len(), 1 << 20),
            RunnerBehaviour::Hangs { .. } => assert!(began.elapsed() >= Duration::from_millis(200)),
            _ => {}
        }
    }
    until("counted", || runner.counters().running == 0).await;
    let seen = runner.counters();
    assert_eq!((seen.requests, seen.cancelled, seen.answered, seen.failed), (12, 0, 3, 9));
}

#[tokio::test]
async fn a_caller_that_leaves_is_noticed() {
    let stream = StreamPlan { gap: Duration::from_secs(5), ..StreamPlan::default() };
    let runner = SimRunner::start(RunnerPlan { speed: 30.0, stream, ..plan() }).unwrap();
    let mut asked = request(Pipeline::Llm, MODEL);
    for stream in [false, true] {
        asked.insert("stream".into(), json!(stream));
        let before = runner.counters();
        let left = tokio::time::timeout(Duration::from_millis(200), post(&runner, Pipeline::Llm, &asked, b"")).await;
        assert!(left.is_err());
        until("cancelled", || runner.counters().cancelled == before.cancelled + 1).await;
        assert_eq!(runner.counters().running, 0);
    }
}

#[tokio::test]
async fn it_says_what_it_is_and_comes_back_on_its_port() {
    let runner = SimRunner::start(plan()).unwrap();
    let get = |path: &'static str| {
        let to = runner.address();
        async move { ask(to, &format!("GET {path} HTTP/1.1"), b"").await.json() }
    };
    assert_eq!(get("/health").await["status"], "OK");
    assert_eq!(get("/version").await, json!({"pipeline": "text-to-image", "model_id": MODEL, "version": "0.14.1"}));
    assert_eq!(get("/hardware/info").await["gpu_info"]["0"]["major"], 9);
    assert_eq!(get("/hardware/stats").await["gpu_stats"]["0"]["utilization_compute"], 50);
    runner.set_health("LOADING");
    assert_eq!(get("/health").await["status"], "LOADING");
    runner.stop().await;
    assert!(TcpStream::connect(runner.address()).await.is_err());
    runner.restart().await.unwrap();
    assert_eq!(get("/health").await["status"], "LOADING");
}

#[tokio::test]
async fn capabilities_and_apps_are_told_apart() {
    let stream = StreamPlan { gap: Duration::ZERO, ..StreamPlan::default() };
    let plan = RunnerPlan { capabilities: vec!["echo".into()], apps: true, stream, ..plan() };
    let runner = SimRunner::start(plan).unwrap();
    let got = post_json(&runner, "/echo/some/where", &json!({"a": 1})).await;
    assert_eq!((got.status, got.json()), (200, json!({"a": 1})));
    assert!(got.head.contains("x-metadata: runner=r1"));
    let got = post_json(&runner, "/echo", &json!({"stream": true, "n": 3})).await.text();
    assert_eq!((got.matches("data: ").count(), got.ends_with("data: [DONE]\n\n")), (4, true));
    let head = "PUT /apps/x/y?q=1 HTTP/1.1\r\nLivepeer-Session-Id: s1";
    let got = ask(runner.address(), head, b"words").await.json();
    assert_eq!((&got["method"], &got["path"], &got["query"]), (&json!("PUT"), &json!("/apps/x/y"), &json!("q=1")));
    assert_eq!((&got["body"], &got["headers"]["livepeer-session-id"]), (&json!("words"), &json!("s1")));
    let got = ask(runner.address(), "GET /apps/x/bytes?n=3000000 HTTP/1.1", b"").await;
    assert_eq!((got.whole, got.body.len()), (true, 3_000_000));
    assert_eq!(ask(runner.address(), "GET /apps/x/status/418 HTTP/1.1", b"").await.status, 418);
    let seen = runner.counters();
    assert_eq!((seen.by_pipeline["byoc"], seen.by_pipeline["app"], seen.answered), (2, 3, 5));
}

#[tokio::test]
async fn a_websocket_gets_back_what_it_says() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let runner = SimRunner::start(RunnerPlan { apps: true, ..plan() }).unwrap();
    let tcp = TcpStream::connect(runner.address()).await.unwrap();
    let url = format!("ws://{}/apps/x/ws", runner.address());
    let (mut socket, _) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    assert_eq!(runner.counters().running, 1);
    socket.close(None).await.unwrap();
    until("closed", || runner.counters().running == 0).await;
}

#[tokio::test]
async fn tls_shows_the_certificate_that_it_names() {
    use crate::sim::runner::RunnerTls;
    use crate::sim::tls::{Alpn, Dialer};
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let given = RunnerTls::Given { chain: made.cert.pem(), key: made.signing_key.serialize_pem() };
    for tls in [RunnerTls::SelfSigned, given.clone()] {
        let runner = SimRunner::start(RunnerPlan { tls: tls.clone(), ..plan() }).unwrap();
        assert_eq!(runner.url(), format!("https://{}", runner.address()));
        let mut stream = Dialer::new().unwrap().dial(runner.address(), Alpn::H1).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        assert_eq!(runner.certificate(), Some(shown.clone()));
        assert_eq!(shown == made.cert.der().to_vec(), tls == given);
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        assert_eq!(raw(&bytes).json(), json!({"status": "OK"}));
    }
}
