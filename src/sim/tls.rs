//! TLS as go-livepeer does it: a certificate made at every start, and clients that accept any.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which HTTP a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alpn {
    H1,
    H2,
    /// Whatever the server likes best.
    Either,
}

#[derive(Debug)]
struct AnyCertificate(CryptoProvider);

/// Dials with any certificate accepted. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dialer {
    h1: TlsConnector,
    h2: TlsConnector,
    either: TlsConnector,
}

/// A self-signed certificate of this start, h2 and http/1.1.
pub(super) fn server_config() -> io::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).map_err(io::Error::other)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

// === impl Dialer ===

impl Dialer {
    pub(super) fn new() -> io::Result<Dialer> {
        let connector = |alpn: &[&[u8]]| -> io::Result<TlsConnector> {
            let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(ring::default_provider())))
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            Ok(TlsConnector::from(Arc::new(config)))
        };
        let (h1, h2): (&[u8], &[u8]) = (b"http/1.1", b"h2");
        Ok(Dialer { h1: connector(&[h1])?, h2: connector(&[h2])?, either: connector(&[h2, h1])? })
    }

    /// One new connection; h2 is demanded, as Go's clients do.
    pub(super) async fn dial(&self, to: SocketAddr, alpn: Alpn) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let connector = match alpn {
            Alpn::H1 => &self.h1,
            Alpn::H2 => &self.h2,
            Alpn::Either => &self.either,
        };
        let tls = connector.connect(ServerName::IpAddress(to.ip().into()), tcp).await?;
        match (alpn, tls.get_ref().1.alpn_protocol()) {
            (Alpn::H2, chosen) if chosen != Some(b"h2") => Err(io::Error::other("the server did not choose h2")),
            _ => Ok(tls),
        }
    }
}

// === impl AnyCertificate ===

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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
