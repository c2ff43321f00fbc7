//! Who gets a segment: go-livepeer's selection of remote transcoders.
use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::domain::capability::{Capabilities, Need};

/// What goes down a registration's stream.
#[derive(Clone, Debug)]
pub(in crate::sim) enum Word {
    Notice(Bytes),
    End(Ending),
}

/// How a registration's stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ok,
    Unavailable,
    /// RST_STREAM(CANCEL): ends a stock worker for good.
    Cancel,
}

pub(super) struct Registration {
    id: u64,
    capacity: i64,
    /// Sessions tied to it.
    load: i64,
    capabilities: Capabilities,
    orders: mpsc::Sender<Word>,
}

#[derive(Default)]
pub(super) struct Registry {
    next: u64,
    standing: Vec<Registration>,
    /// Sessions that it would take with `-maxSessions auto`.
    limit: i64,
    /// Which registration a session is tied to.
    ties: HashMap<String, u64>,
}

/// Where a segment goes.
pub(super) struct Picked {
    pub(super) registration: u64,
    pub(super) orders: mpsc::Sender<Word>,
}

// === impl Registry ===

impl Registry {
    /// `had`: the capacity as it was when the registration came.
    pub(super) fn add(
        &mut self,
        capacity: i64,
        had: i64,
        capabilities: Capabilities,
        orders: mpsc::Sender<Word>,
    ) -> u64 {
        self.limit = had + capacity;
        self.next += 1;
        self.standing.push(Registration { id: self.next, capacity, load: 0, capabilities, orders });
        self.next
    }

    /// Its stream ends when the last sender is gone. Whether it still stood.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.standing.len();
        self.standing.retain(|registration| registration.id != id);
        self.ties.retain(|_, tied| *tied != id);
        self.limit = self.capacity();
        self.standing.len() < before
    }

    pub(super) fn take_all(&mut self) -> Vec<mpsc::Sender<Word>> {
        self.ties.clear();
        self.standing.drain(..).map(|registration| registration.orders).collect()
    }

    /// A session stays where it is; a new one goes to the least loaded that is able, and to no other
    /// when that one is full.
    pub(super) fn pick(&mut self, session: &str, need: &Need) -> Option<Picked> {
        let tied = self.ties.get(session).copied();
        let found = match tied {
            Some(id) => self.standing.iter_mut().find(|registration| registration.id == id),
            None => {
                let able = self.standing.iter_mut().filter(|registration| registration.capabilities.fits(need).is_ok());
                able.min_by(|a, b| a.load_factor().total_cmp(&b.load_factor()))
            }
        };
        let registration = found?;
        if tied.is_none() {
            if registration.load >= registration.capacity {
                return None;
            }
            registration.load += 1;
            self.ties.insert(session.to_owned(), registration.id);
        }
        Some(Picked { registration: registration.id, orders: registration.orders.clone() })
    }

    /// Ends a session's tie: where the teardown notice goes.
    pub(super) fn untie(&mut self, session: &str) -> Option<mpsc::Sender<Word>> {
        let id = self.ties.remove(session)?;
        let registration = self.standing.iter_mut().find(|registration| registration.id == id)?;
        registration.load -= 1;
        Some(registration.orders.clone())
    }

    pub(super) fn limit(&self) -> i64 {
        self.limit
    }

    pub(super) fn capacity(&self) -> i64 {
        self.standing.iter().map(|registration| registration.capacity).sum()
    }

    pub(super) fn capacities(&self) -> Vec<i64> {
        self.standing.iter().map(|registration| registration.capacity).collect()
    }
}

// === impl Registration ===

impl Registration {
    fn load_factor(&self) -> f64 {
        self.load as f64 / self.capacity as f64
    }
}
