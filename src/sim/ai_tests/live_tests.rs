//! Live video and BYOC streams against trickle channels that are just enough of ones.
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::sim::runner::{LivePlan, RunnerPlan, SimRunner};
use crate::sim::tasks::Tasks;

/// Segments that a channel keeps.
const KEPT: i64 = 5;
const STEP: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Channel {
    segments: BTreeMap<i64, (Vec<u8>, bool)>,
    /// Everything that was ever written.
    written: BTreeMap<i64, Vec<u8>>,
    next: i64,
    closed: bool,
}

/// A server of channels that are made beforehand.
#[derive(Clone)]
struct Trickle {
    address: SocketAddr,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
    tasks: Tasks,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn reply(status: u16, headers: &[(&'static str, String)], body: Body) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}

fn empty() -> Body {
    Empty::new().boxed_unsync()
}

// === impl Trickle ===

impl Trickle {
    async fn start(names: &[&str]) -> Trickle {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let channels = names.iter().map(|name| ((*name).to_owned(), Channel::default())).collect();
        let trickle = Trickle { address, channels: Arc::new(Mutex::new(channels)), tasks: Tasks::default() };
        let shared = trickle.clone();
        trickle.tasks.spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let owned = shared.clone();
                shared.tasks.spawn(async move {
                    let service = service_fn(|request| {
                        let owned = owned.clone();
                        async move { Ok::<_, Infallible>(owned.answer(request).await) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        trickle
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/ai/trickle/{name}", self.address)
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        self.channels.lock().get_mut(name).map(act)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().strip_prefix("/ai/trickle/").unwrap().to_owned();
        let (name, seq) = path.split_once('/').unwrap();
        let seq: i64 = seq.parse().unwrap();
        if request.method() == Method::POST {
            return self.post(name, seq, request.into_body()).await;
        }
        let found = self.with(name, |channel| {
            let seq = match seq {
                -1 => channel.next,
                -2 => (channel.next - 1).max(0),
                seq => seq,
            };
            let early = (seq == channel.next || (channel.next == 0 && seq == 1)) && !channel.closed;
            (seq, channel.segments.contains_key(&seq) || early, channel.next, channel.closed)
        });
        let Some((seq, there, next, closed)) = found else { return reply(404, &[], empty()) };
        let mut headers = vec![("lp-trickle-seq", seq.to_string()), ("lp-trickle-latest", next.to_string())];
        if closed {
            headers.push(("lp-trickle-closed", "terminated".into()));
        }
        if !there {
            return reply(if closed { 200 } else { 470 }, &headers, empty());
        }
        // Headers leave with the first byte.
        loop {
            let (some, done, closed) = self
                .with(name, |channel| {
                    let segment = channel.segments.get(&seq);
                    let some = segment.is_some_and(|segment| !segment.0.is_empty());
                    (some, segment.is_some_and(|segment| segment.1), channel.closed)
                })
                .unwrap_or((false, true, true));
            match (some, done || closed) {
                (true, _) => break,
                (false, true) => {
                    if closed {
                        headers.push(("lp-trickle-closed", "terminated".into()));
                    }
                    return reply(200, &headers, empty());
                }
                (false, false) => tokio::time::sleep(STEP).await,
            }
        }
        let (own, name) = (self.clone(), name.to_owned());
        let body = futures_util::stream::unfold(0, move |at| {
            let (own, name) = (own.clone(), name.clone());
            async move {
                loop {
                    let (data, done) = own.with(&name, |channel| {
                        let segment = channel.segments.get(&seq)?;
                        Some((segment.0[at..].to_vec(), segment.1 || channel.closed))
                    })??;
                    if !data.is_empty() {
                        let next = at + data.len();
                        return Some((Ok(Frame::data(Bytes::from(data))), next));
                    }
                    if done {
                        return None;
                    }
                    tokio::time::sleep(STEP).await;
                }
            }
        });
        reply(200, &headers[..1], StreamBody::new(body).boxed_unsync())
    }

    async fn post(&self, name: &str, seq: i64, mut body: Incoming) -> Response<Body> {
        if self.with(name, |_| ()).is_none() {
            return reply(404, &[("connection", "close".into())], empty());
        }
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = tokio::time::sleep(STEP) => {
                    let waits = self.with(name, |channel| channel.closed && !channel.segments.contains_key(&seq));
                    if waits == Some(false) { continue } else { None }
                }
            };
            let data = frame.and_then(|frame| frame.unwrap().into_data().ok());
            let over = data.is_none();
            self.with(name, |channel| channel.write(seq, data.unwrap_or_default(), over));
            if over {
                let closed = self.with(name, |channel| channel.closed).unwrap_or(true);
                let headers = [("lp-trickle-seq", seq.to_string()), ("lp-trickle-closed", "terminated".into())];
                return reply(200, if closed { &headers } else { &headers[..1] }, empty());
            }
        }
    }

    fn close(&self, name: &str) {
        self.with(name, |channel| channel.closed = true);
    }

    fn written(&self, name: &str) -> Vec<Vec<u8>> {
        self.with(name, |channel| channel.written.values().cloned().collect()).unwrap()
    }
}

// === impl Channel ===

impl Channel {
    fn write(&mut self, seq: i64, data: Bytes, over: bool) {
        let segment = self.segments.entry(seq).or_default();
        segment.0.extend_from_slice(&data);
        segment.1 = over;
        if !data.is_empty() {
            self.written.entry(seq).or_default().extend_from_slice(&data);
        }
        if !data.is_empty() || over {
            self.next = self.next.max(seq + 1);
        }
        self.segments.retain(|n, _| *n > seq - KEPT);
    }
}

fn plan() -> RunnerPlan {
    let live = LivePlan { append: Bytes::from_static(b"!"), events: Duration::from_millis(30) };
    RunnerPlan { speed: 0.001, live, ..RunnerPlan::new("live").with(Pipeline::LiveVideoToVideo, "comfyui", 1) }
}

async fn post(runner: &SimRunner, path: &str, more: &str, body: &Value) -> Raw {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json{more}");
    ask(runner.address(), &head, body.to_string().as_bytes()).await
}

fn job(trickle: &Trickle) -> Value {
    json!({ "subscribe_url": trickle.url("in"), "publish_url": trickle.url("out"), "gateway_request_id": "g",
        "control_url": trickle.url("control"), "events_url": trickle.url("events"), "model_id": "comfyui" })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_video_goes_out_as_it_comes_in_until_its_channel_ends() {
    let trickle = Trickle::start(&["in", "out", "control", "events"]).await;
    let runner = SimRunner::start(plan()).unwrap();
    let got = post(&runner, "/live-video-to-video", "", &job(&trickle)).await;
    assert_eq!((got.status, got.json()["publish_url"].is_string()), (200, true));
    assert_eq!(post(&runner, "/live-video-to-video", "", &json!({"model_id": "comfyui"})).await.status, 422);
    // A segment is on its way before it is whole.
    trickle.with("in", |channel| channel.write(0, Bytes::from_static(b"first "), false));
    until("early", || trickle.written("out") == [b"first "]).await;
    trickle.with("in", |channel| channel.write(0, Bytes::from_static(b"half"), true));
    until("first", || trickle.written("out") == [b"first half!"]).await;
    for n in 1..20 {
        trickle.with("in", |channel| channel.write(n, Bytes::from(format!("segment {n}")), true));
        until("back", || trickle.written("out").len() as i64 == n + 1 && runner.counters().segments as i64 == n + 1)
            .await;
    }
    assert_eq!(trickle.written("out")[19], b"segment 19!");
    trickle.with("control", |channel| channel.write(0, Bytes::from_static(b"{\"keep\":\"alive\"}"), true));
    until("alive", || runner.counters().keepalives == 1).await;
    trickle.with("control", |channel| channel.write(1, Bytes::from_static(b"{\"prompt\":\"x\"}"), true));
    until("params", || runner.counters().last_params.as_deref() == Some("{\"prompt\":\"x\"}")).await;
    until("events", || trickle.written("events").len() > 2).await;
    let event: Value = serde_json::from_slice(&trickle.written("events")[0]).unwrap();
    assert!(event["event"]["type"] == "status" && event["event"]["inference_status"].is_object(), "{event}");
    assert_eq!((runner.counters().live_running, runner.counters().live_ended), (1, 0));
    ["in", "out", "control", "events"].into_iter().for_each(|name| trickle.close(name));
    until("over", || runner.counters().live_ended == 1).await;
    assert_eq!(runner.counters().live_running, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_fell_behind_goes_on_at_the_latest() {
    let trickle = Trickle::start(&["in", "out", "control", "events"]).await;
    let runner = SimRunner::start(plan()).unwrap();
    post(&runner, "/live-video-to-video", "", &job(&trickle)).await;
    trickle.with("in", |channel| channel.write(0, Bytes::from_static(b"a"), true));
    until("first", || runner.counters().segments == 1).await;
    // Number 1 is gone before anybody could read it.
    trickle.with("in", |channel| {
        channel.next = 100;
        channel.segments.clear();
        channel.segments.insert(1, (Vec::new(), true));
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    trickle.with("in", |channel| {
        channel.segments.clear();
        channel.write(100, Bytes::from_static(b"b"), true);
    });
    until("second", || trickle.written("out").last().is_some_and(|last| last == b"b!")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn byoc_streams_start_and_stop() {
    let trickle = Trickle::start(&["in", "out", "control", "events"]).await;
    let runner = SimRunner::start(RunnerPlan { capabilities: vec!["video".into()], ..plan() }).unwrap();
    let id = "\r\nX-Stream-Id: s1";
    assert_eq!(post(&runner, "/stream/start", "", &job(&trickle)).await.status, 400);
    assert_eq!(post(&runner, "/stream/start", id, &json!({})).await.status, 400);
    assert_eq!(post(&runner, "/stream/params", id, &json!({"a": 1})).await.status, 404);
    assert_eq!(post(&runner, "/stream/start", id, &job(&trickle)).await.status, 200);
    trickle.with("in", |channel| channel.write(0, Bytes::from_static(b"a"), true));
    until("back", || trickle.written("out") == [b"a!"]).await;
    assert_eq!(post(&runner, "/stream/params", id, &json!({"a": 1})).await.status, 200);
    assert_eq!(runner.counters().last_params.as_deref(), Some("{\"a\":1}"));
    assert_eq!(post(&runner, "/stream/stop", id, &json!({})).await.status, 200);
    until("stopped", || runner.counters().live_running == 0).await;
    assert_eq!(post(&runner, "/stream/stop", id, &json!({})).await.status, 404);
    let seen = runner.counters();
    assert_eq!((seen.streams_started, seen.streams_stopped, seen.live_ended), (1, 1, 0));
}
