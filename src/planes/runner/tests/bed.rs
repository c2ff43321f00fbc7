//! A port with runners behind it, and the few lines of HTTP that callers and runners speak.
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Doorman, FixedDoorman, FixedRunner, RunnerConfig, RunnerLimits, RunnerPort, Trust, Upstream, open};
use crate::transport::Tasks;

pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Bed {
    pub port: RunnerPort,
    pub doorman: FixedDoorman,
    pub tasks: Tasks,
}

/// A message as it came: its head in lower case where names are, and what was read behind it.
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
}

pub async fn bed(runners: Vec<FixedRunner>, change: impl FnOnce(&mut RunnerConfig)) -> Bed {
    let doorman = FixedDoorman::new(runners);
    let (port, tasks) = port(Arc::new(doorman.clone()), change).await;
    Bed { port, doorman, tasks }
}

pub async fn port(doorman: Arc<dyn Doorman>, change: impl FnOnce(&mut RunnerConfig)) -> (RunnerPort, Tasks) {
    let mut config = RunnerConfig { listen: ([127, 0, 0, 1], 0).into(), threads: 2, ..RunnerConfig::default() };
    change(&mut config);
    let tasks = Tasks::new();
    (open(config, doorman, &tasks).await.unwrap(), tasks)
}

pub fn plain(path: &str, address: SocketAddr) -> FixedRunner {
    trusted(path, address, Trust::Plain)
}

pub fn trusted(path: &str, address: SocketAddr, trust: Trust) -> FixedRunner {
    let upstream = Upstream::new(address, "runner.test", trust, &RunnerLimits::default());
    FixedRunner { path: path.into(), upstream: Arc::new(upstream), token: None }
}

/// Serves every connection with `work` until the test ends.
pub async fn runner<F, W>(work: F) -> SocketAddr
where
    F: Fn(TcpStream) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.clone().spawn("runner", async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tasks.spawn("work", work(tcp));
        }
    });
    address
}

/// A runner that reads requests whole and answers each with `status` and this JSON.
pub async fn answering(status: &'static str, json: &'static str) -> SocketAddr {
    runner(move |mut tcp| async move {
        while let Some(_request) = read(&mut tcp).await {
            tcp.write_all(json_answer(status, json).as_bytes()).await.unwrap();
        }
    })
    .await
}

/// A runner that answers with all that it was asked.
pub async fn echo() -> SocketAddr {
    runner(|mut tcp| async move {
        while let Some(request) = read(&mut tcp).await {
            let said = serde_json::json!({ "head": request.head, "body": String::from_utf8_lossy(&request.body) });
            tcp.write_all(json_answer("200 OK", &said.to_string()).as_bytes()).await.unwrap();
        }
    })
    .await
}

pub fn json_answer(status: &str, json: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}", json.len())
}

pub fn post(path: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: pool\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub async fn dial(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// Asks on a connection of its own.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Message {
    let mut tcp = dial(address).await;
    ask_on(&mut tcp, request).await
}

pub async fn ask_on(tcp: &mut TcpStream, request: &[u8]) -> Message {
    tcp.write_all(request).await.unwrap();
    tokio::time::timeout(PATIENCE, read(tcp)).await.expect("no answer in time").expect("no answer")
}

/// The next message. None: the other side has closed.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Message> {
    let head = read_head(stream).await?;
    let mut body = Vec::new();
    if let Some(length) = field(&head, "content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if field(&head, "transfer-encoding") == Some("chunked") {
        while let Some(chunk) = read_chunk(stream).await? {
            body.extend(chunk);
        }
    }
    Some(Message { head, body })
}

pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap();
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
        None => format!("{line}\n"),
    });
    Some(lines.collect())
}

/// One chunk; `Some(None)` is the last.
pub async fn read_chunk<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    Some((size > 0).then_some(chunk))
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Waits until it is so.
pub async fn until(what: &str, so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

// === impl Message ===

impl Message {
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        assert_eq!(field(&self.head, "content-type"), Some("application/json"), "{}", self.head);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The text of an error in the shape that orchestrators read.
    pub fn msg(&self) -> String {
        self.json()["detail"]["msg"].as_str().expect("detail.msg").to_owned()
    }
}
