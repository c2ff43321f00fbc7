//! Failed logins: counted by (address, id), locked out for a while when there are too many.
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use dashmap::DashMap;
use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::domain::time::Moment;

/// Who knocks: the address (IPv6 by its /64) and the public part of the credential.
type Key = (IpAddr, u64);
type Limiter = RateLimiter<Key, DashMapStateStore<Key>, DefaultClock>;

/// The most keys that are remembered.
const KEYS: usize = 100_000;

pub struct Lockouts {
    failures: Limiter,
    locked: DashMap<Key, Moment>,
    lockout: Duration,
}

// === impl Lockouts ===

impl Lockouts {
    /// `failures` at once, or over `lockout`, are let pass.
    pub fn new(failures: u32, lockout: Duration) -> Lockouts {
        let burst = NonZeroU32::new(failures).unwrap_or(NonZeroU32::MIN);
        let period = (lockout / burst.get()).max(Duration::from_millis(1));
        let quota = Quota::with_period(period).unwrap_or(Quota::per_minute(burst)).allow_burst(burst);
        Lockouts { failures: RateLimiter::dashmap(quota), locked: DashMap::new(), lockout }
    }

    /// How long this one is still locked out.
    pub fn locked(&self, peer: IpAddr, id: &str, now: Moment) -> Option<Duration> {
        // The map is empty but for attackers: the usual login pays one look at its length.
        if self.locked.is_empty() {
            return None;
        }
        let until = *self.locked.get(&key(peer, id))?;
        (until > now).then(|| until.since(now))
    }

    pub fn failed(&self, peer: IpAddr, id: &str, now: Moment) {
        let key = key(peer, id);
        if self.failures.check_key(&key).is_err() && self.locked.len() < KEYS {
            self.locked.insert(key, now + self.lockout);
        }
    }

    /// Forgets what is over.
    pub fn sweep(&self, now: Moment) {
        self.locked.retain(|_, until| *until > now);
        self.failures.retain_recent();
    }
}

fn key(peer: IpAddr, id: &str) -> Key {
    let net = match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    };
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (net, hash)
}
