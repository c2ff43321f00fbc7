//! A worker's part of a live video: the addresses that it has, and what it does with them.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::job::{Job, Role};
use super::{Inner, Live};
use crate::planes::runner::runners::Runner;

pub(super) struct Hand {
    pub(super) job: Arc<Job>,
    pub(super) runner: Arc<Runner>,
    /// What its addresses begin with.
    name: String,
    /// What its own numbers are short of the orchestrator's: it counts from 0.
    offsets: [i64; 4],
    /// It came after another, and its first segment has to say so.
    resets: [AtomicBool; 4],
    since: Instant,
    /// Its last sign of life, in ms since then.
    last: AtomicU64,
    /// Requests that are open.
    open: AtomicUsize,
    /// Another has its place: nothing of it may go on.
    replaced: AtomicBool,
    /// It says that it stops.
    left: AtomicBool,
    /// Segments that broke off.
    broken: Mutex<Vec<(Role, i64)>>,
    /// Bytes of video.
    pub(super) sent: AtomicU64,
    pub(super) made: AtomicU64,
}

/// Its addresses lead somewhere until this is dropped.
pub(super) struct Listed {
    pub(super) hand: Arc<Hand>,
    inner: Arc<Inner>,
}

/// An open request.
pub(super) struct Entered(pub(super) Arc<Hand>);

const MOST_BROKEN: usize = 16;

// === impl Live ===

impl Live {
    /// Fresh addresses for a worker, who goes on where the one before it ended.
    pub(super) fn list(&self, job: &Arc<Job>, runner: Arc<Runner>) -> Listed {
        let mut hand = Hand {
            job: job.clone(),
            runner,
            name: format!("{:032x}", rand::random::<u128>()),
            offsets: Default::default(),
            resets: Default::default(),
            since: Instant::now(),
            last: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            replaced: AtomicBool::new(false),
            left: AtomicBool::new(false),
            broken: Mutex::default(),
            sent: AtomicU64::new(0),
            made: AtomicU64::new(0),
        };
        for role in Role::ALL.into_iter().filter(|role| role.writes()) {
            hand.offsets[role as usize] = job.next(role);
            hand.resets[role as usize] = AtomicBool::new(job.next(role) > 0);
        }
        let hand = Arc::new(hand);
        self.inner.hands.write().insert(hand.name.as_str().into(), hand.clone());
        Listed { hand, inner: self.inner.clone() }
    }

    pub(super) fn hand(&self, name: &str) -> Option<Arc<Hand>> {
        self.inner.hands.read().get(name).cloned()
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.inner.hands.write().remove(self.hand.name.as_str());
    }
}

// === impl Hand ===

impl Hand {
    /// The address that it has for a channel.
    pub(super) fn address(&self, base: &str, role: Role) -> String {
        format!("{base}/ai/trickle/{}{}", self.name, role.end())
    }

    /// None: it has too many open.
    pub(super) fn enter(self: &Arc<Hand>, most: usize) -> Option<Entered> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(self.clone());
        self.touch();
        (before < most).then_some(entered)
    }

    pub(super) fn offset(&self, role: Role) -> i64 {
        self.offsets[role as usize]
    }

    /// Whether its next segment there is the first of a new writer; true once.
    pub(super) fn resets(&self, role: Role) -> bool {
        self.resets[role as usize].swap(false, Ordering::Relaxed)
    }

    pub(super) fn touch(&self) {
        let at = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(at, Ordering::Relaxed);
    }

    /// Its last sign of life.
    pub(super) fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.job.stir.notify_one();
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn broke(&self, role: Role, number: i64) {
        let mut broken = self.broken.lock();
        if broken.len() < MOST_BROKEN {
            broken.push((role, number));
        }
    }

    pub(super) fn take_broken(&self) -> Vec<(Role, i64)> {
        std::mem::take(&mut self.broken.lock())
    }
}

// === impl Entered ===

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
