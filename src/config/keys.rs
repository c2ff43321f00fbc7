//! The table of keys: name, form, default, sentence. Reading, `config show`, the example file and the
//! suggestions are all driven by it, so that none can forget a key.
use super::fault::Wrong;
use super::file::{Written, WrittenOrchestrator};
use super::forms::{Commission, Flag, Form, Maybe, Money, Rate, Real, Seconds, Time, count, size};
use super::tree::Node;
use super::words::{
    Dial, Folder, Hosts, JoinModes, Listen, LogFilter, OrchestratorUrl, Page, SecretForm, Text, Version,
};

/// One key of `T`.
pub(super) struct Key<T> {
    /// `section.leaf`, or the leaf of an orchestrator.
    pub name: &'static str,
    pub sentence: &'static str,
    pub unit: &'static str,
    pub set: Set<T>,
    pub show: Show<T>,
}

/// Puts a node into its field, or says what is wrong with it; the name is the full one.
type Set<T> = Box<dyn Fn(&mut T, &str, &Node) -> Result<(), Wrong> + Send + Sync>;
/// The field as it would be written; None: not set.
type Show<T> = Box<dyn Fn(&T) -> Option<String> + Send + Sync>;

/// A section of the file and what it is for.
pub(super) struct Section {
    pub name: &'static str,
    pub sentence: &'static str,
    pub keys: Vec<Key<Written>>,
}

const MS: u64 = 1;
const S: u64 = 1_000;
const MIN: u64 = 60 * S;
const H: u64 = 60 * MIN;
const DAY: u64 = 24 * H;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

macro_rules! keys {
    ($target:ty; $($name:literal $($field:ident).+ = $form:expr, $sentence:literal;)*) => {
        vec![$(Key::new($name, $sentence, $form, |t: &$target| &t.$($field).+, |t: &mut $target| &mut t.$($field).+)),*]
    };
}

mod ai;
pub(super) use ai::runner_item;

const RUNNER: &str = "The port for AI over HTTP, which orchestrators point a URL at; open when `listen` is set or \
     `runners` are listed.";

/// Every section, in the order of the file. A section without a name holds top-level keys.
pub(super) fn sections() -> Vec<Section> {
    let section = |name, sentence, keys| Section { name, sentence, keys };
    vec![
        section("pool", "The pool: its name, what it takes, what a pixel earns.", pool()),
        section("workers", "The port that transcoders dial, and who may join.", workers()),
        section("uplink", "How we register at orchestrators.", uplink()),
        section("routing", "How a worker is chosen, and how its speed is learned.", routing()),
        section("retry", "When an attempt is given up, and when a worker rests.", retry()),
        section("limits", "What jobs and strangers may cost.", limits()),
        section("runner", RUNNER, ai::runner()),
        section("ai", "What AI jobs cost, and how long they may take.", ai::rules()),
        section("admin", "The operator's port: metrics, health, status.", admin()),
        section("journal", "How long decisions are kept for `explain`.", journal()),
        section("", "The process.", process()),
    ]
}

fn pool() -> Vec<Key<Written>> {
    keys! { Written;
        "pool.name" pool_name = Text(60), "What workers and reports call the pool. Required.";
        "pool.commission" rules.commission = Commission, "The pool's part of each fee; workers get the rest.";
        "pool.price" rules.price = Money("wei/pixel"), "What an orchestrator's fee is reckoned from; its own `price` goes before.";
        "pool.data" data = Folder, "Folder of ledger, roster, journal and the self-signed certificate.";
    }
}

pub(super) fn orchestrator() -> Vec<Key<WrittenOrchestrator>> {
    keys! { WrittenOrchestrator;
        "url" url = Maybe(OrchestratorUrl), "Where it listens: `host:port`, or `http://host:port` when it is behind somebody's TLS. Required.";
        "secret" secret = Maybe(SecretForm), "Its `-orchSecret`: `file:/path` (mode 600) or `env:NAME`. Required.";
        "name" name = Maybe(Text(60)), "What reports call it; without it `host:port` of its url.";
        "price" price = Maybe(Money("wei/pixel")), "Its own price; without it `pool.price`.";
        "segment_hosts" segment_hosts = Hosts, "Further hosts from which its segments may be fetched: its public address, its buckets.";
        "private_segment_hosts" private_segment_hosts = Flag, "Whether those hosts may lie in private or loopback networks.";
    }
}

fn workers() -> Vec<Key<Written>> {
    keys! { Written;
        "workers.listen" worker.listen = Listen, "The TLS port that transcoders dial as `-orchAddr`.";
        "workers.public_address" worker.public_address = Maybe(Dial), "`host:port` in segment addresses; without it the one that the worker dialled.";
        "workers.join" join = JoinModes, "Ways to join: `invite` (a token a worker), `open` (0xADDRESS.rig), `shared` (one pool secret).";
        "workers.shared_secret" shared_secret = Maybe(SecretForm), "The pool's secret of the `shared` mode: `file:/path` or `env:NAME`.";
        "workers.certificate" certificate = Maybe(Folder), "PEM file of the certificate chain; without it a self-signed one is made once.";
        "workers.key" key = Maybe(Folder), "PEM file of the certificate's private key.";
        "workers.help_url" worker.help_url = Maybe(Page), "Where people get help; ends the sentences that stock workers print.";
        "workers.open_capacity" rules.join.open_capacity = count(1, 10_000), "Sessions of an open worker until it has proven itself.";
        "workers.proven_after" rules.join.proven_after = count(0, 1_000_000), "Verified segments that prove an open worker.";
        "workers.most_capacity" rules.join.most_capacity = count(1, 10_000), "The most sessions that one registration may claim.";
        "workers.registrations_per_worker" rules.join.registrations_per_worker = count(1, 10_000), "Connections that one worker may hold.";
        "workers.registrations" rules.join.registrations = count(1, 1_000_000), "Connections of all workers together.";
        "workers.login_failures" rules.join.login_failures = count(1, 100_000), "Failed logins from one address before it is locked out.";
        "workers.lockout" rules.join.lockout = Time(S, DAY), "How long a lockout lasts.";
    }
}

fn uplink() -> Vec<Key<Written>> {
    keys! { Written;
        "uplink.registrations" uplink.registrations = count(1, 64), "Registrations an orchestrator, each on a TCP connection of its own.";
        "uplink.reregister_every" uplink.reregister_every = Time(S, DAY), "At least so long between re-registrations for a changed capacity.";
        "uplink.settle" uplink.settle = Time(0, 10 * MIN), "Wait for more workers after the first, before the first registration.";
        "uplink.connect_timeout" uplink.connect_timeout = Time(100 * MS, MIN), "A connection to an orchestrator must stand within.";
        "uplink.first_backoff" uplink.first_backoff = Time(10 * MS, MIN), "The first wait before dialling again.";
        "uplink.longest_backoff" uplink.longest_backoff = Time(100 * MS, H), "The longest wait before dialling again.";
        "uplink.result_connections" uplink.result_connections = count(1, 1_000), "The most connections that carry results to one orchestrator.";
        "uplink.fetch_timeout" uplink.fetch_timeout = Time(100 * MS, 10 * MIN), "A source segment must have arrived within.";
        "uplink.ping_every" uplink.ping_every = Time(S, 10 * MIN), "PING a registration this often.";
        "uplink.ping_timeout" uplink.ping_timeout = Time(100 * MS, 10 * MIN), "A registration is lost when no answer comes within.";
        "uplink.fallback_version" uplink.fallback_version = Version, "The version we tell when no worker tells one.";
    }
}

fn routing() -> Vec<Key<Written>> {
    keys! { Written;
        "routing.fairness" rules.route.fairness = Real(0.0, 1.5), "Weight of load against speed.";
        "routing.scan_limit" rules.route.scan_limit = count(1, 1_000_000), "All workers are compared up to this many eligible ones...";
        "routing.sample" rules.route.sample = count(2, 100_000), "...and above it so many random ones.";
        "routing.move_gain" rules.route.move_gain = Real(0.05, 1.0), "A session moves for a predicted time under this share of its present one.";
        "routing.move_dwell" rules.route.move_dwell = Time(0, H), "A session stays at least so long where it is.";
        "routing.move_rate" rules.route.move_rate = Real(0.01, 10_000.0), "Moves a second over the whole pool.";
        "routing.move_burst" rules.route.move_burst = Real(1.0, 100_000.0), "Moves at once over the whole pool.";
        "routing.session_idle" rules.route.session_idle = Time(S, DAY), "A session without segments for so long ends by itself.";
        "routing.slow_tau" rules.route.score.slow_tau = Seconds(S, DAY), "Time constant of the slow average of a worker's speed.";
        "routing.fast_tau" rules.route.score.fast_tau = Seconds(S, DAY), "Time constant of the fast one, which sees a worker slow down.";
        "routing.prior_weight" rules.route.score.prior_weight = Real(0.01, 1_000.0), "How many segments the fleet's average counts for at a new worker.";
        "routing.prior_factor" rules.route.score.prior_factor = Real(0.1, 10.0), "A new worker is taken for this times as slow as the fleet's median.";
        "routing.default_ratio" rules.route.score.default_ratio = Real(0.001, 100.0), "Seconds a unit of work where nobody has any data.";
        "routing.outcome_tau" rules.route.score.outcome_tau = Seconds(S, DAY), "Time constant of success and failure.";
    }
}

fn retry() -> Vec<Key<Written>> {
    keys! { Written;
        "retry.attempts" rules.retry.attempts = count(1, 20), "Workers that a segment may be given to.";
        "retry.answer_margin" rules.retry.answer_margin = Time(10 * MS, 5 * S), "An answer is on its way so long before the orchestrator's budget ends.";
        "retry.patience" rules.retry.patience = Real(1.0, 100.0), "An attempt goes elsewhere after this many times its predicted time...";
        "retry.least_patience" rules.retry.least_patience = Time(10 * MS, MIN), "...but never before this.";
        "retry.rest_after" rules.retry.rest_after = count(1, 1_000), "Failures in a row after which a worker rests.";
        "retry.rest" rules.retry.rest = Time(100 * MS, DAY), "The first rest; each further one is twice as long.";
        "retry.longest_rest" rules.retry.longest_rest = Time(100 * MS, 7 * DAY), "The longest rest.";
    }
}

fn limits() -> Vec<Key<Written>> {
    let mut all = keys! { Written;
        "limits.jobs" rules.limits.jobs = count(1, 1_000_000), "Segments in work over the whole pool.";
        "limits.waiting" rules.limits.waiting = count(0, 1_000_000), "Segments that wait for a worker.";
        "limits.shelf" rules.limits.shelf_bytes = size(MIB, 1024 * GIB), "Sources and results held at once.";
        "limits.source" rules.limits.source_bytes = size(64 * KIB, 16 * GIB), "The largest source segment.";
        "limits.part" rules.limits.part_bytes = size(64 * KIB, 16 * GIB), "The largest part of a result.";
        "limits.memory_limit" rules.limits.memory_limit = Maybe(size(64 * MIB, 1024 * GIB)), "Memory of the process: near it no connections, then no segments are taken; without it what its control group or the machine has.";
        "limits.memory" rules.limits.memory_bytes = size(64 * KIB, 16 * GIB), "A result beyond this goes to a temporary file.";
        "limits.longest_segment" rules.limits.longest_segment = Time(S, H), "Longer segments are refused.";
        "limits.downloads_per_lease" rules.limits.downloads_per_lease = count(1, 100), "How often a worker may fetch the segment it was given.";
    };
    all.extend(edge());
    all.extend(edge_h2());
    all
}

fn edge() -> Vec<Key<Written>> {
    keys! { Written;
        "limits.connections" edge.connections = count(1, 1_000_000), "Connections to the worker port.";
        "limits.connections_per_ip" edge.connections_per_ip = count(1, 1_000_000), "Connections from one address.";
        "limits.unauthenticated" edge.unauthenticated = count(1, 1_000_000), "Connections that have not shown a valid secret yet.";
        "limits.unauthenticated_per_ip" edge.unauthenticated_per_ip = count(1, 1_000_000), "The same from one address.";
        "limits.authenticate_within" edge.authenticate_within = Time(100 * MS, 10 * MIN), "From connect to a valid secret.";
        "limits.tls_handshake" edge.tls_handshake = Time(100 * MS, 10 * MIN), "A TLS handshake must end within.";
        "limits.h1_header_within" edge.h1_header = Time(100 * MS, 10 * MIN), "The header of an HTTP/1.1 request must have arrived within.";
        "limits.h1_header_size" edge.h1_header_bytes = size(8 * KIB, 16 * MIB), "The largest header of an HTTP/1.1 request.";
        "limits.h1_fields" edge.h1_fields = count(8, 10_000), "The most fields in it.";
        "limits.ping_every" edge.ping_every = Time(S, H), "PING a quiet worker this often.";
        "limits.ping_timeout" edge.ping_timeout = Time(100 * MS, 10 * MIN), "A worker is gone when no answer comes within.";
        "limits.idle" edge.idle = Time(S, DAY), "A connection with nothing open on it ends after.";
        "limits.body_gap" edge.body_gap = Time(100 * MS, 10 * MIN), "The longest silence within a body.";
        "limits.body_rate" edge.body_rate = Rate(1, GIB), "The least rate of a body after its first 5 s.";
    }
}

fn edge_h2() -> Vec<Key<Written>> {
    keys! { Written;
        "limits.h2_streams" edge.h2_streams = count(1, 100_000), "HTTP/2 streams on one connection.";
        "limits.h2_streams_unauthenticated" edge.h2_streams_unauthenticated = count(1, 100_000), "The same before a valid secret.";
        "limits.h2_header_list" edge.h2_header_list = size(KIB, 16 * MIB), "The largest header list.";
        "limits.h2_stream_window" edge.h2_stream_window = size(64 * KIB - 1, GIB), "Flow-control window of a stream.";
        "limits.h2_connection_window" edge.h2_connection_window = size(64 * KIB - 1, GIB), "Flow-control window of a connection.";
        "limits.h2_frame" edge.h2_frame = size(16 * KIB, 16 * MIB - 1), "The largest DATA frame that we invite.";
        "limits.h2_local_resets" edge.h2_local_resets = count(1, 100_000), "Streams reset for a peer's faults before its connection ends.";
        "limits.h2_pings_per_second" edge.h2_pings_per_second = count(1, 100_000), "PINGs a second that we answer.";
        "limits.h2_settings_per_second" edge.h2_settings_per_second = count(1, 100_000), "SETTINGS a second that we answer.";
    }
}

fn admin() -> Vec<Key<Written>> {
    keys! { Written;
        "admin.listen" admin.listen = Listen, "Where it listens; loopback only, since it asks for no password.";
    }
}

fn journal() -> Vec<Key<Written>> {
    keys! { Written;
        "journal.keep_days" journal.keep_days = count(1, 3_650), "Days after which a job's decisions are dropped.";
        "journal.keep_jobs" journal.keep_jobs = count(1_000, 1_000_000_000), "Jobs beyond which the oldest are dropped.";
    }
}

fn process() -> Vec<Key<Written>> {
    keys! { Written;
        "log" log = LogFilter, "What is logged: a level, or `info,openpool_proxy=debug`.";
        "drain" drain = Time(0, H), "How long the end waits for running segments.";
    }
}

// === impl Key ===

impl<T: 'static> Key<T> {
    fn new<F: Form>(
        name: &'static str,
        sentence: &'static str,
        form: F,
        get: fn(&T) -> &F::Value,
        get_mut: fn(&mut T) -> &mut F::Value,
    ) -> Key<T> {
        let unit = form.unit();
        let form = std::sync::Arc::new(form);
        let shower = form.clone();
        Key {
            name,
            sentence,
            unit,
            set: Box::new(move |target, name, node| {
                *get_mut(target) = form.read(name, node)?;
                Ok(())
            }),
            show: Box::new(move |target| shower.show(get(target))),
        }
    }

    /// The name without its section.
    pub(super) fn leaf(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    pub(super) fn secret(&self) -> bool {
        self.unit == "secret"
    }

    /// Whether its value is a list or a mapping.
    pub(super) fn structured(&self) -> bool {
        ["modes", "hosts", "models", "prices", "times"].contains(&self.unit)
    }
}
