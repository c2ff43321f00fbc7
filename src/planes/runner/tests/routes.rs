//! What addresses mean, and doormen with ideas of their own.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::{
    Answer, AnswerBody, Ask, Decision, Doorman, End, Failure, Forward, Guard, Need, Passing, Prelude, Route, Trust,
    Upstream, Verdict,
};
use super::bed::{ask, dial, echo, port, post, read};
use crate::domain::ai::Pipeline;

#[test]
fn addresses() {
    let of = |method: Method, path: &'static str| Route::of(&method, path);
    let llm = Pipeline::Llm;
    for (method, path, route) in [
        (Method::POST, "/llm", Route::Pipeline { prefix: "", pipeline: llm }),
        (Method::POST, "/a/b/llm", Route::Pipeline { prefix: "a/b", pipeline: llm }),
        (Method::GET, "/llm", Route::Other),
        (Method::POST, "/byoc", Route::Other),
        (Method::POST, "/app", Route::Other),
        (Method::GET, "/health", Route::Health { prefix: "" }),
        (Method::GET, "/m/health", Route::Health { prefix: "m" }),
        (Method::GET, "/m/version", Route::Version { prefix: "m" }),
        (Method::GET, "/m/n/hardware/info", Route::HardwareInfo { prefix: "m/n" }),
        (Method::GET, "/hardware/stats", Route::HardwareStats { prefix: "" }),
        (Method::GET, "/info", Route::Other),
        (Method::POST, "/byoc/echo/a/llm", Route::Byoc { name: "echo", rest: "a/llm" }),
        (Method::GET, "/apps/a", Route::App { app: "a", rest: "" }),
        (Method::GET, "/apps/a/health", Route::App { app: "a", rest: "health" }),
        (Method::GET, "/apps/", Route::Other),
        (Method::GET, "/ai/trickle/x/1", Route::Trickle { rest: "x/1" }),
        (Method::GET, "/", Route::Other),
    ] {
        assert_eq!(of(method, path), route, "{path}");
    }
}

/// Does what the path says.
struct Whim {
    upstream: Arc<Upstream>,
    ends: mpsc::Sender<String>,
}

struct WhimGuard(mpsc::Sender<String>, usize);

#[async_trait]
impl Doorman for Whim {
    fn need(&self, route: &Route<'_>, head: &http::request::Parts) -> Need {
        if head.uri.path().contains("spool") { Need::Spool } else { Need::usual(route, head) }
    }

    async fn admit(&self, asked: Ask<'_>) -> Decision {
        let Route::App { app, .. } = asked.route else {
            let body = Bytes::from_static(b"{\"replaced\":1}");
            return Decision::Forward(self.forward(Some("/elsewhere?x=1".into()), Some(body)));
        };
        match app {
            "close" => Decision::Close,
            "wait" => {
                let _ends = DropSays(self.ends.clone());
                self.ends.send("waits".into()).await.unwrap();
                std::future::pending().await
            }
            "spool" => {
                let Prelude::Spooled(mut spool) = asked.body else { panic!("not spooled") };
                let mut text = String::new();
                std::io::Seek::rewind(&mut spool.file).unwrap();
                std::io::Read::read_to_string(&mut spool.file, &mut text).unwrap();
                assert_eq!(text.len() as u64, spool.bytes);
                Decision::Answer(Answer::json(StatusCode::OK, format!("{{\"bytes\":{}}}", text.len())))
            }
            "stream" | "broken" => {
                let (to, chunks) = mpsc::channel(1);
                let broken = app == "broken";
                let ends = self.ends.clone();
                crate::transport::Tasks::new().spawn("stream", async move {
                    for n in 0..3 {
                        to.send(Ok(Bytes::from(format!("data: {n}\n\n")))).await.unwrap();
                    }
                    if broken {
                        to.send(Err("no more".into())).await.unwrap();
                    }
                    ends.send("streamed".into()).await.unwrap();
                });
                Decision::Answer(Answer { status: StatusCode::OK, headers: vec![], body: AnswerBody::Stream(chunks) })
            }
            _ => Decision::Forward(self.forward(None, None)),
        }
    }
}

struct DropSays(mpsc::Sender<String>);

impl Drop for DropSays {
    fn drop(&mut self) {
        self.0.try_send("left".into()).unwrap();
    }
}

impl Whim {
    async fn port() -> (super::super::RunnerPort, crate::transport::Tasks, mpsc::Receiver<String>) {
        let upstream = Upstream::new(echo().await, "h", Trust::Plain, &super::super::RunnerLimits::default());
        let (ends, said) = mpsc::channel(8);
        let (port, tasks) = port(Arc::new(Whim { upstream: Arc::new(upstream), ends }), |_| {}).await;
        (port, tasks, said)
    }

    fn forward(&self, path: Option<String>, body: Option<Bytes>) -> Forward {
        Forward {
            upstream: self.upstream.clone(),
            path,
            token: None,
            passing: Passing::All,
            body,
            silence: None,
            guard: Box::new(WhimGuard(self.ends.clone(), 0)),
        }
    }
}

#[async_trait]
impl Guard for WhimGuard {
    fn answered(&mut self, status: StatusCode, _headers: &HeaderMap) -> Verdict {
        assert_eq!(status, StatusCode::OK);
        Verdict::Rewrite
    }

    fn sent(&mut self, bytes: &Bytes) {
        self.1 += bytes.len();
    }

    fn received(&mut self, chunk: &mut Option<Bytes>, end: bool) -> Result<(), String> {
        let mut all = chunk.take().unwrap_or_default().to_vec();
        if end {
            all.extend(b" and more");
        }
        *chunk = Some(all.into());
        Ok(())
    }

    async fn failed(self: Box<Self>, _why: Failure) -> Decision {
        Decision::Close
    }

    fn finished(self: Box<Self>, end: End) {
        self.0.try_send(format!("{end:?} {}", self.1)).unwrap();
    }
}

#[tokio::test]
async fn a_doorman_may_change_path_body_and_answer() {
    let (port, _tasks, mut said) = Whim::port().await;
    let answer = ask(port.address, &post("/llm", "application/json", "{\"a\":\"long enough to differ\"}")).await;
    let text = String::from_utf8(answer.body).unwrap();
    let json = text.strip_suffix(" and more").expect("what the guard added");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json["body"], "{\"replaced\":1}");
    assert!(json["head"].as_str().unwrap().starts_with("POST /elsewhere?x=1 HTTP/1.1\n"));
    assert_eq!(said.recv().await.unwrap(), "Whole 14");
}

#[tokio::test]
async fn a_doorman_may_spool_answer_and_close() {
    let (port, _tasks, mut said) = Whim::port().await;
    for size in [0, 10, 300_000] {
        let answer = ask(port.address, &post("/apps/spool/x", "text/plain", &"s".repeat(size))).await;
        assert_eq!(answer.json()["bytes"], size);
    }
    // Spooled, and sent on.
    let answer = ask(port.address, &post("/apps/other/spool", "text/plain", &"f".repeat(200_000))).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(text.matches("ffffffffff").count(), 20_000);
    assert_eq!(said.recv().await.unwrap(), "Whole 200000");
    let answer = ask(port.address, &post("/apps/stream/x", "text/plain", "")).await;
    assert_eq!(answer.body, b"data: 0\n\ndata: 1\n\ndata: 2\n\n");
    assert_eq!(said.recv().await.unwrap(), "streamed");
    let mut tcp = dial(port.address).await;
    tcp.write_all(&post("/apps/broken/x", "text/plain", "")).await.unwrap();
    assert!(read(&mut tcp).await.is_none(), "a half looks whole");
    let mut tcp = dial(port.address).await;
    tcp.write_all(&post("/apps/close/x", "text/plain", "")).await.unwrap();
    assert_eq!(tcp.read(&mut [0]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn who_leaves_the_queue_is_no_longer_waited_for() {
    let (port, _tasks, mut said) = Whim::port().await;
    let mut tcp = dial(port.address).await;
    tcp.write_all(&post("/apps/wait/x", "text/plain", "")).await.unwrap();
    assert_eq!(said.recv().await.unwrap(), "waits");
    drop(tcp);
    let left = tokio::time::timeout(super::bed::PATIENCE, said.recv()).await.expect("still queued");
    assert_eq!(left.unwrap(), "left");
}
