//! Follows what the pool offers: how many registrations, for how many sessions each, and when to
//! change them without a gap.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use super::Uplink;
use super::registration::{Gone, Kind, Offers, Registration};
use super::slot::Slot;
use super::stream::UP_AFTER;
use crate::telemetry;

/// Without workers we stay registered this long: they may come back.
const GRACE: Duration = Duration::from_secs(10);

/// The registrations of one kind at one orchestrator.
struct Registrar {
    uplink: Arc<Uplink>,
    kind: Kind,
    slots: Vec<Slot>,
    /// Of the last change.
    changed: Instant,
    /// Since when the registrations differ from the offer.
    stale_since: Option<Instant>,
}

/// Runs until the tasks are told to end.
pub(super) async fn run(uplink: Arc<Uplink>, kind: Kind) {
    let stop = uplink.tasks.token();
    let mut offers = Offers::of(&uplink.pool, kind);
    let mut registrar = Registrar { uplink, kind, slots: Vec::new(), changed: Instant::now(), stale_since: None };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = registrar.follow(&mut offers) => {}
    }
    registrar.uplink.status.of(kind).wanted.store(0, Relaxed);
}

// === impl Registrar ===

impl Registrar {
    /// Ends only with the pool.
    async fn follow(&mut self, offers: &mut Offers) -> Result<(), Gone> {
        loop {
            offers.something().await?;
            tokio::time::sleep(self.uplink.config.settle).await;
            let wanted = self.wanted(offers);
            self.slots = wanted.into_iter().map(|want| Slot::open(&self.uplink, want)).collect();
            self.changed = Instant::now();
            self.stale_since = None;
            self.while_registered(offers).await?;
            self.slots.clear();
        }
    }

    /// Keeps registrations and offer together while there are workers.
    async fn while_registered(&mut self, offers: &mut Offers) -> Result<(), Gone> {
        loop {
            let wanted = self.wanted(offers);
            if wanted.is_empty() {
                self.slots.iter().for_each(Slot::want_nothing);
                match tokio::time::timeout(GRACE, offers.something()).await {
                    Err(_) => return Ok(()),
                    Ok(something) => something?,
                }
                continue;
            }
            let due = self.compare(&wanted);
            let uplink = self.uplink.clone();
            tokio::select! {
                changed = offers.changed() => changed?,
                () = uplink.status.of(self.kind).came_up.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.replace(wanted).await;
                }
            }
        }
    }

    fn wanted(&self, offers: &mut Offers) -> Vec<Registration> {
        let wanted = offers.wanted(&self.uplink.config);
        self.uplink.status.of(self.kind).wanted.store(wanted.len() as u64, Relaxed);
        wanted
    }

    /// Tells every slot its wish for next time; when the standing ones are to be replaced.
    fn compare(&mut self, wanted: &[Registration]) -> Option<Instant> {
        for (slot, want) in self.slots.iter().zip(wanted) {
            slot.want(want.clone());
        }
        let pairs = || self.slots.iter().zip(wanted);
        let stale = self.slots.len() != wanted.len() || pairs().any(|(slot, want)| slot.is_stale(want));
        if !stale {
            self.stale_since = None;
            return None;
        }
        let config = &self.uplink.config;
        let since = *self.stale_since.get_or_insert_with(Instant::now);
        Some((self.changed + config.reregister_every).max(since + config.settle))
    }

    /// The new ones first; when they stand, the old ones end. What is right already stays.
    async fn replace(&mut self, wanted: Vec<Registration>) {
        self.changed = Instant::now();
        self.stale_since = None;
        let mut fresh = Vec::new();
        for (n, want) in wanted.iter().enumerate() {
            match self.slots.get(n) {
                Some(slot) if !slot.is_stale(want) => {}
                _ => fresh.push((n, Slot::open(&self.uplink, want.clone()))),
            }
        }
        let within = self.uplink.config.connect_timeout + UP_AFTER + Duration::from_secs(1);
        let up = join_all(fresh.iter().map(|(_, slot)| slot.is_up(within))).await;
        telemetry::reregistered(self.uplink.name(), fresh.len(), wanted.iter().map(|want| want.capacity).sum());
        let all_up = up.iter().all(|up| *up);
        for ((n, slot), up) in fresh.into_iter().zip(up) {
            match self.slots.get_mut(n) {
                Some(old) if up => *old = slot,
                // The old one still stands or is coming back by itself; better than none.
                Some(_) => {}
                None => self.slots.push(slot),
            }
        }
        if all_up {
            self.slots.truncate(wanted.len());
        }
    }
}
