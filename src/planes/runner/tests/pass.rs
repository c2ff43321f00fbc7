//! What passes: JSON, forms, large bodies, headers, tokens, TLS on our side.
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bed::{answering, ask, ask_on, bed, dial, echo, field, json_answer, plain, post, read_head, runner, until};

#[tokio::test]
async fn json_passes_whole_with_few_headers() {
    let bed = bed(vec![plain("/", echo().await)], |_| {}).await;
    let body = r#"{"model_id":"m","prompt":"p"}"#;
    let head = format!(
        "POST /text-to-image HTTP/1.1\r\nHost: pool\r\nContent-Type: application/json\r\nCookie: c=1\r\n\
         Authorization: Bearer callers\r\nAccept-Encoding: gzip\r\nX-Any: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut tcp = dial(bed.port.address).await;
    // Twice on one connection.
    for _ in 0..2 {
        let said = ask_on(&mut tcp, head.as_bytes()).await;
        assert_eq!(said.status(), "200");
        let seen = said.json();
        assert_eq!(seen["body"], body);
        let seen = seen["head"].as_str().unwrap();
        assert!(seen.starts_with("POST /text-to-image HTTP/1.1\n"), "{seen}");
        assert_eq!(field(seen, "host"), Some("runner.test"));
        assert_eq!(field(seen, "content-length"), Some(body.len().to_string().as_str()));
        for gone in ["cookie", "authorization", "accept-encoding", "x-any", "transfer-encoding"] {
            assert_eq!(field(seen, gone), None, "{seen}");
        }
    }
    until("both are counted", || bed.doorman.ended() == (2, 0)).await;
}

#[tokio::test]
async fn json_of_any_size_and_framing_passes() {
    let bed = bed(vec![plain("/", echo().await)], |_| {}).await;
    for size in [0, 1, 4_000, 65_535, 65_536, 65_537, 131_072, 200_000, 3_000_000] {
        let body = "x".repeat(size);
        let said = ask(bed.port.address, &post("/llm", "application/json", &body)).await;
        assert_eq!(said.status(), "200", "{size}");
        assert_eq!(said.json()["body"].as_str().unwrap().len(), size);
    }
    let chunked = "POST /llm HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let said = ask(bed.port.address, chunked.as_bytes()).await;
    assert_eq!(said.json()["body"], "abcde");
    assert_eq!(field(said.json()["head"].as_str().unwrap(), "content-length"), Some("5"));
    let long = format!(
        "POST /llm HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        100_000,
        "y".repeat(100_000)
    );
    let said = ask(bed.port.address, long.as_bytes()).await;
    assert_eq!((said.status(), said.msg().contains("Content-Length")), ("500", true));
}

#[tokio::test]
async fn a_form_streams_before_its_end_has_come() {
    let (seen, mut first) = tokio::sync::mpsc::channel::<usize>(16);
    let address = runner(move |mut tcp| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut tcp).await.unwrap();
            let mut left: usize = field(&head, "content-length").unwrap().parse().unwrap();
            let mut buffer = vec![0; 64 << 10];
            while left > 0 {
                let read = tcp.read(&mut buffer).await.unwrap();
                left -= read;
                seen.send(read).await.unwrap();
            }
            tcp.write_all(json_answer("200 OK", "{}").as_bytes()).await.unwrap();
        }
    })
    .await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let mut tcp = dial(bed.port.address).await;
    let head = "POST /upscale HTTP/1.1\r\nHost: p\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 8\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    tcp.write_all(b"1234").await.unwrap();
    let got = tokio::time::timeout(Duration::from_secs(5), first.recv()).await.expect("it waits for the end");
    assert_eq!(got, Some(4));
    let said = ask_on(&mut tcp, b"5678").await;
    assert_eq!(said.status(), "200");
}

/// Peak memory of this process is the kernel's word; other tests run beside, so the bound is wide.
#[tokio::test]
async fn an_upload_of_300_mb_takes_little_memory() {
    const BYTES: usize = 300 << 20;
    let address = runner(|mut tcp| async move {
        let head = read_head(&mut tcp).await.unwrap();
        let mut left: usize = field(&head, "content-length").unwrap().parse().unwrap();
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            left -= tcp.read(&mut buffer).await.unwrap();
        }
        tcp.write_all(json_answer("200 OK", r#"{"all":true}"#).as_bytes()).await.unwrap();
    })
    .await;
    let bed = bed(vec![plain("/", address)], |_| {}).await;
    let before = resident();
    let mut tcp = dial(bed.port.address).await;
    let kind = "multipart/form-data; boundary=b";
    let head =
        format!("POST /audio-to-text HTTP/1.1\r\nHost: p\r\nContent-Type: {kind}\r\nContent-Length: {BYTES}\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![7; 1 << 20];
    let mut most = before;
    for _ in 0..BYTES >> 20 {
        tcp.write_all(&piece).await.unwrap();
        most = most.max(resident());
    }
    let said = ask_on(&mut tcp, b"").await;
    assert_eq!(said.json()["all"], true);
    assert!(most < before + (100 << 20), "{} MB more", (most - before) >> 20);
    let over = head.replace(&BYTES.to_string(), &(BYTES + 1).to_string());
    let said = ask(bed.port.address, over.as_bytes()).await;
    assert_eq!(said.status(), "413");
}

#[tokio::test]
async fn the_port_wants_its_token_and_gives_the_runners_own() {
    let mut to = plain("/", echo().await);
    to.token = Some(Arc::from("theirs"));
    let bed = bed(vec![to], |config| config.token = Some(Arc::from("ours"))).await;
    let with = |token: &str| {
        let text = format!("POST /llm HTTP/1.1\r\nHost: p\r\nAuthorization: {token}\r\nContent-Length: 2\r\n\r\n{{}}");
        text.into_bytes()
    };
    for wrong in ["Bearer our", "Bearer oursX", "ours", "Basic ours"] {
        let said = ask(bed.port.address, &with(wrong)).await;
        assert_eq!((said.status(), said.msg().as_str()), ("401", "missing or wrong bearer token"));
    }
    let said = ask(bed.port.address, &with("Bearer ours")).await;
    assert_eq!(field(said.json()["head"].as_str().unwrap(), "authorization"), Some("Bearer theirs"));
}

#[tokio::test]
async fn health_is_ours_to_answer() {
    let bed = bed(vec![plain("/", answering("200 OK", "{}").await)], |_| {}).await;
    let said = ask(bed.port.address, b"GET /a/b/health HTTP/1.1\r\nHost: p\r\n\r\n").await;
    assert_eq!(said.json()["status"], "OK");
    assert_eq!(bed.doorman.ended(), (0, 0));
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
