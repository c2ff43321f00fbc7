//! Tests of outgoing connections, over real sockets where it matters.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::h1::{H1, Idle, OutBody};
use super::hosts::{SegmentHosts, is_public};
use super::*;

fn origin(text: &str) -> Origin {
    Origin::of(&text.parse().unwrap()).unwrap()
}

fn get() -> Request<OutBody> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    Request::get("/").header("host", "x").body(body).unwrap()
}

#[test]
fn origins_have_a_scheme_a_host_and_a_port() {
    assert_eq!(origin("https://Orch.example/stream/1").authority(), "orch.example:443");
    assert_eq!(origin("http://[::1]:8935/").authority(), "[::1]:8935");
    assert_eq!(&*origin("http://[::1]:8935/").host, "::1");
    for bad in ["/only/a/path", "ftp://host/x", "host:1"] {
        assert_eq!(Origin::of(&bad.parse().unwrap()), Err(DialError::Address), "{bad}");
    }
}

#[test]
fn addresses_of_the_open_internet() {
    let public = ["1.1.1.1", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"];
    for ip in public {
        assert!(is_public(ip.parse().unwrap()), "{ip}");
    }
    let special = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:7f00:1::",
        "fc00::1",
        "fe80::1",
        "ff02::1",
    ];
    for ip in special {
        assert!(!is_public(ip.parse().unwrap()), "{ip}");
    }
}

#[test]
fn segments_come_from_the_orchestrator_or_a_listed_host() {
    let own = origin("https://10.0.0.5:8935");
    let hosts = SegmentHosts::new(&own, &["Bucket.example".into()], false);
    assert!(hosts.check_host(&origin("https://10.0.0.5:1234/x")).is_ok(), "its own host, any port");
    let bucket = origin("https://bucket.example/x");
    assert!(hosts.check_host(&bucket).is_ok());
    for other in ["https://169.254.169.254/latest", "https://bucket.example.evil/x", "https://10.0.0.5@evil/x"] {
        assert!(matches!(hosts.check_host(&origin(other)), Err(DialError::Host(_))), "{other}");
    }
    let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 443);
    assert!(hosts.check_addresses(&own, &[at("10.0.0.5")]).is_ok(), "its own may be private");
    assert!(hosts.check_addresses(&bucket, &[at("1.1.1.1")]).is_ok());
    let both = hosts.check_addresses(&bucket, &[at("1.1.1.1"), at("127.0.0.1")]);
    assert!(matches!(both, Err(DialError::Private(..))), "every address is checked");
    let trusting = SegmentHosts::new(&own, &["bucket.example".into()], true);
    assert!(trusting.check_addresses(&bucket, &[at("127.0.0.1")]).is_ok());
}

#[tokio::test]
async fn a_private_address_behind_a_listed_name_is_not_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = SegmentHosts::new(&origin("https://orch.example"), &["localhost".into()], false);
    let dialer = Dialer::new(Duration::from_secs(2)).unwrap();
    let to = origin(&format!("http://localhost:{port}/x"));
    let refused = dialer.dial_checked(&to, &hosts, Speak::H1).await.err();
    assert!(matches!(refused, Some(DialError::Private(..))), "{refused:?}");
    let knock = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(knock.is_err(), "nobody came");
}

#[tokio::test]
async fn a_self_signed_certificate_is_taken_and_its_fingerprint_told() {
    let made = rcgen::generate_simple_self_signed(vec!["whatever".into()]).unwrap();
    let expected: [u8; 32] = Sha256::digest(made.cert.der()).into();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = origin(&format!("https://{}", listener.local_addr().unwrap()));
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = acceptor.accept(tcp).await.unwrap();
        // What was sent before their end was seen still arrives there.
        let mut said = Vec::new();
        tls.read_to_end(&mut said).await.unwrap();
        tls.write_all(b"last words").await.unwrap();
        tls.shutdown().await.unwrap();
        said
    };
    let client = async {
        let mut dialled = Dialer::new(Duration::from_secs(5)).unwrap().dial(&to, Speak::H2).await.unwrap();
        assert_eq!(dialled.certificate, Some(Fingerprint(expected)));
        dialled.io.write_all(b"hello").await.unwrap();
        dialled.io.flush().await.unwrap();
        dialled.io.half_close().close();
        let mut heard = Vec::new();
        dialled.io.read_to_end(&mut heard).await.unwrap();
        assert_eq!(dialled.io.written().load(std::sync::atomic::Ordering::Relaxed), 5);
        heard
    };
    let (said, heard) = tokio::join!(server, client);
    assert_eq!((said.as_slice(), heard.as_slice()), (&b"hello"[..], &b"last words"[..]));
}

/// Answers requests one after another on one connection, then closes it.
async fn serve_once(listener: &TcpListener, answers: usize) {
    let (mut tcp, _) = listener.accept().await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..answers {
        while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
            assert_ne!(tcp.read_buf(&mut seen).await.unwrap(), 0, "cut short");
        }
        seen.clear();
        tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await.unwrap();
    }
}

#[tokio::test]
async fn a_kept_connection_serves_again_until_the_peer_closes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = origin(&format!("http://{}", listener.local_addr().unwrap()));
    let idle = Idle::new(4, Duration::from_secs(60));
    let dialer = Dialer::new(Duration::from_secs(2)).unwrap();
    let client = async {
        idle.put(&to, H1::new(dialer.dial(&to, Speak::H1).await.unwrap()).await.unwrap());
        for _ in 0..3 {
            let mut conn = idle.take(&to).expect("kept");
            let mut answer = conn.send(get()).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(conn.text(answer.body_mut(), 100).await, "OK");
            idle.put(&to, conn);
        }
    };
    tokio::join!(serve_once(&listener, 3), client);
    // The server closed it after the last answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(idle.take(&to).is_none(), "a closed connection is not handed out");
}
