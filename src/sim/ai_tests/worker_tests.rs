//! The AI worker against an orchestrator that is just enough of one.
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::domain::ids::Address;
use crate::sim::ai_worker::{AiBehaviour, AiWorkerPlan, SimAiWorker};
use crate::sim::{tasks::Tasks, tls};
use crate::wire::messages::pb;

const MODEL: &str = "org/model";
const FILE: &[u8] = b"not really a picture";

#[derive(Default)]
struct Seen {
    registrations: Vec<pb::RegisterAiWorkerRequest>,
    posts: Vec<Posted>,
}

#[derive(Clone, Default)]
struct Posted {
    headers: HeaderMap,
    body: Vec<u8>,
    /// Its end came.
    whole: bool,
}

type Notices = mpsc::Sender<Frame<Bytes>>;

#[derive(Default)]
struct State {
    seen: Mutex<Seen>,
    notices: Mutex<Option<Notices>>,
}

struct Orchestrator {
    address: SocketAddr,
    state: Arc<State>,
    tasks: Tasks,
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let (head, mut incoming) = request.into_parts();
    if head.uri.path() == "/input" {
        return Response::new(Full::new(Bytes::from_static(FILE)).boxed_unsync());
    }
    if head.uri.path() == "/aiResults" {
        let place = {
            let mut seen = state.seen.lock();
            seen.posts.push(Posted { headers: head.headers, ..Posted::default() });
            seen.posts.len() - 1
        };
        while let Some(frame) = incoming.frame().await {
            let Ok(frame) = frame else { return Response::new(Full::default().boxed_unsync()) };
            state.seen.lock().posts[place].body.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        state.seen.lock().posts[place].whole = true;
        return Response::new(Full::new(Bytes::from_static(b"OK")).boxed_unsync());
    }
    assert_eq!(head.uri.path(), "/net.AIWorker/RegisterAIWorker");
    let message = incoming.frame().await.unwrap().unwrap().into_data().unwrap();
    let asked = pb::RegisterAiWorkerRequest::decode(&message[5..]).unwrap();
    let (send, frames) = mpsc::channel(16);
    let refused = asked.secret != "tests";
    state.seen.lock().registrations.push(asked);
    if refused {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("2"));
        trailers.insert("grpc-message", http::HeaderValue::from_static("invalid secret"));
        send.send(Frame::trailers(trailers)).await.unwrap();
    } else {
        *state.notices.lock() = Some(send);
    }
    let frames = futures_util::stream::unfold(frames, |mut frames| async { frames.recv().await.map(|f| (f, frames)) });
    let mut response = Response::new(StreamBody::new(frames.map(Ok)).boxed_unsync());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

// === impl Orchestrator ===

impl Orchestrator {
    async fn start() -> Orchestrator {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, tasks) = (Arc::new(State::default()), Tasks::default());
        let acceptor = TlsAcceptor::from(tls::server_config().unwrap());
        let (shared, home) = (state.clone(), tasks.clone());
        tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (shared, acceptor) = (shared.clone(), acceptor.clone());
                home.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(shared, request).await) }
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Orchestrator { address, state, tasks }
    }

    async fn send(&self, task: i64, pipeline: &str, data: &Value) {
        let job = pb::AiJobData { pipeline: pipeline.into(), request_data: data.to_string().into() };
        self.notify(pb::NotifyAiJob { ai_job_data: Some(job), task_id: task }).await;
    }

    async fn notify(&self, notice: pb::NotifyAiJob) {
        let sender = self.state.notices.lock().clone().unwrap();
        let message = notice.encode_to_vec();
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(&message);
        sender.send(Frame::data(frame.freeze())).await.unwrap();
    }

    /// The `n`th post, whole.
    async fn posted(&self, n: usize) -> Posted {
        until("posted", || self.state.seen.lock().posts.get(n).is_some_and(|post| post.whole)).await;
        self.state.seen.lock().posts[n].clone()
    }

    fn data(&self, request: &Map<String, Value>, file: Option<&str>) -> Value {
        let mut request = request.clone();
        let url = file.map(|name| {
            request.insert(name.to_owned(), Value::Null);
            format!("https://{}/input", self.address)
        });
        json!({ "input_url": url.unwrap_or_default(), "request": request })
    }

    async fn worker(&self, plan: AiWorkerPlan) -> SimAiWorker {
        let worker = SimAiWorker::start(self.address, plan).unwrap();
        until("registered", || self.state.notices.lock().is_some()).await;
        worker
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

fn plan() -> AiWorkerPlan {
    let backoff = Duration::from_millis(20);
    let plan = AiWorkerPlan { speed: 0.001, first_backoff: backoff, ..AiWorkerPlan::new("w1", "tests") };
    AiWorkerPlan { longest_backoff: backoff, ..plan }.with_all(MODEL, 1)
}

/// Its files by name, and its JSON.
fn parts(post: &Posted) -> (Vec<(String, Bytes)>, Value) {
    let kind = post.headers["content-type"].to_str().unwrap();
    let boundary = kind.strip_prefix("multipart/mixed; boundary=").unwrap();
    let (mut rest, mut files) = (post.body.as_slice(), Vec::new());
    loop {
        rest = rest.strip_prefix(format!("--{boundary}\r\n").as_bytes()).unwrap();
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let headers: HashMap<&str, &str> =
            std::str::from_utf8(&rest[..end]).unwrap().split("\r\n").map(|l| l.split_once(": ").unwrap()).collect();
        let length: usize = headers["Content-Length"].parse().unwrap();
        let body = &rest[end + 4..end + 4 + length];
        rest = rest[end + 4 + length..].strip_prefix(b"\r\n").unwrap();
        match headers.get("Content-Disposition") {
            Some(name) => {
                let name = name.strip_prefix("attachment; filename=").unwrap();
                files.push((name.to_owned(), Bytes::copy_from_slice(body)));
            }
            None => {
                assert_eq!(headers["Content-Type"], "application/json");
                assert_eq!(rest, format!("--{boundary}--\r\n").as_bytes());
                return (files, serde_json::from_slice(body).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn every_pipeline_is_posted_as_expected() {
    let orchestrator = Orchestrator::start().await;
    let address = Address::from_wire(&[7; 20]);
    let worker = orchestrator.worker(AiWorkerPlan { address, ..plan() }).await;
    let pipelines: Vec<Pipeline> = Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.by_worker()).collect();
    for (n, pipeline) in pipelines.iter().enumerate() {
        let asked = request(*pipeline, MODEL);
        let data = orchestrator.data(&asked, pipeline.file_field());
        orchestrator.send(n as i64, pipeline.name(), &data).await;
        let post = orchestrator.posted(n).await;
        for (name, value) in [
            ("authorization", "Livepeer-AI-Worker-1.0".to_owned()),
            ("credentials", "tests".into()),
            ("taskid", n.to_string()),
            ("pipeline", pipeline.name().into()),
            ("poolethereumaddress", address.unwrap().to_string()),
        ] {
            assert_eq!(post.headers[name], value, "{name}");
        }
        let (files, json) = parts(&post);
        let file = pipeline.file_field().map(|_| FILE);
        ai_content::answer(Road::Worker, *pipeline, &asked, file).check_worker(&json, &files).unwrap();
    }
    until("counted", || worker.counters().taken == 9).await;
    let registered = orchestrator.state.seen.lock().registrations[0].clone();
    assert_eq!((registered.hardware.len(), registered.ethereum_address.len()), (9, 20));
    let constraints = registered.capabilities.unwrap().constraints.unwrap();
    assert_eq!(constraints.per_capability.len(), 9);
    assert_eq!(constraints.per_capability[&33].models[MODEL].capacity, 1);
}

#[tokio::test]
async fn refusals_have_the_stock_texts() {
    let orchestrator = Orchestrator::start().await;
    let worker = orchestrator.worker(AiWorkerPlan { speed: 0.3, ..plan() }).await;
    let mut asked = request(Pipeline::ImageToText, MODEL);
    let mut posts = 0;
    let mut send = async |pipeline: &str, data: Value, text: &str| {
        orchestrator.send(5, pipeline, &data).await;
        let post = orchestrator.posted(posts).await;
        posts += 1;
        assert_eq!(post.headers["content-type"], "livepeer/ai-worker-error");
        assert!(String::from_utf8_lossy(&post.body).starts_with(text), "{}", String::from_utf8_lossy(&post.body));
    };
    let missing = json!({ "input_url": format!("https://{}/no", orchestrator.address), "request": {} });
    send("image-to-text", missing, "AI request validation failed for image-to-text pipeline err=<nil>").await;
    let mut odd = orchestrator.data(&asked, Some("image"));
    odd["request"]["prompt"] = json!(7);
    send("image-to-text", odd, "AI request validation failed for image-to-text pipeline err=json: ").await;
    let live = json!({ "input_url": "", "request": {} });
    let words =
        "AI request validation failed for live-video-to-video pipeline err=AI request pipeline type not supported";
    send("live-video-to-video", live, words).await;
    asked.insert("model_id".into(), json!("org/other"));
    let other = orchestrator.data(&asked, Some("image"));
    send("image-to-text", other, "no workers can process job requested").await;
    // One at once: the second finds no place.
    let busy = request(Pipeline::ImageToText, MODEL);
    let busy = orchestrator.data(&busy, Some("image"));
    orchestrator.send(1, "image-to-text", &busy).await;
    until("running", || worker.counters().running == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    send("image-to-text", busy, "no workers can process job requested").await;
    let seen = worker.counters();
    assert_eq!((seen.no_capacity, seen.invalid), (2, 3));
}

#[tokio::test]
async fn a_stream_ends_after_its_last_chunk_or_never() {
    for ends in [true, false] {
        let orchestrator = Orchestrator::start().await;
        let behaviour = if ends { AiBehaviour::Honest } else { AiBehaviour::SseWithoutEnd };
        let worker = orchestrator.worker(AiWorkerPlan { behaviour, chunks: 6, ..plan() }).await;
        let mut asked = request(Pipeline::Llm, MODEL);
        asked.insert("stream".into(), json!(true));
        orchestrator.send(0, "llm", &orchestrator.data(&asked, None)).await;
        let count = if ends { 6 } else { 5 };
        let text = || {
            let seen = orchestrator.state.seen.lock();
            seen.posts.first().map(|post| String::from_utf8_lossy(&post.body).into_owned()).unwrap_or_default()
        };
        until("chunks", || text().matches("\n\n").count() == count).await;
        let read = |block: &str| serde_json::from_str(block.strip_prefix("data: ").unwrap()).unwrap();
        let chunks: Vec<Value> = text().split_terminator("\n\n").map(read).collect();
        assert_eq!(ai_content::llm(&asked).check_chunks(&chunks).is_ok(), ends);
        assert_eq!(orchestrator.state.seen.lock().posts[0].headers["content-type"], "text/event-stream");
        if ends {
            until("taken", || worker.counters().taken == 1).await;
            assert!(orchestrator.posted(0).await.whole);
        } else {
            until("idle", || worker.counters().running == 0).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!orchestrator.state.seen.lock().posts[0].whole);
        }
    }
}

#[tokio::test]
async fn every_way_of_failing_is_seen() {
    let orchestrator = Orchestrator::start().await;
    let worker = orchestrator.worker(plan()).await;
    let asked = request(Pipeline::Upscale, MODEL);
    let data = orchestrator.data(&asked, Some("image"));
    let expected = ai_content::answer(Road::Worker, Pipeline::Upscale, &asked, Some(FILE));
    worker.behave(AiBehaviour::Fails { rate: 1.0, text: "upscale container returned 500: full".into() });
    orchestrator.send(0, "upscale", &data).await;
    assert_eq!(orchestrator.posted(0).await.body, b"upscale container returned 500: full");
    worker.behave(AiBehaviour::EmptyFile);
    orchestrator.send(1, "upscale", &data).await;
    let (files, json) = parts(&orchestrator.posted(1).await);
    assert!(files[0].1.is_empty() && expected.check_worker(&json, &files).is_err());
    worker.behave(AiBehaviour::Garbage);
    orchestrator.send(2, "upscale", &data).await;
    assert!(!orchestrator.posted(2).await.body.starts_with(b"--"));
    worker.behave(AiBehaviour::Dies { rate: 1.0 });
    orchestrator.send(3, "upscale", &data).await;
    // It comes back by itself, the upload is lost.
    until("back", || orchestrator.state.seen.lock().registrations.len() == 2).await;
    assert!(!orchestrator.state.seen.lock().posts[3].whole);
    assert_eq!(worker.counters().retired, None);
}

#[tokio::test]
async fn it_retires_and_crashes_as_a_stock_worker() {
    let orchestrator = Orchestrator::start().await;
    let wrong = AiWorkerPlan { secret: "wrong".into(), ..plan() };
    let worker = SimAiWorker::start(orchestrator.address, wrong).unwrap();
    until("retired", || worker.counters().retired.is_some()).await;
    assert!(worker.counters().retired.unwrap().ends_with("invalid secret"));
    let worker = orchestrator.worker(plan()).await;
    orchestrator.notify(pb::NotifyAiJob { ai_job_data: None, task_id: 9 }).await;
    until("crashed", || worker.counters().crashed.is_some()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(worker.counters().attempts, 1);
}
