//! The boundary: the port asks the doorman what becomes of a request, and tells a guard how it went.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::upstreams::peer::HttpPeer;

use super::answer::Answer;
use super::body::Prelude;
use super::config::RunnerLimits;
use super::route::Route;

/// Decides what becomes of requests. Its futures are dropped when the client leaves.
#[async_trait]
pub trait Doorman: Send + Sync + 'static {
    /// What must have been read before [`Doorman::admit`] can decide.
    fn need(&self, route: &Route<'_>, head: &Parts) -> Need {
        Need::usual(route, head)
    }

    async fn admit(&self, ask: Ask<'_>) -> Decision;
}

/// What is read of a body before the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it streams to whom it goes to; a retry is possible while 64 KiB are not passed.
    Nothing,
    /// All of it in memory, at most `most_json_bytes`, a form `most_form_in_memory`; any retry is
    /// possible.
    Whole,
    /// All of it in a file of ours, at most `most_form_bytes`. Forwarded it must fit into
    /// `most_form_in_memory`.
    Spool,
}

/// A request before the decision.
pub struct Ask<'a> {
    pub route: Route<'a>,
    pub head: &'a Parts,
    pub body: Prelude,
    pub client: Option<SocketAddr>,
}

pub enum Decision {
    Forward(Forward),
    Answer(Answer),
    /// Close the connection without a word.
    Close,
}

/// Where a request goes, and on what terms.
pub struct Forward {
    pub upstream: Arc<Upstream>,
    /// Path and query for the runner; None: as they came.
    pub path: Option<String>,
    /// The runner's own token; the caller's never passes.
    pub token: Option<Arc<str>>,
    pub passing: Passing,
    /// In place of the body that came. Only where that was read whole.
    pub body: Option<Bytes>,
    /// The longest silence of this runner; None: `RunnerLimits::silence`.
    pub silence: Option<Duration>,
    pub guard: Box<dyn Guard>,
}

/// Which of the caller's headers the runner sees; never hop-by-hop ones, never `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// Content-Type, Content-Length, Accept.
    Few,
    /// These, and `X-Stream-Id`.
    Stream,
    /// All, and WebSocket upgrades.
    All,
    /// Few, and those of trickle; interim answers come back. `reset`: the writer is a new one.
    Trickle { reset: bool },
}

/// Watches one attempt. Dropped without a last word: the attempt failed.
#[async_trait]
pub trait Guard: Send + Sync {
    /// The head of the runner's answer, before anything of it went down.
    fn answered(&mut self, _status: StatusCode, _headers: &HeaderMap) -> Verdict {
        Verdict::Pass
    }

    /// What the head of the answer shall say besides, on its way down.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }

    /// Asked before bytes of the request's body go to the runner; an error ends the request.
    fn may_send(&self) -> Result<(), String> {
        Ok(())
    }

    /// These bytes of the request's body go to the runner.
    fn sent(&mut self, _bytes: &Bytes) {}

    /// A piece of the answer's body on its way down; after [`Verdict::Rewrite`] it may be changed.
    /// An error cuts the answer off.
    fn received(&mut self, _chunk: &mut Option<Bytes>, _end: bool) -> Result<(), String> {
        Ok(())
    }

    /// The runner broke off in the middle: what still goes down, so that its reader finds an end.
    fn last_words(&mut self) -> Option<Bytes> {
        None
    }

    /// The attempt failed and the client has seen nothing of it: what now? When `why.again` is
    /// false, only an answer is possible.
    async fn failed(self: Box<Self>, why: Failure) -> Decision;

    /// The answer has begun and ended; or the client left.
    fn finished(self: Box<Self>, end: End);
}

/// What a guard thinks of a runner's answer by its head.
#[derive(Debug)]
pub enum Verdict {
    Pass,
    /// Passes, but its length may change.
    Rewrite,
    /// It does not go down: the attempt failed.
    Refuse(String),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub text: String,
    /// Whether another runner can still be asked: the body can be sent again, and tries are left.
    pub again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// It showed another certificate than the pinned one.
    Pin,
    /// It was silent for too long.
    Silent,
    /// The connection broke before an answer.
    Broken,
    /// It answered so that the caller must not see it.
    Answered(StatusCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All of the answer went down.
    Whole,
    ClientLeft,
    /// The runner broke off in the middle.
    Cut(String),
}

/// An HTTP runner's address.
#[derive(Clone)]
pub struct Upstream {
    pub host: String,
    pub(super) peer: HttpPeer,
    pub(super) pin: Option<[u8; 32]>,
}

/// How we know that it is the right runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Plain HTTP: we do not.
    Plain,
    /// A certificate for this name by an authority of the system.
    Name(String),
    /// The certificate with this SHA-256, whatever it says. The name is for SNI.
    Pin { name: String, sha256: [u8; 32] },
    /// Any certificate: orchestrators sign their own. The name is for SNI.
    Any { name: String },
}

// === impl Need ===

impl Need {
    /// JSON is read whole (the model is in it), all else streams.
    pub fn usual(route: &Route<'_>, head: &Parts) -> Need {
        match route {
            Route::Pipeline { .. } if is_form(head) => Need::Nothing,
            Route::Pipeline { .. } => Need::Whole,
            _ => Need::Nothing,
        }
    }
}

pub(super) fn is_form(head: &Parts) -> bool {
    let kind = head.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

// === impl Upstream ===

impl Upstream {
    /// `host` goes into the Host header.
    pub fn new(address: SocketAddr, host: &str, trust: Trust, limits: &RunnerLimits) -> Upstream {
        let verified = !matches!(trust, Trust::Pin { .. } | Trust::Any { .. });
        let (tls, name, pin) = match trust {
            Trust::Plain => (false, String::new(), None),
            Trust::Name(name) | Trust::Any { name } => (true, name, None),
            Trust::Pin { name, sha256 } => (true, name, Some(sha256)),
        };
        let mut peer = HttpPeer::new(address, tls, name);
        peer.options.verify_cert = verified;
        peer.options.verify_hostname = verified;
        peer.options.connection_timeout = Some(limits.connect_within);
        peer.options.total_connection_timeout = Some(limits.connect_within * 2);
        peer.options.write_timeout = Some(limits.body_gap);
        peer.options.idle_timeout = Some(limits.upstream_idle);
        // Connections that were trusted by another pin are not this runner's.
        if let Some([a, b, c, d, e, f, g, h, ..]) = pin {
            peer.group_key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        }
        Upstream { host: host.to_owned(), peer, pin }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("host", &self.host)
            .field("pinned", &self.pin.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
