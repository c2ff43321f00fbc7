//! Callers that leave, streams that must not lag, and uploads that must not fill the memory.
use std::time::{Duration, Instant};

use openpool_proxy::domain::ai::{ModelOffer, Pipeline};
use openpool_proxy::domain::ids::WorkerName;
use openpool_proxy::planes::runner::runners::RunnerWorker;
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::ai_worker::{AiBehaviour, AiWorkerPlan};
use openpool_proxy::sim::runner::{RunnerBehaviour, RunnerPlan, StreamPlan};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::bed::*;
use super::jobs::*;
use super::raw;
use crate::bed::until;

const SECOND: Duration = Duration::from_secs(1);

fn body(job: &Job) -> Vec<u8> {
    let mut request = job.request.clone();
    request[if job.pipeline == Pipeline::Llm { "model" } else { "model_id" }] = MODEL.into();
    request.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_cancels_the_work() {
    let hangs = RunnerPlan {
        behaviour: RunnerBehaviour::Hangs { rate: 1.0 },
        stream: StreamPlan { gap: SECOND, ..StreamPlan::default() },
        ..runner("box")
    };
    let bed = AiBed::new(vec![hangs], Vec::new()).await;
    let port = bed.bed.app().runner_addr.unwrap();
    // Before the answer begins.
    let text = raw::post(port, "/llm", "application/json", &body(&job(Pipeline::Llm, 1))).await;
    until("it is at work", || bed.runners[0].counters().running == 1).await;
    drop(text);
    until("it is told", || bed.runners[0].counters().cancelled == 1).await;
    bed.idle().await;
    // Within a stream.
    bed.runners[0].behave(RunnerBehaviour::Honest);
    let mut talk = raw::post(port, "/llm", "application/json", &body(&stream(2))).await;
    assert!(raw::read_until(&mut talk, "data: {").await.contains("text/event-stream"));
    drop(talk);
    until("it is told", || bed.runners[0].counters().cancelled == 2).await;
    // Within its own upload, which streams.
    bed.runners[0].behave(RunnerBehaviour::Hangs { rate: 1.0 });
    let head = format!(
        "POST /m/upscale/{MODEL}/upscale HTTP/1.1\r\nHost: us\r\nContent-Length: 9000000\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    );
    let mut form = tokio::net::TcpStream::connect(port).await.unwrap();
    form.write_all(head.as_bytes()).await.unwrap();
    until("it has a seat", || bed.pool().ai_load().running == 1).await;
    drop(form);
    bed.idle().await;
    let seats = bed.pool().ai_seats();
    assert_eq!(seats[0].failures, 0, "nobody is to blame: {seats:?}");
    assert_eq!(bed.end().await.books.posted, 0);
}

/// A worker that dialled us cannot be told; its place is free again when it has answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_a_worker_gives_its_place_back() {
    let plan = AiWorkerPlan { hang: SECOND, ..behaving(worker("gpu"), AiBehaviour::Hangs { rate: 1.0 }) };
    let bed = AiBed::new(Vec::new(), vec![plan]).await;
    let port = bed.bed.app().runner_addr.unwrap();
    let image = raw::post(port, "/text-to-image", "application/json", &body(&job(Pipeline::TextToImage, 1))).await;
    until("it is at work", || bed.workers[0].counters().running == 1).await;
    drop(image);
    until("the job is over", || bed.pool().ai_load().jobs == 0).await;
    assert_eq!(bed.pool().ai_load().running, 1, "it is still at it");
    until("it has answered", || bed.workers[0].counters().refused == 1).await;
    bed.idle().await;
    assert_eq!(bed.pool().ai_seats()[0].failures, 0);
    assert_eq!(bed.end().await.books.posted, 0);
}

/// Chunks reach the orchestrator as they are made, by both doors.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_do_not_lag() {
    const EVENTS: u64 = 200;
    let began = Instant::now();
    let address = raw::runner(move |mut asked: raw::Asked| async move {
        raw::drain(&mut asked).await;
        let mut out = asked.from.into_inner();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        out.write_all(head.as_bytes()).await.unwrap();
        for n in 0..EVENTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
            // Its birth is what it says.
            let born = began.elapsed().as_micros().to_string();
            let mut choice = json!({"index": 0, "delta": {"role": "assistant", "content": born}});
            let mut usage = json!(null);
            if n + 1 == EVENTS {
                choice["finish_reason"] = "stop".into();
                usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
            }
            let mut chunk = json!({"id": "c", "model": MODEL, "created": 7, "choices": [choice]});
            if !usage.is_null() {
                chunk["usage"] = usage;
            }
            let event = format!("data: {chunk}\n\n");
            out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
        }
        out.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let bed =
        AiBed::with(Vec::new(), Vec::new(), |settings| settings.runner.runners.push(at(address, &[Pipeline::Llm])))
            .await;
    until("it has its seat", || bed.ai().workers().iter().any(|worker| !worker.models.is_empty())).await;
    bed.point(Pipeline::Llm, MODEL, "").await;
    for door in [Door::Grpc, Door::Runner] {
        let fate = bed.run(door, &stream(1)).await;
        let AiFate::Stream { chunks, ended: true, .. } = fate else { panic!("{fate:?}") };
        assert_eq!(chunks.len() as u64, EVENTS);
        let late = |chunk: &openpool_proxy::sim::ai_orchestrator::AiChunk| {
            let born: u64 = chunk.json["choices"][0]["delta"]["content"].as_str().unwrap().parse().unwrap();
            (chunk.at.into_std() - began).as_secs_f64() * 1e3 - born as f64 / 1e3
        };
        let mut delays: Vec<f64> = chunks.iter().map(late).collect();
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        println!(
            "{door:?} door: a chunk is there after {:.2} ms (median), {:.2} ms (p95), {:.2} ms (most)",
            at(0.5),
            at(0.95),
            at(1.0)
        );
        assert!(at(0.95) < 50.0, "{delays:?}");
    }
    assert_eq!(bed.end().await.books.posted, 2);
}

fn at(address: std::net::SocketAddr, pipelines: &[Pipeline]) -> RunnerWorker {
    let offer = |pipeline: &Pipeline| ModelOffer {
        key: openpool_proxy::domain::ai::ModelKey::new(*pipeline, MODEL),
        capacity: 4,
        warm: true,
        version: "0.14.1".into(),
    };
    RunnerWorker {
        name: WorkerName::from("raw"),
        url: format!("http://{address}").parse().unwrap(),
        token: None,
        address: Some(runner_address(0)),
        region: None,
        pin: None,
        health: "health".into(),
        models: pipelines.iter().map(offer).collect(),
    }
}

/// 300 MB by each way that a form can take, in this process; its memory is watched. Alone in its
/// process: `cargo test --test it ai_pairs::leave::large -- --ignored --exact --nocapture`.
#[ignore = "a minute, and it watches the memory of its process: run it alone"]
#[tokio::test(flavor = "multi_thread")]
async fn large_uploads_keep_the_memory_bounded() {
    const SIZE: usize = 299_000_000;
    let address = raw::runner(|mut asked: raw::Asked| async move {
        let read = raw::drain(&mut asked).await;
        let bytes = openpool_proxy::sim::ai_content::png(8, 8, 1);
        let file = openpool_proxy::sim::ai_content::AnswerFile { content_type: "image/png", ending: ".png", bytes };
        let json = json!({"images": [{"url": file.data_url(), "seed": 1, "nsfw": false}]});
        let json = if read == asked.length { json.to_string() } else { "{}".into() };
        let _ = asked.from.get_mut().write_all(raw::answer(&json).as_bytes()).await;
    })
    .await;
    let bed = AiBed::with(Vec::new(), Vec::new(), |settings| {
        let mut runner = at(address, &[Pipeline::Upscale, Pipeline::ImageToImage]);
        let other = |key: &ModelOffer| ModelOffer {
            key: openpool_proxy::domain::ai::ModelKey::new(key.key.pipeline, "org/other"),
            ..key.clone()
        };
        let more = other(&runner.models[1]);
        runner.models.push(more);
        settings.runner.runners.push(runner);
    })
    .await;
    until("it has its seat", || bed.pool().ai_models().len() == 3).await;
    let port = bed.bed.app().runner_addr.unwrap();
    // The only model of its pipeline, one told by its prefix, and one that only the form tells.
    let prefixed = format!("/m/image-to-image/{MODEL}/image-to-image");
    for (path, named) in [("/upscale", "streamed"), (prefixed.as_str(), "by prefix"), ("/image-to-image", "spooled")] {
        let before = resident();
        let (peak, uploaded) = tokio::join!(watch(), upload(port, path, SIZE));
        assert!(uploaded.starts_with("HTTP/1.1 200"), "{named}: {uploaded:.300}");
        let grown = peak.saturating_sub(before) >> 20;
        println!("{named}: 299 MB up, resident memory grew by {grown} MB at most");
        assert!(grown < 100, "{named}: {grown} MB");
    }
    bed.idle().await;
}

/// A form with a real picture's head and zeros behind it.
async fn upload(port: std::net::SocketAddr, path: &str, size: usize) -> String {
    let picture = openpool_proxy::sim::ai_content::png(64, 64, 1);
    let front = "--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n";
    let field =
        |name: &str, value: &str| format!("\r\n--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}");
    let back = format!("{}{}\r\n--x--\r\n", field("prompt", "a cat"), field("model_id", MODEL));
    let length = front.len() + size + back.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: us\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    );
    let mut stream = tokio::net::TcpStream::connect(port).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(front.as_bytes()).await.unwrap();
    stream.write_all(&picture).await.unwrap();
    let zeros = vec![0; 64 << 10];
    let mut left = size - picture.len();
    while left > 0 {
        let now = left.min(zeros.len());
        stream.write_all(&zeros[..now]).await.unwrap();
        left -= now;
    }
    stream.write_all(back.as_bytes()).await.unwrap();
    DONE.store(false, std::sync::atomic::Ordering::Relaxed);
    let answer = raw::read_until(&mut stream, "images").await;
    DONE.store(true, std::sync::atomic::Ordering::Relaxed);
    answer
}

static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The most that is resident until the upload is done.
async fn watch() -> usize {
    DONE.store(false, std::sync::atomic::Ordering::Relaxed);
    let mut most = 0;
    while !DONE.load(std::sync::atomic::Ordering::Relaxed) {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    most
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}
