//! Another runner, before the first byte went down; pins and names; answers that cannot pass.
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::Digest;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::Trust;
use super::bed::{answering, ask, ask_on, bed, dial, echo, json_answer, plain, post, read, runner, trusted, until};
use crate::transport::tls::{CERTIFICATE_FILE, KEY_FILE, ServerTls};

/// Nobody listens here.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads the request and hangs up.
async fn hangs_up() -> SocketAddr {
    runner(|mut tcp| async move {
        let _ = read(&mut tcp).await;
    })
    .await
}

#[tokio::test]
async fn the_next_runner_gets_the_whole_body_again() {
    let bad: [(&str, SocketAddr); 4] = [
        ("nobody", nobody().await),
        ("hangs up", hangs_up().await),
        ("503", answering("503 Service Unavailable", "{}").await),
        ("html", runner_with_html().await),
    ];
    let good = echo().await;
    for (name, bad) in bad {
        let bed = bed(vec![plain("/", bad), plain("/", good)], |_| {}).await;
        for size in [2, 100_000, 2_000_000] {
            let body = "z".repeat(size);
            // Whoever is first in turn: twice.
            for _ in 0..2 {
                let said = ask(bed.port.address, &post("/text-to-image", "application/json", &body)).await;
                assert_eq!(said.status(), "200", "{name} {size}: {}", String::from_utf8_lossy(&said.body));
                assert_eq!(said.json()["body"].as_str().unwrap().len(), size, "{name}");
            }
        }
        until("nothing runs", || bed.doorman.running() == 0).await;
    }
}

async fn runner_with_html() -> SocketAddr {
    runner(|mut tcp| async move {
        while read(&mut tcp).await.is_some() {
            let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n<p/>";
            tcp.write_all(html.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_short_form_goes_to_the_next_runner_too() {
    let bed = bed(vec![plain("/", hangs_up().await), plain("/", echo().await)], |_| {}).await;
    let body = "f".repeat(30_000);
    for _ in 0..2 {
        let said = ask(bed.port.address, &post("/upscale", "multipart/form-data; boundary=b", &body)).await;
        assert_eq!((said.status(), said.json()["body"].as_str().unwrap().len()), ("200", 30_000));
    }
}

#[tokio::test]
async fn when_nobody_is_left_orchestrators_get_what_they_survive() {
    for bad in [nobody().await, hangs_up().await, answering("503 Service Unavailable", "{}").await] {
        let bed = bed(vec![plain("/", bad)], |_| {}).await;
        let said = ask(bed.port.address, &post("/text-to-image", "application/json", "{}")).await;
        assert_eq!(said.status(), "500");
        assert!(!said.msg().is_empty());
        let said = ask(bed.port.address, &post("/byoc/x/run", "application/json", "{}")).await;
        assert!(matches!(said.status(), "502" | "503"), "{}", said.head);
    }
}

#[tokio::test]
async fn errors_that_orchestrators_know_pass() {
    let detail = r#"{"detail":{"msg":"no such thing"}}"#;
    for (pipeline, status, passes) in [
        ("text-to-image", "400 Bad Request", true),
        ("text-to-image", "422 Unprocessable Entity", true),
        ("text-to-image", "413 Payload Too Large", false),
        ("audio-to-text", "413 Payload Too Large", true),
        ("audio-to-text", "415 Unsupported Media Type", true),
        ("llm", "422 Unprocessable Entity", false),
        ("llm", "429 Too Many Requests", false),
        ("llm", "302 Found", false),
    ] {
        let bed = bed(vec![plain("/", answering(status, detail).await)], |_| {}).await;
        let said = ask(bed.port.address, &post(&format!("/{pipeline}"), "application/json", "{}")).await;
        let want = if passes { &status[..3] } else { "500" };
        assert_eq!(said.status(), want, "{pipeline} {status}");
        assert_eq!(said.msg() == "no such thing", passes);
    }
}

#[tokio::test]
async fn a_connection_that_lay_too_long_is_not_the_runners_fault() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // Answers once a connection, then closes it without a word.
    let address = runner(move |mut tcp| {
        let count = count.clone();
        async move {
            read(&mut tcp).await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tcp.write_all(json_answer("200 OK", "{}").as_bytes()).await.unwrap();
        }
    })
    .await;
    let bed = bed(vec![plain("/", address)], |config| config.threads = 1).await;
    let mut tcp = dial(bed.port.address).await;
    for _ in 0..5 {
        let said = ask_on(&mut tcp, &post("/llm", "application/json", "{}")).await;
        assert_eq!(said.status(), "200");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    until("all are counted", || bed.doorman.ended() == (5, 0)).await;
}

/// An echo behind TLS with a certificate of this folder.
async fn secure(folder: &Path) -> SocketAddr {
    let tls = ServerTls::kept_in(folder).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.config);
    runner(move |tcp| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            while read(&mut tls).await.is_some() {
                tls.write_all(json_answer("200 OK", r#"{"safe":true}"#).as_bytes()).await.unwrap();
                tls.flush().await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn only_the_pinned_certificate_is_asked() {
    crate::transport::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let address = secure(folder.path()).await;
    let pem = std::fs::read_to_string(folder.path().join(CERTIFICATE_FILE)).unwrap();
    let der = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(pem.as_bytes());
    let right: [u8; 32] = sha2::Sha256::digest(der.unwrap()).into();
    let pin = |sha256| Trust::Pin { name: "runner.test".into(), sha256 };
    for (trust, safe) in [(pin(right), true), (pin([7; 32]), false), (Trust::Name("runner.test".into()), false)] {
        let bed = bed(vec![trusted("/", address, trust.clone())], |_| {}).await;
        for _ in 0..2 {
            let said = ask(bed.port.address, &post("/llm", "application/json", "{}")).await;
            assert_eq!(said.json()["safe"] == true, safe, "{trust:?}: {}", said.head);
            assert_eq!(said.status(), if safe { "200" } else { "500" });
        }
    }
}

#[tokio::test]
async fn our_own_port_speaks_tls() {
    crate::transport::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    ServerTls::kept_in(folder.path()).unwrap();
    let files = (folder.path().join(CERTIFICATE_FILE), folder.path().join(KEY_FILE));
    let inner = bed(vec![plain("/", echo().await)], |config| config.tls = Some(files)).await;
    let pem = std::fs::read(folder.path().join(CERTIFICATE_FILE)).unwrap();
    let der = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem).unwrap();
    let trust = Trust::Pin { name: "localhost".into(), sha256: sha2::Sha256::digest(der).into() };
    // Through ourselves once more: a client that speaks TLS is at hand.
    let outer = bed(vec![trusted("/", inner.port.address, trust)], |_| {}).await;
    let said = ask(outer.port.address, &post("/llm", "application/json", r#"{"a":1}"#)).await;
    assert_eq!(said.json()["body"], r#"{"a":1}"#);
    // Plain HTTP there is no HTTP.
    let mut tcp = dial(inner.port.address).await;
    tcp.write_all(&post("/llm", "application/json", "{}")).await.unwrap();
    let said = tokio::time::timeout(super::bed::PATIENCE, read(&mut tcp)).await.unwrap();
    assert!(said.is_none());
}
