//! Runners, orchestrators and requests written by hand, for what the simulated peers never do.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::GAP;

/// A runner that only says yes; the requests that started it.
pub async fn yes() -> (SocketAddr, tokio::sync::mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (to, from) = tokio::sync::mpsc::channel(8);
    #[expect(clippy::disallowed_methods, reason = "a test has no task set")]
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = tcp.read(&mut buffer).await {
                read.extend_from_slice(&buffer[..n]);
                if read.starts_with(b"GET") || read.ends_with(b"}") {
                    break;
                }
            }
            let text = String::from_utf8_lossy(&read).into_owned();
            if text.starts_with("POST")
                && let Some((_, body)) = text.split_once("\r\n\r\n")
            {
                to.send(serde_json::from_str(body).unwrap()).await.unwrap();
            }
            let ok = r#"{"status":"OK"}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = tcp.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{ok}", ok.len()).as_bytes()).await;
        }
    });
    (address, from)
}

/// One request on a connection of its own; the whole answer, in lower case.
pub async fn ask(method: &str, url: &str, more: &str) -> String {
    let uri: http::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap();
    let mut tcp = TcpStream::connect(authority.as_str()).await.unwrap();
    let request = format!("{method} {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{more}", uri.path());
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "{method} {url}: no end, {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).to_lowercase()
}

/// A request that stays open: what was sent of it is its head and this.
pub async fn open(method: &str, url: &str, more: &str) -> TcpStream {
    let uri: http::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap();
    let mut tcp = TcpStream::connect(authority.as_str()).await.unwrap();
    let head = format!("{method} {} HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n", uri.path());
    tcp.write_all(format!("{head}{more}").as_bytes()).await.unwrap();
    tcp
}

type Log = Arc<parking_lot::Mutex<Vec<(String, bool)>>>;

/// An orchestrator before 0.9.0, as far as a worker sees it; method, path, and whether the writer
/// said that it is new.
pub async fn old_orchestrator() -> (SocketAddr, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Log = Arc::default();
    let log = seen.clone();
    let serve = |mut tcp: TcpStream, log: Log| async move {
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.windows(4).any(|four| four == b"\r\n\r\n") {
            match tcp.read(&mut buffer).await {
                Ok(n @ 1..) => read.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
        let text = String::from_utf8_lossy(&read).to_lowercase();
        let line: Vec<_> = text.split(' ').take(2).collect();
        log.lock().push((line.join(" "), text.contains("\r\nlp-trickle-reset:")));
        let status = if line[1].ends_with("/next") { "400 Bad Request" } else { "200 OK" };
        if line[0] == "post" {
            // It is still there, it says while it waits.
            for _ in 0..2 {
                tcp.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                sleep(GAP).await;
            }
            while !read.ends_with(b"data") {
                match tcp.read(&mut buffer).await {
                    Ok(n @ 1..) => read.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
        }
        let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let _ = tcp.write_all(answer.as_bytes()).await;
    };
    #[expect(clippy::disallowed_methods, reason = "a test has no task set")]
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test has no task set")]
            tokio::spawn(serve(tcp, log.clone()));
        }
    });
    (address, seen)
}
