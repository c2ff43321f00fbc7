//! Who may connect: totals, by address, and how many may be strangers at a time.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::limits::EdgeLimits;
use crate::telemetry;

/// What happened at the edge, counted since the start.
#[derive(Debug, Default)]
pub struct EdgeStats {
    pub accepted: AtomicU64,
    /// Connections that are open now.
    pub open: AtomicU64,
    /// Closed at once: too many in all, or from one address.
    pub full: AtomicU64,
    pub full_address: AtomicU64,
    /// Waited in vain for a place among the not yet authenticated.
    pub full_strangers: AtomicU64,
    /// No TLS, old TLS, half a handshake.
    pub bad_handshakes: AtomicU64,
    /// No valid credential in time.
    pub never_authenticated: AtomicU64,
    pub floods: AtomicU64,
    pub accept_errors: AtomicU64,
    /// Closed at once, or while unknown, because memory ran short.
    pub no_memory: AtomicU64,
    /// Told by the app, read at the door.
    pub pressure: Pressure,
}

/// How full our memory is, in percent.
#[derive(Debug, Default)]
pub struct Pressure(watch::Sender<u8>);

/// From so many percent no connection is let in, and strangers must go.
const NO_CONNECTIONS: u8 = 80;
const NO_STRANGERS: u8 = 95;

/// The door of one listener.
pub(super) struct Door {
    limits: Arc<EdgeLimits>,
    pub(super) stats: Arc<EdgeStats>,
    strangers: Arc<Semaphore>,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    total: usize,
    by_net: HashMap<IpAddr, Net>,
}

/// Connections of one address (IPv6: of one /64).
struct Net {
    connections: usize,
    strangers: Arc<Semaphore>,
}

/// A connection that was let in; leaves on drop.
pub(super) struct Guest {
    door: Arc<Door>,
    net: IpAddr,
    strangers: Arc<Semaphore>,
}

/// A place among the not yet authenticated; given back on drop.
pub(super) struct Stranger {
    _total: OwnedSemaphorePermit,
    _net: OwnedSemaphorePermit,
}

// === impl Pressure ===

impl Pressure {
    pub fn set(&self, percent: u8) {
        self.0.send_replace(percent);
    }

    fn is_high(&self) -> bool {
        *self.0.borrow() >= NO_CONNECTIONS
    }

    /// Waits until a connection without a credential must go.
    pub(super) async fn sheds_strangers(&self) {
        let mut level = self.0.subscribe();
        if level.wait_for(|percent| *percent >= NO_STRANGERS).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

// === impl EdgeStats ===

impl EdgeStats {
    pub(super) fn count(counter: &AtomicU64, event: &'static str) {
        counter.fetch_add(1, Ordering::Relaxed);
        telemetry::edge(event);
    }

    fn opened(&self) {
        telemetry::edge_open(self.open.fetch_add(1, Ordering::Relaxed) + 1);
    }

    fn closed(&self) {
        telemetry::edge_open(self.open.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
    }
}

// === impl Door ===

impl Door {
    pub(super) fn new(limits: Arc<EdgeLimits>, stats: Arc<EdgeStats>) -> Arc<Door> {
        let strangers = Arc::new(Semaphore::new(limits.unauthenticated));
        Arc::new(Door { limits, stats, strangers, inside: Mutex::default() })
    }

    /// None: close it at once.
    pub(super) fn enter(self: &Arc<Door>, address: IpAddr) -> Option<Guest> {
        if self.stats.pressure.is_high() {
            EdgeStats::count(&self.stats.no_memory, "no_memory");
            return None;
        }
        let net = net_of(address);
        let mut inside = self.inside.lock();
        if inside.total >= self.limits.connections {
            EdgeStats::count(&self.stats.full, "full");
            return None;
        }
        let most = self.limits.unauthenticated_per_ip;
        let entry = inside
            .by_net
            .entry(net)
            .or_insert_with(|| Net { connections: 0, strangers: Arc::new(Semaphore::new(most)) });
        if entry.connections >= self.limits.connections_per_ip {
            EdgeStats::count(&self.stats.full_address, "full_address");
            if entry.connections == 0 {
                inside.by_net.remove(&net);
            }
            return None;
        }
        entry.connections += 1;
        let strangers = entry.strangers.clone();
        inside.total += 1;
        EdgeStats::count(&self.stats.accepted, "accepted");
        self.stats.opened();
        Some(Guest { door: self.clone(), net, strangers })
    }

    fn leave(&self, net: IpAddr) {
        self.stats.closed();
        let mut inside = self.inside.lock();
        inside.total -= 1;
        if let Some(entry) = inside.by_net.get_mut(&net) {
            entry.connections -= 1;
            if entry.connections == 0 {
                inside.by_net.remove(&net);
            }
        }
    }
}

// === impl Guest ===

impl Guest {
    /// A crowd that comes at once (every worker of a farm after our restart) waits here in the
    /// order it came, having cost us a socket and nothing else. The queue is as long as the limits
    /// on connections allow. None: the wait was too long.
    pub(super) async fn stranger(&self) -> Option<Stranger> {
        let places = async {
            let net = self.strangers.clone().acquire_owned().await.ok()?;
            let total = self.door.strangers.clone().acquire_owned().await.ok()?;
            Some(Stranger { _total: total, _net: net })
        };
        // As long as a handshake may take: the peer waits no longer for one either.
        let place = tokio::time::timeout(self.door.limits.tls_handshake, places).await.ok().flatten();
        if place.is_none() {
            EdgeStats::count(&self.door.stats.full_strangers, "full_strangers");
        }
        place
    }

    pub(super) fn stats(&self) -> &EdgeStats {
        &self.door.stats
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.door.leave(self.net);
    }
}

/// One subscriber's IPv6 addresses are a /64.
fn net_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
