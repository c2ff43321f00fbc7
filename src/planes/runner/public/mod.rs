//! What orchestrators are told of the runner port: BYOC capabilities and live apps, and under
//! which addresses.
pub(super) mod byoc;
mod call;
pub(super) mod presence;

pub(super) use call::{Line, Said};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::live::LiveConfig;
use super::live::sessions::Sessions;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::OrchestratorName;
use presence::Presence;

/// An orchestrator as this plane needs it.
#[derive(Clone)]
pub struct Peer {
    pub name: OrchestratorName,
    pub url: Uri,
    pub secret: Arc<str>,
}

/// A BYOC capability that is registered at the orchestrators.
#[derive(Clone, Debug)]
pub struct ByocConfig {
    pub name: Arc<str>,
    pub description: String,
    /// At most so many jobs at once; None: all that the pool has.
    pub capacity: Option<u32>,
    /// `price_per_unit / price_scaling` a second.
    pub price_per_unit: i64,
    pub price_scaling: i64,
    pub currency: Currency,
}

/// What an orchestrator can read: any other word panics the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Currency {
    #[default]
    Wei,
    Eth,
    /// Only where the node has a price feed.
    Usd,
}

/// Times of what orchestrators are told.
#[derive(Clone, Copy, Debug)]
pub struct PublicTimes {
    /// A capacity must have stood so long before it is told.
    pub settle: Duration,
    /// So often all is registered again while nothing runs: frees slots that an orchestrator lost.
    pub every: Duration,
    /// So often even while jobs run.
    pub at_least_every: Duration,
    /// A capability that nobody here has is unregistered after this.
    pub gone_after: Duration,
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    /// One request to an orchestrator.
    pub call: Duration,
    /// An app is well for so long after its last runner left.
    pub health_grace: Duration,
    /// A BYOC stream, or an app's session, of which nothing was heard for so long is over.
    pub stream_idle: Duration,
    /// So often a BYOC stream's channels are looked at, whether they still stand.
    pub watch_every: Duration,
}

/// What the doorman and the registrars share.
pub(super) struct Public {
    pub(super) byoc: Vec<ByocConfig>,
    pub(super) apps: Vec<LiveConfig>,
    pub(super) url: String,
    pub(super) token: Option<Arc<str>>,
    pub(super) times: PublicTimes,
    pub(super) peers: Vec<Peer>,
    /// Whose requests they are that do not say.
    pub(super) first: OrchestratorName,
    pub(super) presence: Presence,
    pub(super) sessions: Sessions,
    /// Jobs that run, by capability.
    running: Mutex<HashMap<Arc<str>, u32>>,
}

/// A job that runs, while this lives.
pub(super) struct Busy {
    public: Arc<Public>,
    name: Arc<str>,
}

/// The address of a capability or an app, as it was found in a path.
pub(super) struct Found {
    pub(super) name: Arc<str>,
    pub(super) orchestrator: OrchestratorName,
    /// It showed the key of its orchestrator.
    pub(super) keyed: bool,
}

/// Between a name and its key in an address, and in place of what cannot stand there.
const MARK: char = '~';
/// Hex digits of a key.
const KEY: usize = 24;

// === impl Currency ===

impl Currency {
    pub const ALL: [Currency; 3] = [Currency::Wei, Currency::Eth, Currency::Usd];

    pub fn name(self) -> &'static str {
        match self {
            Currency::Wei => "wei",
            Currency::Eth => "eth",
            Currency::Usd => "usd",
        }
    }

    /// None: an orchestrator would not survive it.
    pub fn from_name(name: &str) -> Option<Currency> {
        match name.trim() {
            "" => Some(Currency::Wei),
            name => Currency::ALL.into_iter().find(|currency| currency.name().eq_ignore_ascii_case(name)),
        }
    }
}

// === impl PublicTimes ===

impl Default for PublicTimes {
    fn default() -> Self {
        PublicTimes {
            settle: Duration::from_secs(2),
            every: Duration::from_secs(60),
            at_least_every: Duration::from_secs(300),
            gone_after: Duration::from_secs(30),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(15),
            call: Duration::from_secs(5),
            health_grace: Duration::from_secs(60),
            stream_idle: Duration::from_secs(3600),
            watch_every: Duration::from_secs(15),
        }
    }
}

// === impl Public ===

impl Public {
    pub(super) fn new(parts: Parts) -> Public {
        let Parts { byoc, apps, url, token, times, peers, first, presence } = parts;
        let url = url.trim_end_matches('/').to_owned();
        let (sessions, running) = (Sessions::new(times.stream_idle), Mutex::default());
        Public { byoc, apps, url, token, times, peers, first, presence, sessions, running }
    }

    /// Where orchestrator `of` reaches a capability or an app: its name, and a key unless it is the
    /// one whose requests need none.
    pub(super) fn address(&self, pipeline: Pipeline, name: &str, of: &OrchestratorName) -> String {
        address(&self.url, self.token.as_deref(), &self.first, pipeline, name, of)
    }

    /// The same of an app, for who has no more than the settings.
    pub(super) fn app_address(
        url: &str,
        token: Option<&str>,
        first: &OrchestratorName,
        app: &str,
        of: &OrchestratorName,
    ) -> String {
        address(url.trim_end_matches('/'), token, first, Pipeline::App, app, of)
    }

    fn key(&self, pipeline: Pipeline, name: &str, of: &OrchestratorName) -> String {
        key(self.token.as_deref(), pipeline, name, of)
    }

    /// What a path's segment names. None: nothing that is known here.
    pub(super) fn find(&self, pipeline: Pipeline, segment: &str) -> Option<Found> {
        if let Some(name) = self.named(pipeline, segment) {
            return Some(Found { name, orchestrator: self.first.clone(), keyed: false });
        }
        let (bare, key) = segment.rsplit_once(MARK)?;
        let name = self.named(pipeline, bare)?;
        let of = self.peers.iter().map(|peer| &peer.name).chain([&self.first]);
        let same = |of: &&OrchestratorName| {
            bool::from(subtle::ConstantTimeEq::ct_eq(self.key(pipeline, &name, of).as_bytes(), key.as_bytes()))
        };
        let orchestrator = of.clone().find(same)?.clone();
        Some(Found { name, orchestrator, keyed: true })
    }

    fn named(&self, pipeline: Pipeline, bare: &str) -> Option<Arc<str>> {
        let fits = |name: &&Arc<str>| path_name(name) == bare;
        let configured = match pipeline {
            Pipeline::Byoc => self.byoc.iter().map(|one| &one.name).find(fits),
            _ => self.apps.iter().map(|one| &one.app).find(fits),
        };
        configured.cloned().or_else(|| {
            let now = self.presence.now();
            let mut present = now.keys().filter(|key| key.pipeline == pipeline).map(|key| &key.model);
            present.find(fits).cloned()
        })
    }

    /// Jobs at once that the pool takes now.
    pub(super) fn capacity(&self, pipeline: Pipeline, name: &str, most: Option<u32>) -> u32 {
        let have = self.presence.now().get(&ModelKey::new(pipeline, name)).copied().unwrap_or(0);
        have.min(most.unwrap_or(u32::MAX))
    }

    pub(super) fn busy(self: &Arc<Self>, name: &Arc<str>) -> Busy {
        *self.running.lock().entry(name.clone()).or_default() += 1;
        Busy { public: self.clone(), name: name.clone() }
    }

    pub(super) fn running(&self, name: &str) -> u32 {
        self.running.lock().get(name).copied().unwrap_or(0)
    }
}

/// What [`Public::new`] needs.
pub(super) struct Parts {
    pub(super) byoc: Vec<ByocConfig>,
    pub(super) apps: Vec<LiveConfig>,
    pub(super) url: String,
    pub(super) token: Option<Arc<str>>,
    pub(super) times: PublicTimes,
    pub(super) peers: Vec<Peer>,
    pub(super) first: OrchestratorName,
    pub(super) presence: Presence,
}

fn address(
    url: &str,
    token: Option<&str>,
    first: &OrchestratorName,
    pipeline: Pipeline,
    name: &str,
    of: &OrchestratorName,
) -> String {
    let kind = if pipeline == Pipeline::Byoc { "byoc" } else { "apps" };
    let bare = path_name(name);
    // An app's callers show nothing else.
    let open = pipeline == Pipeline::Byoc || token.is_none();
    if open && of == first {
        return format!("{url}/{kind}/{bare}");
    }
    format!("{url}/{kind}/{bare}{MARK}{}", key(token, pipeline, name, of))
}

/// Cannot be guessed where a token is set; else it only tells orchestrators apart.
fn key(token: Option<&str>, pipeline: Pipeline, name: &str, of: &OrchestratorName) -> String {
    let token = token.unwrap_or_default();
    let print = Sha256::digest(format!("{token}\0{pipeline}\0{name}\0{of}").as_bytes());
    print.iter().take(KEY / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// A name as one segment of a path: an app's may have slashes.
pub(super) fn path_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().map(|c| if plain(c) { c } else { MARK }).collect()
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut running = self.public.running.lock();
        if let Some(count) = running.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.name);
            }
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({} {}, secret masked)", self.name, self.url)
    }
}
