//! A runner's certificate: none, one made at its start, or one that is given.
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerTls {
    Plain,
    /// For `localhost` and 127.0.0.1.
    SelfSigned,
    /// Both in PEM.
    Given {
        chain: String,
        key: String,
    },
}

pub(super) struct Pair {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificate: Vec<u8>,
}

// === impl Pair ===

impl Pair {
    pub(super) fn of(plan: &RunnerTls) -> io::Result<Option<Pair>> {
        let (chain, key) = match plan {
            RunnerTls::Plain => return Ok(None),
            RunnerTls::SelfSigned => {
                let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
                let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
                let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
                (vec![made.cert.der().clone()], key)
            }
            RunnerTls::Given { chain, key } => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?;
                (chain.map_err(io::Error::other)?, key)
            }
        };
        let certificate = chain.first().ok_or_else(|| io::Error::other("no certificate"))?.to_vec();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(io::Error::other)?;
        // uvicorn has no HTTP/2.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Pair { config: Arc::new(config), certificate }))
    }
}
