//! Callers who do not keep to HTTP, to sizes or to time.
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bed::{answering, ask, bed, dial, echo, field, plain, post, until};

/// Never an upstream byte, never two answers, and the port lives on.
#[tokio::test]
async fn garbage_gets_400_or_nothing() {
    let bed = bed(vec![plain("/", answering("200 OK", "{}").await)], |_| {}).await;
    let garbage: [&[u8]; 11] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /llm HTTP/1.1\r\nHost: p\r\nContent-Length: -1\r\n\r\n",
        b"POST /llm HTTP/1.1\r\nHost: p\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /llm HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nab\r\n0\r\n\r\n",
        b"POST /llm HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: gzip\r\n\r\nab",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        b"GET /llm HTTP/1.1\r\nHost: p\r\nBad Header: 1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ];
    for bytes in garbage {
        let mut tcp = dial(bed.port.address).await;
        tcp.write_all(bytes).await.unwrap();
        let _ = tcp.shutdown().await;
        let mut said = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut said)).await.expect("it hangs");
        let said = String::from_utf8_lossy(&said);
        let answers = said.matches("HTTP/1.1 ").count();
        let shown = String::from_utf8_lossy(bytes);
        assert!(answers <= 1 && !said.contains(" 200 "), "{shown} -> {said}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(bed.doorman.ended(), (0, 0), "a runner was asked: {shown} -> {said}");
    }
    assert_eq!(ask(bed.port.address, &post("/llm", "application/json", "{}")).await.status(), "200");
}

/// Of two lengths the chunks count, and the other one does not pass: one request goes up, whole.
#[tokio::test]
async fn two_lengths_are_one_request() {
    let bed = bed(vec![plain("/", echo().await)], |_| {}).await;
    for path in ["/llm", "/byoc/a/b"] {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: p\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        );
        let said = ask(bed.port.address, text.as_bytes()).await;
        assert_eq!((said.status(), &said.json()["body"]), ("200", &"ab".into()));
        assert_ne!(field(said.json()["head"].as_str().unwrap(), "content-length"), Some("40"));
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let bed = bed(vec![], |config| config.limits.head_within = Duration::from_millis(200)).await;
    let mut tcp = dial(bed.port.address).await;
    tcp.write_all(b"POST /llm HT").await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        if tcp.write_all(b"T").await.is_err() {
            break;
        }
    }
    until("it is gone", || bed.port.open() == 0).await;
}

#[tokio::test]
async fn a_caller_may_be_silent_between_requests_only() {
    let bed = bed(vec![plain("/", answering("200 OK", "{}").await)], |config| {
        config.limits.head_within = Duration::from_millis(100);
        config.limits.body_gap = Duration::from_millis(200);
    })
    .await;
    let mut tcp = dial(bed.port.address).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let said = super::bed::ask_on(&mut tcp, &post("/llm", "application/json", "{}")).await;
        assert_eq!(said.status(), "200");
    }
    // A body that stops.
    tcp.write_all(b"POST /llm HTTP/1.1\r\nHost: p\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    let said = super::bed::ask_on(&mut tcp, b"").await;
    assert_eq!((said.status(), said.msg().as_str()), ("500", "the request's body stopped coming"));
}

#[tokio::test]
async fn limits_are_said_in_a_shape_that_is_survived() {
    let bed = bed(vec![plain("/", answering("200 OK", "{}").await)], |config| {
        config.limits.most_json_bytes = 1_000;
        config.limits.most_form_bytes = 2_000;
        config.limits.most_body_bytes = 2_000;
        config.limits.head_fields = 8;
    })
    .await;
    let long = "x".repeat(2_001);
    let said = ask(bed.port.address, &post("/text-to-image", "application/json", &long)).await;
    assert_eq!((said.status(), said.msg().contains("larger than 1000")), ("400", true));
    let form = "multipart/form-data; boundary=b";
    let said = ask(bed.port.address, &post("/audio-to-text", form, &long)).await;
    assert_eq!((said.status(), said.msg().contains("larger than 2000")), ("413", true));
    let said = ask(bed.port.address, &post("/byoc/a/b", "application/json", &long)).await;
    assert_eq!(said.status(), "413");
    // Without a length it is counted as it streams.
    let chunked =
        format!("POST /byoc/a/b HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n{long}\r\n0\r\n\r\n");
    assert_eq!(ask(bed.port.address, chunked.as_bytes()).await.status(), "413");
    let fields = "A: b\r\n".repeat(9);
    let said = ask(bed.port.address, format!("GET /health HTTP/1.1\r\nHost: p\r\n{fields}\r\n").as_bytes()).await;
    assert_eq!(said.status(), "431");
    let said = ask(bed.port.address, b"GET /nothing HTTP/1.1\r\nHost: p\r\n\r\n").await;
    assert_eq!(said.status(), "200", "the fixed doorman forwards what it is told to");
}

#[tokio::test]
async fn a_full_port_makes_callers_wait() {
    let bed = bed(vec![plain("/", answering("200 OK", "{}").await)], |config| config.limits.connections = 2).await;
    let (one, two) = (dial(bed.port.address).await, dial(bed.port.address).await);
    until("two are in", || bed.port.open() == 2).await;
    let mut third = dial(bed.port.address).await;
    third.write_all(b"GET /health HTTP/1.1\r\nHost: p\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(200), third.read(&mut byte)).await.is_err());
    drop((one, two));
    tokio::time::timeout(Duration::from_secs(5), third.read_exact(&mut byte)).await.expect("still waits").unwrap();
}

#[tokio::test]
async fn memory_for_bodies_has_an_end_and_comes_back() {
    let address = answering("200 OK", "{}").await;
    let bed = bed(vec![plain("/", address)], |config| config.limits.most_held_bytes = 100 << 10).await;
    let mut slow = dial(bed.port.address).await;
    slow.write_all(b"POST /llm HTTP/1.1\r\nHost: p\r\nContent-Length: 90000\r\n\r\n{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let body = "x".repeat(50_000);
    let said = ask(bed.port.address, &post("/llm", "application/json", &body)).await;
    assert_eq!((said.status(), said.msg().as_str()), ("500", "no memory is left for requests"));
    drop(slow);
    until("it is gone", || bed.port.open() == 0).await;
    for _ in 0..5 {
        assert_eq!(ask(bed.port.address, &post("/llm", "application/json", &body)).await.status(), "200");
    }
}
