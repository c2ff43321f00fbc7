//! The simulated AI peers against a raw client.
#[path = "ai_tests/live_tests.rs"]
mod live_tests;
#[path = "ai_tests/runner_tests.rs"]
mod runner_tests;
#[path = "ai_tests/worker_tests.rs"]
mod worker_tests;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ai_content::{self, Kind, Road, fields};
use crate::domain::ai::Pipeline;

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

/// An answer as it came; `whole` when its length or its last chunk says so.
struct Raw {
    status: u16,
    head: String,
    body: Vec<u8>,
    whole: bool,
}

/// One request on a connection of its own.
async fn ask(to: SocketAddr, head: &str, body: &[u8]) -> Raw {
    let mut tcp = TcpStream::connect(to).await.unwrap();
    let head = format!("{head}\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    tcp.write_all(head.as_bytes()).await.unwrap();
    tcp.write_all(body).await.unwrap();
    let mut bytes = Vec::new();
    let _ = tcp.read_to_end(&mut bytes).await;
    raw(&bytes)
}

fn raw(bytes: &[u8]) -> Raw {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Raw { status: 0, head: String::new(), body: bytes.to_vec(), whole: false };
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut rest = &bytes[end + 4..];
    if let Some(length) = head.split("content-length: ").nth(1) {
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        return Raw { status, body: rest.to_vec(), whole: rest.len() == length, head };
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            return Raw { status, head, body, whole: true };
        }
        body.extend_from_slice(&rest[line + 2..(line + 2 + length).min(rest.len())]);
        rest = rest.get(line + 4 + length..).unwrap_or_default();
    }
    Raw { status, head, body, whole: false }
}

// === impl Raw ===

impl Raw {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request with every key of the pipeline.
fn request(pipeline: Pipeline, model: &str) -> Map<String, Value> {
    let value = |name: &str, kind: Kind| match (name, kind) {
        ("model" | "model_id", _) => json!(model),
        ("height" | "width", _) => json!(64),
        ("num_images_per_prompt", _) => json!(2),
        ("max_tokens", _) => json!(40),
        ("stream" | "safety_check", _) => json!(false),
        (_, Kind::Text) => json!(format!("the {name} of «it»\r\nand more")),
        (_, Kind::Int) => json!(7),
        (_, Kind::Float) => json!(0.8),
        (_, Kind::Bool) => json!(true),
        (_, Kind::Messages) => json!([{ "role": "user", "content": "hello there" }]),
        (_, Kind::Object) => json!({}),
    };
    fields(pipeline).iter().map(|field| (field.name.to_owned(), value(field.name, field.kind))).collect()
}

/// Forms as go-livepeer writes them: the file first, floats with six decimals.
fn form(pipeline: Pipeline, request: &Map<String, Value>, file: &[u8]) -> (String, Vec<u8>) {
    let name = pipeline.file_field().unwrap();
    let mut body = format!(
        "--b0und\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    for field in fields(pipeline) {
        let Some(value) = request.get(field.name) else { continue };
        let text = match (field.kind, value) {
            (Kind::Float, value) => format!("{:.6}", value.as_f64().unwrap()),
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        };
        let head = format!("\r\n--b0und\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{text}", field.name);
        body.extend_from_slice(head.as_bytes());
    }
    body.extend_from_slice(b"\r\n--b0und--\r\n");
    ("multipart/form-data; boundary=b0und".into(), body)
}

#[test]
fn answers_follow_from_the_request_alone() {
    for pipeline in Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.by_worker()) {
        let asked = request(pipeline, "org/model");
        let file = pipeline.file_field().map(|_| b"file".as_slice());
        for road in [Road::Runner, Road::Worker] {
            let answer = ai_content::answer(road, pipeline, &asked, file);
            assert_eq!(answer, ai_content::answer(road, pipeline, &asked, file));
            answer.check_runner(&answer.runner_json()).unwrap();
            // Every key counts, the file too; how a float is written does not.
            for field in fields(pipeline).iter().filter(|field| field.name != "stream") {
                let mut other = asked.clone();
                other.remove(field.name);
                assert_ne!(answer, ai_content::answer(road, pipeline, &other, file), "{pipeline} {}", field.name);
            }
            if file.is_some() {
                assert_ne!(answer, ai_content::answer(road, pipeline, &asked, Some(b"another")));
            }
            let mut long = asked.clone();
            for field in fields(pipeline).iter().filter(|field| field.kind == Kind::Float) {
                long.insert(field.name.to_owned(), json!(0.800000011920929));
            }
            assert_eq!(answer, ai_content::answer(road, pipeline, &long, file));
        }
    }
}

#[test]
fn files_are_what_they_say() {
    let png = ai_content::png(300, 200, 7);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    std::fs::write(&path, &png).unwrap();
    // A decoder that checks every sum.
    let decoded = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(&path)
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"])
        .output()
        .unwrap();
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    assert_eq!(decoded.stdout.len(), 300 * 200);
    let wav = ai_content::wav(1600, 7);
    let path = folder.path().join("a.wav");
    std::fs::write(&path, &wav).unwrap();
    let decoded = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(&path)
        .args(["-f", "s16le", "pipe:1"])
        .output()
        .unwrap();
    assert_eq!(decoded.stdout, wav[44..]);
}
