//! What flows: events as they come, WebSockets, callers who leave, a port that closes.
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::bed::{ask, bed, dial, field, json_answer, plain, post, read, read_chunk, read_head, runner, until};

const EVENTS: usize = 40;

#[expect(clippy::disallowed_methods, reason = "a test measures the time that passes")]
fn now() -> Instant {
    Instant::now()
}

/// The machine may be busy with other tests: half of the events must be there within 5 ms, all in
/// 500 ms, which nothing that is held back until the next event would be.
#[tokio::test]
async fn events_pass_as_they_come() {
    let (sent, mut times) = mpsc::channel(EVENTS);
    let address = runner(move |mut tcp| {
        let sent = sent.clone();
        async move {
            read(&mut tcp).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            tcp.write_all(head.as_bytes()).await.unwrap();
            for n in 0..EVENTS {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let event = format!("data: {n:04}\n\n");
                sent.send(now()).await.unwrap();
                tcp.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
            }
            tcp.write_all(b"0\r\n\r\n").await.unwrap();
            // Open: nothing is flushed by its end.
            let _ = tcp.read(&mut [0]).await;
        }
    })
    .await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let mut tcp = dial(bed.port.address).await;
    tcp.write_all(&post("/llm", "application/json", "{}")).await.unwrap();
    let head = read_head(&mut tcp).await.unwrap();
    assert_eq!(field(&head, "content-type"), Some("text/event-stream"));
    let (mut late, mut all) = (Vec::new(), Vec::new());
    while let Some(chunk) = read_chunk(&mut tcp).await.unwrap() {
        // A busy machine may put two into one chunk.
        let came = now();
        for _ in chunk.windows(2).filter(|pair| *pair == b"\n\n") {
            late.push(came - times.recv().await.unwrap());
        }
        all.extend(chunk);
    }
    let sent: String = (0..EVENTS).map(|n| format!("data: {n:04}\n\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), sent);
    late.sort();
    assert!(late[EVENTS / 2] < Duration::from_millis(5), "{late:?}");
    assert!(late[EVENTS - 1] < Duration::from_millis(500), "{late:?}");
}

#[tokio::test]
async fn websockets_pass_both_ways() {
    let address = runner(|mut tcp| async move {
        let head = read_head(&mut tcp).await.unwrap();
        assert_eq!(field(&head, "upgrade"), Some("websocket"));
        assert_eq!(field(&head, "sec-websocket-key"), Some("k"));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: a\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = tcp.read(&mut buffer).await {
            buffer[..read].make_ascii_uppercase();
            tcp.write_all(&buffer[..read]).await.unwrap();
        }
    })
    .await;
    let bed = bed(vec![plain("/apps/", address)], |config| config.limits.body_gap = Duration::from_millis(50)).await;
    let mut tcp = dial(bed.port.address).await;
    let ask = "GET /apps/a/ws HTTP/1.1\r\nHost: p\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
               Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n";
    tcp.write_all(ask.as_bytes()).await.unwrap();
    let head = read_head(&mut tcp).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(field(&head, "sec-websocket-accept"), Some("a"));
    let mut back = [0; 5];
    for word in [b"hello", b"again"] {
        tcp.write_all(word).await.unwrap();
        tcp.read_exact(&mut back).await.unwrap();
        assert_eq!(back, word.to_ascii_uppercase().as_slice());
        // A quiet socket is not a dead one.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop(tcp);
    until("the attempt is over", || bed.doorman.running() == 0).await;
    assert_eq!(bed.doorman.ended().0 + bed.doorman.ended().1, 1);
}

/// A runner that says when it was asked and when its caller was gone; it never answers whole.
async fn patient(answer: &'static [u8]) -> (std::net::SocketAddr, mpsc::Receiver<&'static str>) {
    let (say, said) = mpsc::channel(8);
    let address = runner(move |mut tcp| {
        let say = say.clone();
        async move {
            read(&mut tcp).await.unwrap();
            tcp.write_all(answer).await.unwrap();
            say.send("asked").await.unwrap();
            let gone = matches!(tcp.read(&mut [0]).await, Ok(0) | Err(_));
            say.send(if gone { "gone" } else { "more" }).await.unwrap();
        }
    })
    .await;
    (address, said)
}

#[tokio::test]
async fn who_leaves_ends_the_work() {
    let stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    // Before the first byte, and after it.
    for answer in [&b""[..], stream] {
        let (address, mut said) = patient(answer).await;
        let bed = bed(vec![plain("/", address)], |_| {}).await;
        let mut tcp = dial(bed.port.address).await;
        tcp.write_all(&post("/llm", "application/json", "{}")).await.unwrap();
        assert_eq!(said.recv().await, Some("asked"));
        drop(tcp);
        let gone = tokio::time::timeout(Duration::from_secs(2), said.recv()).await.expect("it works for nobody");
        assert_eq!(gone, Some("gone"));
        until("the guard knows", || bed.doorman.ended() == (0, 1) && bed.doorman.running() == 0).await;
    }
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_caller() {
    let address = runner(|mut tcp| async move {
        read(&mut tcp).await.unwrap();
        let part = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
        tcp.write_all(part.as_bytes()).await.unwrap();
    })
    .await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let mut tcp = dial(bed.port.address).await;
    tcp.write_all(&post("/text-to-image", "application/json", "{}")).await.unwrap();
    let mut all = Vec::new();
    let _ = tcp.read_to_end(&mut all).await;
    // The half of it, or nothing: no whole answer of any kind.
    let all = String::from_utf8(all).unwrap();
    assert!(all.is_empty() || (all.starts_with("HTTP/1.1 200") && all.ends_with("\r\n\r\n{")), "{all}");
    until("the guard knows", || bed.doorman.ended() == (0, 1)).await;
}

#[tokio::test]
async fn closing_lets_work_end_and_idle_callers_go() {
    let address = runner(|mut tcp| async move {
        read(&mut tcp).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        tcp.write_all(json_answer("200 OK", "{}").as_bytes()).await.unwrap();
    })
    .await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let mut idle = dial(bed.port.address).await;
    let mut busy = dial(bed.port.address).await;
    busy.write_all(&post("/llm", "application/json", "{}")).await.unwrap();
    until("both are there", || bed.port.open() == 2 && bed.doorman.running() == 1).await;
    let (closed, answer) = tokio::join!(bed.tasks.close(Duration::from_secs(5)), read(&mut busy));
    assert!(closed, "something had to be cut");
    assert_eq!(answer.unwrap().status(), "200");
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    until("all are gone", || bed.port.open() == 0).await;
    assert!(tokio::net::TcpStream::connect(bed.port.address).await.is_err());
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_time_is_over() {
    let (address, mut said) = patient(b"").await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let mut tcp = dial(bed.port.address).await;
    tcp.write_all(&post("/llm", "application/json", "{}")).await.unwrap();
    assert_eq!(said.recv().await, Some("asked"));
    assert!(!bed.tasks.close(Duration::from_millis(100)).await);
    assert_eq!(tcp.read(&mut [0]).await.unwrap_or(0), 0);
    until("all are gone", || bed.port.open() == 0).await;
    assert!(ask_fails(bed.port.address).await);
}

async fn ask_fails(address: std::net::SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_err() || {
        let said = ask(address, b"GET /health HTTP/1.1\r\nHost: p\r\n\r\n");
        tokio::time::timeout(Duration::from_millis(100), said).await.is_err()
    }
}
