//! A runner that costs next to nothing, and callers that keep their connections.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "what is not there ends the run")]
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::rig::now;

pub const EVENTS: usize = 200;
/// The last one, as a model ends.
const LAST: &[u8] = b"data: {\"id\":\"x\",\"model\":\"m\",\"created\":1,\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"delta\":{\"role\":\"assistant\",\"content\":\".\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":200,\"total_tokens\":201}}\n\ndata: [DONE]\n\n";
const EVENT: &[u8] = b"data: {\"id\":\"x\",\"model\":\"m\",\"created\":1,\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\" word\"}}]}\n\n";
const LARGE: usize = 1 << 20;
/// The model whose answers are large.
pub const LARGE_MODEL: &str = "large";
const LARGE_REQUEST: &[u8] = br#"{"model_id":"large""#;

/// What is asked, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Json,
    Down,
    Up,
    Events,
}

/// What callers got in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub seconds: f64,
    pub answers: u64,
    pub failed: u64,
}

// === impl Case ===

impl Case {
    pub const ALL: [Case; 4] = [Case::Json, Case::Down, Case::Up, Case::Events];

    pub fn name(self) -> &'static str {
        match self {
            Case::Json => "1 KB JSON",
            Case::Down => "1 MB answer",
            Case::Up => "2 MB upload",
            Case::Events => "200 events",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Case::Json => "json",
            Case::Down => "down",
            Case::Up => "up",
            Case::Events => "sse",
        }
    }

    /// The whole request, as bytes.
    fn request(self) -> Bytes {
        let (path, kind, body) = match self {
            Case::Json => ("/text-to-image", "application/json", prompt("m", 1_024)),
            Case::Down => ("/text-to-image", "application/json", prompt(LARGE_MODEL, 1_024)),
            Case::Up => ("/image-to-image", "multipart/form-data; boundary=b", form(2 << 20)),
            Case::Events => ("/llm", "application/json", chat()),
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: runner\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
             Content-Type: {kind}\r\nAccept-Encoding: gzip\r\n\r\n",
            body.len()
        );
        let mut request = BytesMut::from(head.as_bytes());
        request.extend_from_slice(&body);
        request.freeze()
    }

    /// Bytes of an answer's body.
    fn answer(self) -> usize {
        match self {
            Case::Down => LARGE,
            Case::Json | Case::Up => 1_024,
            Case::Events => (EVENTS - 1) * EVENT.len() + LAST.len(),
        }
    }
}

/// A request of so many bytes.
fn prompt(model: &str, bytes: usize) -> Vec<u8> {
    let shell = |prompt: &str| format!(r#"{{"model_id":"{model}","prompt":"{prompt}"}}"#);
    shell(&"p".repeat(bytes - shell("").len())).into_bytes()
}

fn chat() -> Vec<u8> {
    br#"{"model":"m","messages":[{"role":"user","content":"Tell me something."}],"max_tokens":200,"stream":true}"#
        .to_vec()
}

/// A picture by its first bytes.
fn picture(bytes: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x02\0\x08\x02\0\0\0\0\0\0\0".to_vec();
    png.resize(bytes, b'x');
    png
}

/// A picture to work on, of so many bytes, as an orchestrator sends it.
fn form(bytes: usize) -> Vec<u8> {
    let part = |head: &str| format!("--b\r\nContent-Disposition: form-data; {head}\r\n");
    let mut form = part("name=\"image\"; filename=\"image\"").into_bytes();
    form.extend_from_slice(b"Content-Type: application/octet-stream\r\n\r\n");
    form.extend_from_slice(&picture(bytes));
    for (name, value) in [("prompt", "p"), ("model_id", "m")] {
        form.extend_from_slice(format!("\r\n{}\r\n{value}", part(&format!("name=\"{name}\""))).as_bytes());
    }
    form.extend_from_slice(b"\r\n--b--\r\n");
    form
}

/// An answer of so many bytes.
fn image(bytes: usize) -> Vec<u8> {
    use base64::Engine;
    let room = bytes - r#"{"images":[{"url":"data:image/png;base64,","seed":1,"nsfw":false}]}"#.len();
    let data = base64::engine::general_purpose::STANDARD.encode(picture(room / 4 * 3));
    let mut answer = format!(r#"{{"images":[{{"url":"data:image/png;base64,{data}","seed":1,"nsfw":false}}]}}"#);
    answer.push_str(&" ".repeat(bytes - answer.len()));
    answer.into_bytes()
}

// --- the runner ---

/// Serves on one thread until it is killed; says its port first.
pub fn runner() -> ! {
    one_thread(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let (small, large) = (Bytes::from(image(1_024)), Bytes::from(image(LARGE)));
        loop {
            let (tcp, _) = listener.accept().await.expect("a caller");
            tcp.set_nodelay(true).expect("a socket");
            let (small, large) = (small.clone(), large.clone());
            tokio::task::spawn_local(async move {
                let work = hyper::service::service_fn(move |asked| work(asked, small.clone(), large.clone()));
                // A caller that leaves is no fault.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), work).await;
            });
        }
    })
}

async fn work(
    asked: Request<Incoming>,
    small: Bytes,
    large: Bytes,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let path = asked.uri().path().to_owned();
    let mut body = asked.into_body();
    let mut large_one = false;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            large_one |= data.starts_with(LARGE_REQUEST);
        }
    }
    let answer = Response::builder();
    let answer = match path.as_str() {
        "/llm" => answer.header("content-type", "text/event-stream").body(events()),
        "/health" => {
            let well = Bytes::from_static(br#"{"status":"OK"}"#);
            answer.header("content-type", "application/json").body(Full::new(well).boxed_unsync())
        }
        "/version" | "/hardware/info" => answer.status(404).body(Full::default().boxed_unsync()),
        _ if large_one => answer.header("content-type", "application/json").body(Full::new(large).boxed_unsync()),
        _ => answer.header("content-type", "application/json").body(Full::new(small).boxed_unsync()),
    };
    Ok(answer.expect("an answer"))
}

/// Each event written by itself, as a model makes them.
fn events() -> UnsyncBoxBody<Bytes, Infallible> {
    let events = futures_util::stream::unfold(0, |sent| async move {
        tokio::task::yield_now().await;
        let event = if sent + 1 < EVENTS { EVENT } else { LAST };
        (sent < EVENTS).then(|| (Ok(Frame::data(Bytes::from_static(event))), sent + 1))
    });
    StreamBody::new(events).boxed_unsync()
}

// --- callers ---

/// `callers` ask one after the other on a connection each, for `time`.
pub fn run(case: Case, to: SocketAddr, callers: usize, time: Duration) -> Tally {
    one_thread(async move {
        let (request, over) = (case.request(), Arc::new(AtomicBool::new(false)));
        let (answers, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let begun = now();
        let mut running = Vec::new();
        for _ in 0..callers {
            let (request, over) = (request.clone(), over.clone());
            let (answers, failed) = (answers.clone(), failed.clone());
            running.push(tokio::task::spawn_local(async move {
                while !over.load(Ordering::Relaxed) {
                    if call(to, &request, case.answer(), &over, &answers).await.is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        tokio::time::sleep(time).await;
        let tally = Tally {
            seconds: begun.elapsed().as_secs_f64(),
            answers: answers.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        };
        over.store(true, Ordering::Relaxed);
        for caller in running {
            let _ = tokio::time::timeout(Duration::from_secs(5), caller).await;
        }
        tally
    })
}

/// One connection until it breaks (None) or all is over.
async fn call(to: SocketAddr, request: &[u8], answer: usize, over: &AtomicBool, answers: &AtomicU64) -> Option<()> {
    let mut tcp = TcpStream::connect(to).await.ok()?;
    tcp.set_nodelay(true).ok()?;
    let mut buffer = BytesMut::with_capacity(256 << 10);
    while !over.load(Ordering::Relaxed) {
        tcp.write_all(request).await.ok()?;
        read_answer(&mut tcp, &mut buffer, answer).await?;
        answers.fetch_add(1, Ordering::Relaxed);
    }
    Some(())
}

/// A whole answer of `bytes`, by length or in chunks. None: it is not what was expected.
async fn read_answer(tcp: &mut TcpStream, buffer: &mut BytesMut, bytes: usize) -> Option<()> {
    buffer.clear();
    let head = loop {
        more(tcp, buffer).await?;
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return None;
    }
    let lower = buffer[..head].to_ascii_lowercase();
    let _ = buffer.split_to(head);
    if memchr::memmem::find(&lower, b"chunked").is_none() {
        let mut read = buffer.len();
        while read < bytes {
            buffer.clear();
            more(tcp, buffer).await?;
            read += buffer.len();
        }
        return (read == bytes).then_some(());
    }
    let mut read = 0;
    loop {
        while let Some(line) = memchr::memchr(b'\n', buffer) {
            let size = usize::from_str_radix(std::str::from_utf8(&buffer[..line]).ok()?.trim(), 16).ok()?;
            if buffer.len() < line + 1 + size + 2 {
                break;
            }
            let _ = buffer.split_to(line + 1 + size + 2);
            read += size;
            if size == 0 {
                return (read == bytes && buffer.is_empty()).then_some(());
            }
        }
        more(tcp, buffer).await?;
    }
}

async fn more(tcp: &mut TcpStream, buffer: &mut BytesMut) -> Option<()> {
    buffer.reserve(128 << 10);
    (tcp.read_buf(buffer).await.ok()? > 0).then_some(())
}

fn one_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

/// How long `asked` takes to be answered at `to`, once; for waiting until somebody serves.
pub fn answers(to: SocketAddr) -> bool {
    let begun: Instant = now();
    while begun.elapsed() < Duration::from_secs(10) {
        let tally = run(Case::Json, to, 1, Duration::from_millis(50));
        if tally.answers > 0 {
            return true;
        }
    }
    false
}
