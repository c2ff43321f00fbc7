//! A trickle server: numbered segments in channels, streamed to readers while they are written.
mod channel;
mod serve;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

pub use channel::{Channel, Writer};
pub(super) use serve::answer;

use super::tasks::Tasks;

/// Channels at once.
const MOST_CHANNELS: usize = 10_000;

/// The channels of one orchestrator. Cheap to clone. `100 Continue` while a POST has no first
/// byte is left out: hyper sends it once, when the client asks.
#[derive(Clone, Default)]
pub struct Trickle {
    channels: Arc<Mutex<HashMap<String, Arc<Channel>>>>,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    Segment(Received),
    /// 470: that segment is not there; the next to be written is `latest`.
    Missing {
        latest: i64,
    },
    Closed,
}

/// One segment, whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub number: i64,
    pub body: Bytes,
    /// When its first byte was there, and its last.
    pub first: Instant,
    pub last: Instant,
}

/// Reads a channel segment by segment; jumps to the newest where it fell behind.
pub struct Follower {
    channel: Arc<Channel>,
    next: i64,
    /// Segments that were jumped over.
    pub missed: u64,
}

// === impl Trickle ===

impl Trickle {
    pub(super) fn start(idle: Duration, tasks: &Tasks) -> Trickle {
        let trickle = Trickle::default();
        let swept = trickle.clone();
        tasks.spawn(async move {
            loop {
                sleep((idle / 5).max(Duration::from_millis(10))).await;
                swept.sweep(idle);
            }
        });
        trickle
    }

    /// Makes a channel, or finds it.
    pub fn open(&self, name: &str, mime: &str) -> Option<Arc<Channel>> {
        let mut channels = self.channels.lock();
        if channels.len() >= MOST_CHANNELS && !channels.contains_key(name) {
            return None;
        }
        let channel = channels.entry(name.to_owned()).or_insert_with(|| Arc::new(Channel::new(mime)));
        Some(channel.clone())
    }

    pub fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels.lock().get(name).cloned()
    }

    /// Ends a channel; whether there was one.
    pub fn close(&self, name: &str) -> bool {
        let found = self.channels.lock().remove(name);
        found.map(|channel| channel.close()).is_some()
    }

    pub fn names(&self) -> Vec<String> {
        self.channels.lock().keys().cloned().collect()
    }

    fn sweep(&self, idle: Duration) {
        let mut channels = self.channels.lock();
        channels.retain(|_, channel| {
            let stays = channel.idle() <= idle;
            if !stays {
                channel.close();
            }
            stays
        });
    }
}

// === impl Follower ===

impl Follower {
    pub fn new(channel: Arc<Channel>, next: i64) -> Follower {
        Follower { channel, next, missed: 0 }
    }

    /// `None`: the channel is closed. Empty segments are passed over.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            match self.channel.read(self.next).await {
                Read::Segment(segment) => {
                    self.next = segment.number + 1;
                    if !segment.body.is_empty() {
                        return Some(segment);
                    }
                }
                Read::Missing { latest } => {
                    self.missed += u64::try_from(latest - self.next).unwrap_or_default();
                    self.next = latest;
                }
                Read::Closed => return None,
            }
        }
    }
}
