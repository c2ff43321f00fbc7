//! TLS for the worker port: a certificate from files, or one of our own that is made once.
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

/// Names of the pair that we make, in the data folder.
pub const CERTIFICATE_FILE: &str = "worker-cert.pem";
pub const KEY_FILE: &str = "worker-key.pem";

/// What a listener needs to speak TLS.
#[derive(Clone)]
pub struct ServerTls {
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, `AB:CD:...`.
    pub fingerprint: String,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    Io(PathBuf, io::Error),
    #[error("{path}: {cause}; it must be PEM", path = .0.display(), cause = .1)]
    Pem(PathBuf, rustls::pki_types::pem::Error),
    #[error("{path}: mode {mode:o} lets others read the key; run `chmod 600` on it", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    #[error("{path}: no certificate in it", path = .0.display())]
    Empty(PathBuf),
    #[error("{there} is there and {missing} is not; restore it, or remove both to have a new pair made",
        there = .0.display(), missing = .1.display())]
    Half(PathBuf, PathBuf),
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Makes ring the provider of everything that asks for a default; a second call changes nothing.
pub fn install_provider() {
    // An error means that one is installed already.
    let _ = ring::default_provider().install_default();
}

/// ring, by name: nothing here depends on the process's default.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

// === impl ServerTls ===

impl ServerTls {
    /// From PEM files: the chain and its key.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<ServerTls, TlsError> {
        let pem = |path: &Path, error: rustls::pki_types::pem::Error| match error {
            rustls::pki_types::pem::Error::Io(error) => TlsError::Io(path.into(), error),
            other => TlsError::Pem(path.into(), other),
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| pem(certificate, e))?;
        let mode = std::fs::metadata(key).map_err(|e| TlsError::Io(key.into(), e))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TlsError::Open(key.into(), mode));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| pem(key, e))?;
        let first = chain.first().ok_or_else(|| TlsError::Empty(certificate.into()))?;
        let fingerprint = fingerprint(first);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = 1;
        Ok(ServerTls { config: Arc::new(config), fingerprint })
    }

    /// The pair in the data folder; made there when it is missing. Stock workers accept any
    /// certificate, so its names do not matter.
    pub fn kept_in(folder: &Path) -> Result<ServerTls, TlsError> {
        let (certificate, key) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        match (certificate.exists(), key.exists()) {
            (true, true) => {}
            (true, false) => return Err(TlsError::Half(certificate, key)),
            // A key alone is what a crash between the two writes leaves.
            (false, _) => make_pair(&certificate, &key)?,
        }
        ServerTls::from_files(&certificate, &key)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate as people compare it.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let pairs: Vec<String> = Sha256::digest(certificate).iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

/// The key first: a certificate is only there when its key is.
fn make_pair(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let made = rcgen::generate_simple_self_signed(["openpool-proxy".to_owned(), "localhost".to_owned()])?;
    write_private(key, &made.signing_key.serialize_pem()).map_err(|e| TlsError::Io(key.into(), e))?;
    write_private(certificate, &made.cert.pem()).map_err(|e| TlsError::Io(certificate.into(), e))
}

/// Whole or not at all, readable by us alone.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
