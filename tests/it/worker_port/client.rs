//! A worker's side of the wire, byte by byte, sharing nothing with the server but TLS.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::Request;
use openpool_proxy::domain::ai::ModelOffer;
use openpool_proxy::domain::capability::Capabilities;
use openpool_proxy::transport::Tasks;
use openpool_proxy::transport::tls::provider;
use openpool_proxy::wire::messages::{pb, write_ai_register, write_register};
use prost::Message;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

async fn tls(address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// One request over HTTP/1.1: status and body.
pub async fn h1(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, Vec<u8>) {
    let mut stream = tls(address, "http/1.1").await;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    let request = if headers.contains("Connection") { request.replace("Connection: close\r\n", "") } else { request };
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = timeout(WAIT, stream.read_to_end(&mut all)).await.expect("the connection was not closed");
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{all:?}"));
    let status = std::str::from_utf8(&all[9..12]).unwrap().parse().unwrap();
    assert_eq!(
        all.windows(10).filter(|w| w.starts_with(b"HTTP/1.1 ") && w[9].is_ascii_digit()).count(),
        1,
        "one answer"
    );
    (status, all[end + 4..].to_vec())
}

/// An HTTP/2 connection.
pub struct Client {
    send: SendRequest<Bytes>,
    address: SocketAddr,
}

/// A stream of notices.
pub struct Registration {
    body: h2::RecvStream,
    buffer: BytesMut,
    pub trailers_only: bool,
    status: Option<(i32, String)>,
}

/// A result on its way.
pub struct Upload {
    answer: h2::client::ResponseFuture,
    stream: h2::SendStream<Bytes>,
}

pub struct Notice {
    pub url: String,
    pub task: i64,
    pub orch: String,
    pub raw: Bytes,
}

impl Client {
    pub async fn dial(address: SocketAddr) -> Client {
        let (send, connection) = h2::client::handshake(tls(address, "h2").await).await.unwrap();
        Tasks::new().spawn("client", async move {
            let _ = connection.await;
        });
        Client { send: send.ready().await.unwrap(), address }
    }

    fn request(&self, path: &str) -> http::request::Builder {
        Request::post(format!("https://{}{path}", self.address))
    }

    pub async fn open(&self, path: &str, headers: &[(&'static str, String)]) -> Upload {
        let request = self.request(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let mut send = self.send.clone().ready().await.unwrap();
        let (answer, stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        Upload { answer, stream }
    }

    /// Posts a result: status and text.
    pub async fn post(&self, headers: &[(&'static str, String)], body: &[u8]) -> (u16, String) {
        self.post_to("/transcodeResults", headers, body).await
    }

    pub async fn post_to(&self, path: &str, headers: &[(&'static str, String)], body: &[u8]) -> (u16, String) {
        let mut upload = self.open(path, headers).await;
        // Refused in the middle when the answer came early.
        let _ = upload.stream.send_data(Bytes::copy_from_slice(body), true);
        upload.answer().await.expect("an answer")
    }

    /// Posts the beginning of a result, then stops, or resets the stream.
    pub async fn post_part(&self, headers: &[(&'static str, String)], body: &[u8], reset: bool) -> Option<u16> {
        let mut upload = self.open("/transcodeResults", headers).await;
        upload.send(body);
        if reset {
            tokio::time::sleep(Duration::from_millis(100)).await;
            upload.reset();
        }
        upload.answer().await.map(|(status, _)| status)
    }

    pub async fn register(&self, secret: &str, capacity: i64, caps: Option<&Capabilities>) -> Registration {
        let message = match caps {
            Some(caps) => write_register(secret, capacity, caps),
            None => {
                pb::RegisterRequest { secret: secret.into(), capacity, ..Default::default() }.encode_to_vec().into()
            }
        };
        self.call("/net.Transcoder/RegisterTranscoder", &message).await
    }

    pub async fn register_ai(&self, secret: &str, models: &[ModelOffer]) -> Registration {
        self.call("/net.AIWorker/RegisterAIWorker", &write_ai_register(secret, models, "0.8.8", &[])).await
    }

    /// A call's status.
    pub async fn grpc(&self, path: &str, message: &[u8]) -> (i32, String) {
        self.call(path, message).await.end().await
    }

    async fn call(&self, path: &str, message: &[u8]) -> Registration {
        let request = self.request(path).header("content-type", "application/grpc").header("te", "trailers");
        let mut send = self.send.clone().ready().await.unwrap();
        let (answer, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        let mut bytes = vec![0];
        bytes.extend((message.len() as u32).to_be_bytes());
        bytes.extend(message);
        let _ = stream.send_data(bytes.into(), true);
        let answer = timeout(WAIT, answer).await.expect("no headers").unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].as_bytes()),
            (200, &b"application/grpc"[..])
        );
        let trailers_only = answer.headers().contains_key("grpc-status");
        let status = trailers_only.then(|| status(answer.headers()));
        Registration { body: answer.into_body(), buffer: BytesMut::new(), trailers_only, status }
    }
}

impl Upload {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.send_data(Bytes::copy_from_slice(bytes), false).unwrap();
    }

    pub fn end(&mut self) {
        self.stream.send_data(Bytes::new(), true).unwrap();
    }

    pub fn reset(&mut self) {
        self.stream.send_reset(h2::Reason::CANCEL);
    }

    /// Status and text; None when there is no answer but a reset.
    pub async fn answer(self) -> Option<(u16, String)> {
        let mut answer = timeout(WAIT, self.answer).await.expect("no answer").ok()?;
        let mut text = Vec::new();
        while let Some(Ok(bytes)) = answer.body_mut().data().await {
            let _ = answer.body_mut().flow_control().release_capacity(bytes.len());
            text.extend_from_slice(&bytes);
        }
        Some((answer.status().as_u16(), String::from_utf8(text).unwrap()))
    }
}

impl Registration {
    pub async fn notice(&mut self) -> Notice {
        let raw = self.message().await;
        let notice = pb::NotifySegment::decode(raw.clone()).unwrap();
        Notice { url: notice.url, task: notice.task_id, orch: notice.orch_id, raw }
    }

    pub async fn message(&mut self) -> Bytes {
        loop {
            if let [0, a, b, c, d, rest @ ..] = &self.buffer[..] {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                if rest.len() >= length {
                    return self.buffer.split_to(5 + length).freeze().slice(5..);
                }
            }
            let bytes = self.body.data().await.expect("the stream ended").unwrap();
            self.body.flow_control().release_capacity(bytes.len()).unwrap();
            self.buffer.extend_from_slice(&bytes);
        }
    }

    /// The status with which the stream ends, as grpc-go reads it.
    pub async fn end(&mut self) -> (i32, String) {
        if let Some(status) = self.status.take() {
            return status;
        }
        let ending = async {
            while let Some(bytes) = self.body.data().await {
                if let Err(error) = bytes {
                    let canceled = error.reason() == Some(h2::Reason::CANCEL);
                    return (if canceled { 1 } else { 14 }, error.to_string());
                }
            }
            match self.body.trailers().await {
                Ok(Some(trailers)) => status(&trailers),
                other => panic!("no trailers: {other:?}"),
            }
        };
        timeout(WAIT, ending).await.expect("the stream did not end")
    }
}

fn status(headers: &http::HeaderMap) -> (i32, String) {
    let text = headers.get("grpc-message").map(|value| value.to_str().unwrap().replace("%20", " ")).unwrap_or_default();
    (headers["grpc-status"].to_str().unwrap().parse().unwrap(), text)
}
