//! AI workers and runners take their seats, and what the pool can offer with them.
use std::collections::BTreeMap;

use tokio::sync::{mpsc, watch};

use super::api::{AiJoin, AiOffer};
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::capability::{Bits, Capabilities, core_version};
use crate::domain::ids::ConnId;
use crate::domain::score::Scores;
use crate::domain::seat::{Road, Seat, SeatState};
use crate::pool::api::{Mode, Refusal, Spool, Worker};
use crate::pool::seating::{LINE, Seated};
use crate::pool::table::{Line, Table};
use crate::pool::{Inner, Pool};
use crate::telemetry;

/// Models that one registration may offer, and pieces of hardware that it may name.
const MOST_MODELS: usize = 256;
const MOST_HARDWARE: usize = 64;

impl Pool {
    /// Takes a seat for AI jobs.
    pub fn join_ai(&self, worker: &Worker, join: AiJoin) -> Result<Seated, Refusal> {
        let rules = self.rules();
        let models = usable(join.models, join.road, rules.join.most_capacity);
        if models.is_empty() {
            return Err(Refusal::TryLater(
                "it offers no model that can be used here; see that aiModels.json has some, each with a capacity"
                    .into(),
            ));
        }
        if models.len() > MOST_MODELS || join.hardware.len() > MOST_HARDWARE {
            return Err(Refusal::TooMuch(format!("more than {MOST_MODELS} models or {MOST_HARDWARE} GPUs")));
        }
        let total = models.iter().fold(0_u32, |sum, offer| sum.saturating_add(offer.capacity));
        let declared = total.min(rules.join.most_capacity);
        let allowed = if worker.mode == Mode::Open { rules.join.open_capacity } else { u32::MAX };
        let now = self.clock().now();
        let conn = ConnId(self.inner.next_conn());
        let (sender, orders) = mpsc::channel(LINE);
        let line = Line {
            orders: sender,
            token: worker.token.clone(),
            shared: worker.mode == Mode::Shared,
            hardware: join.hardware.into(),
        };
        {
            let mut table = self.inner.ai_table.lock();
            table.has_room(&worker.name, &rules.join)?;
            let seat = Seat {
                conn,
                worker: worker.name.clone(),
                address: worker.address,
                caps: Capabilities { bits: Bits::default(), version: join.version },
                road: join.road,
                models,
                declared,
                allowed,
                state: SeatState::Ready,
                joined: now,
                scores: Scores::default(),
                running: Vec::new(),
                pinned: Vec::new(),
                successes: 0,
                failures: 0,
                consecutive: 0,
                rested: 0,
                last_failure: None,
                full_until: None,
            };
            table.fleet.add(seat, line, now);
            if worker.mode == Mode::Open {
                table.prove(conn, &rules.join);
            }
        }
        telemetry::worker_joined(&worker.name, join.peer, declared);
        self.inner.ai_fleet_changed();
        self.inner.ai_freed();
        Ok(Seated::new(conn, orders, self.inner.clone()))
    }

    /// What the pool offers by gRPC, as it changes.
    pub fn ai_offer(&self) -> watch::Receiver<AiOffer> {
        self.inner.ai_offer.subscribe()
    }

    /// Every model that somebody here serves, capacities summed, whichever road it takes.
    pub fn ai_models(&self) -> Vec<ModelOffer> {
        summed(&self.inner.ai_table.lock(), |_, _| true)
    }

    /// Whether a worker that dialled us has this model: a job for it needs its file on the shelf.
    pub fn ai_has_worker(&self, key: &ModelKey) -> bool {
        let table = self.inner.ai_table.lock();
        table.fleet.seats.iter().any(|seat| seat.road == Road::Worker && seat.offer(key).is_some())
    }

    /// Room for a request's file, before its job is let in.
    pub fn ai_spool(&self) -> Spool {
        let limits = &self.rules().limits;
        self.inner.shelf.spool(limits.memory_bytes, limits.source_bytes)
    }

    /// Whether a seat stands, for who keeps facts of its own beside it.
    pub fn ai_seated(&self, conn: ConnId) -> bool {
        self.inner.ai_table.lock().fleet.at(conn).is_some()
    }
}

/// What of an offer counts: each model once, with a capacity, and none that this road cannot have.
fn usable(offers: Vec<ModelOffer>, road: Road, most: u32) -> Vec<ModelOffer> {
    let mut models: BTreeMap<ModelKey, ModelOffer> = BTreeMap::new();
    for offer in offers {
        if offer.capacity == 0 || (road == Road::Worker && !offer.key.pipeline.by_worker()) {
            continue;
        }
        let empty = || ModelOffer { capacity: 0, ..offer.clone() };
        let sum = models.entry(offer.key.clone()).or_insert_with(empty);
        sum.capacity = sum.capacity.saturating_add(offer.capacity).min(most);
        sum.warm |= offer.warm;
    }
    models.into_values().filter(|offer| offer.capacity > 0).collect()
}

impl Inner {
    pub(in crate::pool) fn ai_fleet_changed(&self) {
        let offer = offer(&self.ai_table.lock());
        self.ai_offer.send_if_modified(|now| {
            let changed = *now != offer;
            *now = offer;
            changed
        });
    }
}

fn offer(table: &Table) -> AiOffer {
    let mut offer = AiOffer { models: summed(table, by_grpc), ..AiOffer::default() };
    let staying = || table.fleet.seats.iter().filter(|seat| seat.state != SeatState::Draining);
    let lowest = staying().filter_map(|seat| core_version(&seat.caps.version)).min();
    offer.version = lowest.map(|version| version.to_string());
    for (_, line) in table.fleet.lines() {
        offer
            .hardware
            .extend(line.hardware.iter().take(MOST_HARDWARE - offer.hardware.len().min(MOST_HARDWARE)).cloned());
    }
    offer
}

/// Frames by one road, a film by the other: image-to-video is not translated.
fn by_grpc(road: Road, pipeline: Pipeline) -> bool {
    pipeline.by_worker() && (road == Road::Worker || pipeline != Pipeline::ImageToVideo)
}

pub(super) fn summed(table: &Table, counts: impl Fn(Road, Pipeline) -> bool) -> Vec<ModelOffer> {
    let mut models: BTreeMap<ModelKey, ModelOffer> = BTreeMap::new();
    for seat in table.fleet.seats.iter().filter(|seat| seat.state != SeatState::Draining) {
        for offer in seat.models.iter().filter(|offer| counts(seat.road, offer.key.pipeline)) {
            let capacity = offer.capacity.min(seat.allowed);
            let sum = models.entry(offer.key.clone()).or_insert_with(|| ModelOffer { capacity: 0, ..offer.clone() });
            sum.capacity = sum.capacity.saturating_add(capacity);
            sum.warm |= offer.warm;
            if older(&offer.version, &sum.version) {
                sum.version = offer.version.clone();
            }
        }
    }
    models.into_values().collect()
}

/// The lowest version speaks for all; one that cannot be read says nothing.
fn older(a: &str, b: &str) -> bool {
    match (core_version(a), core_version(b)) {
        (Some(a), Some(b)) => a < b,
        (Some(_), None) => true,
        _ => false,
    }
}
