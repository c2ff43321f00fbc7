//! Outgoing connections: TLS that takes any certificate and tells its fingerprint, plain TCP, and
//! addresses that were checked before they are dialled.
pub mod h1;
pub mod hosts;
mod io;
#[cfg(test)]
mod tests;
mod verify;

pub use io::{HalfClose, Io};

use super::ahead::Ahead;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, client::Resumption};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The most addresses of one host that are tried.
const MOST_ADDRESSES: usize = 4;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub tls: bool,
    /// Without the brackets of IPv6.
    pub host: Arc<str>,
    pub port: u16,
}

/// SHA-256 of the certificate that the peer showed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// What is spoken on a connection; over TLS it is offered by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speak {
    H1,
    H2,
}

/// Which certificates a peer may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Any, for peers that make a new one at every start.
    Any,
    /// One that an authority of this system signed for the peer's name.
    System,
    /// The one with this SHA-256.
    Pinned([u8; 32]),
}

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    h1: TlsConnector,
    h2: TlsConnector,
    timeout: Duration,
}

/// A connection that stands, TLS handshake included.
pub struct Dialled {
    pub io: Io,
    pub peer: SocketAddr,
    /// None in the clear.
    pub certificate: Option<Fingerprint>,
}

/// Why there is no connection. Texts name hosts, never paths or secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("the address is neither http:// nor https:// with a host")]
    Address,
    #[error("`{0}` is neither the orchestrator's own host nor one of its `segment_hosts`; add it there if it is right")]
    Host(String),
    #[error("`{0}` is at {1}, a private or special address; set `private_segment_hosts` if it is right")]
    Private(String, IpAddr),
    #[error("cannot find the address of `{0}`: {1}")]
    Resolve(String, String),
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, String),
    #[error("no TLS with {0}: {1}")]
    Tls(SocketAddr, String),
    #[error("{0} speaks `{1}` there, not HTTP/2")]
    Protocol(SocketAddr, String),
    #[error("no connection to `{0}` within {1:?}")]
    Timeout(String, Duration),
}

// === impl Origin ===

impl Origin {
    pub fn of(uri: &Uri) -> Result<Origin, DialError> {
        let (tls, usual) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(DialError::Address),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(DialError::Address)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Origin { tls, host: bare.to_ascii_lowercase().into(), port: uri.port_u16().unwrap_or(usual) })
    }

    /// `host:port`, as a `Host` header has it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Its addresses, unchecked.
    pub async fn resolve(&self, within: Duration) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let host = || self.host.to_string();
        let found = timeout(within, tokio::net::lookup_host((&*self.host, self.port))).await;
        match found {
            Ok(Ok(addresses)) => Ok(addresses.take(MOST_ADDRESSES).collect()),
            Ok(Err(why)) => Err(DialError::Resolve(host(), why.to_string())),
            Err(_) => Err(DialError::Timeout(host(), within)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

// === impl Dialer ===

impl Dialer {
    /// `timeout` is for the whole of resolving, connecting and shaking hands.
    pub fn new(timeout: Duration) -> Result<Dialer, rustls::Error> {
        Dialer::trusting(Trust::Any, timeout)
    }

    /// The same for peers that must show who they are.
    pub fn trusting(trust: Trust, timeout: Duration) -> Result<Dialer, rustls::Error> {
        Ok(Dialer { h1: connector(trust, b"http/1.1")?, h2: connector(trust, b"h2")?, timeout })
    }

    /// A connection to wherever the name leads: for hosts that the operator named.
    pub async fn dial(&self, origin: &Origin, speak: Speak) -> Result<Dialled, DialError> {
        let whole = async {
            let addresses = origin.resolve(self.timeout).await?;
            self.first(origin, &addresses, speak).await
        };
        timeout(self.timeout, whole).await.map_err(|_| self.late(origin))?
    }

    /// A connection to an address that `hosts` allows, the one that was checked.
    pub async fn dial_checked(
        &self,
        origin: &Origin,
        hosts: &hosts::SegmentHosts,
        speak: Speak,
    ) -> Result<Dialled, DialError> {
        let whole = async {
            hosts.check_host(origin)?;
            let addresses = origin.resolve(self.timeout).await?;
            hosts.check_addresses(origin, &addresses)?;
            self.first(origin, &addresses, speak).await
        };
        timeout(self.timeout, whole).await.map_err(|_| self.late(origin))?
    }

    fn late(&self, origin: &Origin) -> DialError {
        DialError::Timeout(origin.authority(), self.timeout)
    }

    /// The first address that answers.
    async fn first(&self, origin: &Origin, addresses: &[SocketAddr], speak: Speak) -> Result<Dialled, DialError> {
        let mut last = DialError::Resolve(origin.host.to_string(), "it has none".into());
        for address in addresses {
            match self.one(origin, *address, speak).await {
                Ok(dialled) => return Ok(dialled),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn one(&self, origin: &Origin, peer: SocketAddr, speak: Speak) -> Result<Dialled, DialError> {
        let refused = |why: std::io::Error| DialError::Connect(peer, why.to_string());
        let tcp = TcpStream::connect(peer).await.map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        if !origin.tls {
            return Ok(Dialled { io: Io::plain(tcp), peer, certificate: None });
        }
        let tls = |why: String| DialError::Tls(peer, why);
        let name = ServerName::try_from(origin.host.to_string()).map_err(|why| tls(why.to_string()))?;
        let connector = match speak {
            Speak::H1 => &self.h1,
            Speak::H2 => &self.h2,
        };
        let stream = connector.connect(name, Ahead::new(tcp)).await.map_err(|why| tls(why.to_string()))?;
        let (_, session) = stream.get_ref();
        if let Some(spoken) = session.alpn_protocol()
            && speak == Speak::H2
            && spoken != b"h2"
        {
            return Err(DialError::Protocol(peer, String::from_utf8_lossy(spoken).into_owned()));
        }
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|certificate| Fingerprint(Sha256::digest(certificate).into()));
        Ok(Dialled { io: Io::tls(stream), peer, certificate })
    }
}

fn connector(trust: Trust, alpn: &[u8]) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let pin = match trust {
        Trust::System => None,
        Trust::Any => Some(None),
        Trust::Pinned(pin) => Some(Some(pin)),
    };
    let mut config = match pin {
        None => builder.with_root_certificates(system_roots()),
        Some(pin) => {
            let verifier = Arc::new(verify::AnyCertificate::new(&provider, pin));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    // A resumed session tells the certificate of the first one; we want to see a restart.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Those that can be read; a system without any lets no certificate pass.
fn system_roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    /// The first 16 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Polls a connection's driver along with what is wanted of the connection, so that it lives and
/// dies with its user and nothing is spawned for it.
pub async fn driven<D, F>(driver: &mut Option<D>, future: F) -> F::Output
where
    D: Future + Unpin,
    F: Future,
{
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Some(running) = driver
            && Pin::new(running).poll(cx).is_ready()
        {
            *driver = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}
