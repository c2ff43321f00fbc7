//! A simulated transcoder that keeps go-livepeer's rules, with an own way of working or failing.
pub(super) mod http;
mod job;
pub(super) mod register;
mod transcode;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use super::library::Library;
use super::tasks::Tasks;
use super::tls::Dialer;
use crate::domain::capability::DEFAULT_BITS;
use crate::domain::ids::Address;

/// What it is and does.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    pub name: String,
    pub secret: String,
    pub capacity: i64,
    /// The fork's `ethereum_address`.
    pub address: Option<Address>,
    /// Transcoding time / duration of a segment.
    pub ratio: f64,
    /// Jobs at once before each gets slower.
    pub knee: u32,
    pub behaviour: Behaviour,
    pub transcode: Transcode,
    pub version: String,
    /// One word of capability bits.
    pub bits: u64,
    pub seed: u64,
    /// How long a hanging job hangs before its late answer.
    pub hang: Duration,
    /// The stock back-off between registrations.
    pub first_backoff: Duration,
    pub longest_backoff: Duration,
    pub library: Library,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    Honest,
    /// Answers this share of its jobs with an error.
    Fails {
        rate: f64,
    },
    /// Answers this share of its jobs much too late.
    Hangs {
        rate: f64,
    },
    /// Reports four times the pixels that it made.
    Cheats,
    /// Stops in the middle of every upload.
    Stalls,
    /// Returns the source as if it were each rendition.
    Echoes,
    /// Loses all its connections in the middle of this share of its jobs.
    Dies {
        rate: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transcode {
    /// Answers by the library, after the time that its ratio says.
    Prepared,
    /// Really transcodes, by the machine's ffmpeg.
    Ffmpeg,
}

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerCounters {
    /// Registrations that were sent.
    pub attempts: u64,
    pub jobs: u64,
    pub running: u32,
    pub most_at_once: u32,
    /// Results and error results that were answered 200.
    pub taken: u64,
    /// Answered otherwise.
    pub refused: u64,
    /// Not answered at all.
    pub lost: u64,
    pub ended_sessions: u64,
    pub last_refusal: Option<String>,
    /// How the last registration ended.
    pub last_ending: Option<String>,
    /// Why it ended for good: stays up, idle and unregistered.
    pub retired: Option<String>,
}

/// A running worker; dropping it stops it.
pub struct SimWorker {
    shared: Arc<Shared>,
}

struct Shared {
    plan: WorkerPlan,
    /// Where it dials; segments lie where their address says.
    pool: SocketAddr,
    dialer: Dialer,
    downloads: http::Downloads,
    chance: Mutex<SmallRng>,
    counters: Counters,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    jobs: AtomicU64,
    running: AtomicU32,
    most_at_once: AtomicU32,
    taken: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    ended_sessions: AtomicU64,
    words: Mutex<Words>,
}

#[derive(Debug, Default)]
struct Words {
    refusal: Option<String>,
    ending: Option<String>,
    retired: Option<String>,
}

// === impl WorkerPlan ===

impl WorkerPlan {
    /// Honest, ten sessions, five times as fast as real time.
    pub fn new(name: &str, secret: &str) -> WorkerPlan {
        WorkerPlan {
            name: name.to_owned(),
            secret: secret.to_owned(),
            capacity: 10,
            address: None,
            ratio: 0.2,
            knee: u32::MAX,
            behaviour: Behaviour::Honest,
            transcode: Transcode::Prepared,
            version: "0.9.1-sim".into(),
            bits: DEFAULT_BITS,
            seed: 1,
            hang: Duration::from_secs(20),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(60),
            library: Library::samples(),
        }
    }
}

// === impl SimWorker ===

impl SimWorker {
    /// Registers at `pool`, and again whenever a registration ends, as a stock worker would.
    pub fn start(pool: SocketAddr, plan: WorkerPlan) -> io::Result<SimWorker> {
        let dialer = Dialer::new()?;
        let shared = Arc::new(Shared {
            chance: Mutex::new(SmallRng::seed_from_u64(plan.seed)),
            downloads: http::Downloads::new(dialer.clone()),
            dialer,
            pool,
            plan,
            counters: Counters::default(),
            tasks: Tasks::default(),
        });
        shared.tasks.spawn(register::live(shared.clone()));
        Ok(SimWorker { shared })
    }

    pub fn plan(&self) -> &WorkerPlan {
        &self.shared.plan
    }

    pub fn counters(&self) -> WorkerCounters {
        self.shared.counters.read()
    }

    /// Ends at once; connections are cut.
    pub async fn stop(&self) {
        self.shared.tasks.end();
        self.shared.tasks.idle().await;
    }
}

impl Drop for SimWorker {
    fn drop(&mut self) {
        self.shared.tasks.end();
    }
}

// === impl Shared ===

impl Shared {
    fn rolls(&self, rate: f64) -> bool {
        self.chance.lock().random::<f64>() < rate
    }
}

// === impl Counters ===

impl Counters {
    fn read(&self) -> WorkerCounters {
        let words = self.words.lock();
        WorkerCounters {
            attempts: self.attempts.load(Relaxed),
            jobs: self.jobs.load(Relaxed),
            running: self.running.load(Relaxed),
            most_at_once: self.most_at_once.load(Relaxed),
            taken: self.taken.load(Relaxed),
            refused: self.refused.load(Relaxed),
            lost: self.lost.load(Relaxed),
            ended_sessions: self.ended_sessions.load(Relaxed),
            last_refusal: words.refusal.clone(),
            last_ending: words.ending.clone(),
            retired: words.retired.clone(),
        }
    }
}
