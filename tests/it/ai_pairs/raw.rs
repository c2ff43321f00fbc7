//! A runner and a caller made of plain sockets, for what must be measured or cut at an exact place.
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request for work: its path, and its body still in the socket.
pub struct Asked {
    pub length: usize,
    pub from: BufReader<TcpStream>,
}

/// Serves health and the like itself; `work` answers what is posted, and the connection ends.
pub async fn runner<F, W>(work: F) -> SocketAddr
where
    F: Fn(Asked) -> W + Send + Sync + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let work = Arc::new(work);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let work = work.clone();
            tokio::spawn(async move {
                let mut from = BufReader::with_capacity(64 << 10, stream);
                let Some((first, length)) = head(&mut from).await else { return };
                if first.starts_with("POST") {
                    work(Asked { length, from }).await;
                } else {
                    let json = r#"{"status":"OK","version":"0.14.1"}"#;
                    let _ = from.get_mut().write_all(answer(json).as_bytes()).await;
                }
            });
        }
    });
    address
}

/// The first line, and the body's length.
async fn head(from: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Some((first?, length));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        first.get_or_insert(line);
    }
}

pub fn answer(json: &str) -> String {
    let length = json.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{json}"
    )
}

/// Reads the body and forgets it.
pub async fn drain(asked: &mut Asked) -> usize {
    let mut left = asked.length;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        match asked.from.read(&mut buffer).await {
            Ok(read) if read > 0 => left -= read.min(left),
            _ => break,
        }
    }
    asked.length - left
}

/// One request over a connection of its own, that stays open.
pub async fn post(to: SocketAddr, path: &str, kind: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: us\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

/// What comes, until `found` or the end.
pub async fn read_until(stream: &mut TcpStream, found: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..read]);
            if read == 0 || String::from_utf8_lossy(&all).contains(found) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), reading).await;
    String::from_utf8_lossy(&all).into_owned()
}
