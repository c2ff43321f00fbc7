//! The edge over real sockets and TLS: limits, strangers, floods, the way out.
mod edge;
mod floods;
mod leaving;
mod pair;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::serve::{Edge, EdgeStats, serve};
use super::tls::{ServerTls, provider};
use super::{Body, ConnectionInfo, EdgeLimits, Tasks, full};

const SECOND: Duration = Duration::from_secs(1);

struct Served {
    address: SocketAddr,
    tasks: Tasks,
    stats: Arc<EdgeStats>,
    _folder: tempfile::TempDir,
}

/// Takes any certificate, as stock workers do.
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

async fn start(limits: EdgeLimits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let tls = ServerTls::kept_in(folder.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, stats) = (Tasks::new(), Arc::new(EdgeStats::default()));
    let edge = Edge { tls, limits: Arc::new(limits), tasks: tasks.clone(), stats: stats.clone() };
    let stop = tasks.token();
    tasks.spawn("listener", serve(listener, edge, move |request| respond(request, stop.clone())));
    Served { address, tasks, stats, _folder: folder }
}

/// `/auth` shows a credential, `/wait` never answers, `/panic` panics, `/forever` streams without
/// end, `/until-stop` streams until the tasks are told to end.
async fn respond(request: Request<Incoming>, stop: tokio_util::sync::CancellationToken) -> Response<Body> {
    let info = request.extensions().get::<ConnectionInfo>().unwrap().clone();
    match request.uri().path() {
        "/auth" => info.authenticated(),
        "/wait" => std::future::pending().await,
        "/panic" => panic!("a planted panic"),
        "/forever" | "/until-stop" => {
            info.authenticated();
            let ends = request.uri().path() == "/until-stop";
            let first = http_body::Frame::data(Bytes::from_static(b"first"));
            let rest = async move {
                if !ends {
                    std::future::pending::<()>().await;
                }
                stop.cancelled().await;
                Ok(http_body::Frame::data(Bytes::from_static(b"last")))
            };
            use futures_util::StreamExt;
            let frames = futures_util::stream::iter([Ok(first)]).chain(futures_util::stream::once(rest));
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        _ => {}
    }
    Response::new(full("answer"))
}

async fn tls(address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
    try_tls(address, alpn).await.unwrap()
}

async fn try_tls(address: SocketAddr, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// An HTTP/2 client on its own connection; the handle ends when the connection does.
async fn h2(address: SocketAddr) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (client, connection) = h2::client::handshake(tls(address, "h2").await).await.unwrap();
    (client.ready().await.unwrap(), Tasks::new().spawn("client", connection))
}

async fn get(client: &h2::client::SendRequest<Bytes>, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
    let request = Request::get(format!("https://pool.test{path}")).body(()).unwrap();
    let mut client = client.clone().ready().await?;
    client.send_request(request, true)?.0.await
}

/// Sends bytes over a fresh HTTP/1.1 connection and reads until it is closed.
async fn h1(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = tls(address, "http/1.1").await;
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut all = Vec::new();
    // The end may be abrupt.
    let _ = timeout(3 * SECOND, stream.read_to_end(&mut all)).await.expect("the connection was not closed");
    String::from_utf8_lossy(&all).into_owned()
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < 3 * SECOND, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
