//! What people see of the AI side: models, AI workers and runners.
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::domain::ai::{ModelOffer, Pipeline};
use crate::domain::job::Class;
use crate::domain::seat::{Road, Seat, SeatState};
use crate::domain::time::Moment;
use crate::pool::Inner;

/// The AI side of the pool.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AiView {
    pub jobs: usize,
    pub waiting: usize,
    /// Jobs at once, over all models of all workers.
    pub capacity: u32,
    pub models: Vec<ModelView>,
    pub workers: Vec<AiWorkerView>,
}

/// A model as the pool has it: capacities summed over who serves it.
#[derive(Clone, Debug, Serialize)]
pub struct ModelView {
    pub pipeline: &'static str,
    pub model: String,
    pub capacity: u32,
    pub running: usize,
    pub warm: bool,
    /// The lowest of theirs.
    pub version: String,
    pub workers: usize,
}

/// One registration of an AI worker, or a runner that is well.
#[derive(Clone, Debug, Serialize)]
pub struct AiWorkerView {
    pub worker: String,
    pub address: Option<String>,
    pub connection: u64,
    /// `worker`: it dialled us. `runner`: we dial it.
    pub road: &'static str,
    /// `ready`, `trial`, `full`, `resting`, `draining`.
    pub state: &'static str,
    /// Why it is in this state, in words.
    pub why: String,
    pub since_seconds: u64,
    /// Units of the model that it usually gets which it is expected to do in a second, at the load
    /// that it has; None before the first good answer.
    pub score: Option<f64>,
    /// Pipeline and unit of the score.
    pub scored: Option<&'static str>,
    pub unit: Option<&'static str>,
    pub running: usize,
    /// Jobs that it may get now.
    pub capacity: u32,
    pub declared: u32,
    pub models: Vec<OwnModelView>,
    pub jobs: u64,
    pub failures: u64,
    pub last_failure: Option<String>,
    pub version: String,
}

/// A model at one worker.
#[derive(Clone, Debug, Serialize)]
pub struct OwnModelView {
    pub pipeline: &'static str,
    pub model: String,
    pub capacity: u32,
    pub running: usize,
    pub warm: bool,
    pub version: String,
}

// === impl Inner ===

impl Inner {
    pub(in crate::pool) fn ai_view(&self) -> AiView {
        let now = self.clock.now();
        let rules = self.rulebook.current().ai_route();
        let table = self.ai_table.lock();
        let seats = &table.fleet.seats;
        let models = super::seating::summed(&table, |_, _| true);
        AiView {
            jobs: self.ai_jobs.len(),
            waiting: self.ai_waiting.load(Ordering::Relaxed),
            capacity: models.iter().fold(0, |sum, offer| sum.saturating_add(offer.capacity)),
            models: models.iter().map(|offer| model(offer, seats)).collect(),
            workers: seats.iter().map(|seat| worker(seat, table.score(seat, &rules, now), now)).collect(),
        }
    }
}

fn running(seat: &Seat, offer: &ModelOffer) -> usize {
    let class = Class::of_model(&offer.key);
    seat.running.iter().filter(|running| running.class == class).count()
}

fn model(offer: &ModelOffer, seats: &[Seat]) -> ModelView {
    let serving = || seats.iter().filter(|s| s.state != SeatState::Draining && s.offer(&offer.key).is_some());
    ModelView {
        pipeline: offer.key.pipeline.name(),
        model: offer.key.model.to_string(),
        capacity: offer.capacity,
        running: serving().map(|seat| running(seat, offer)).sum(),
        warm: offer.warm,
        version: offer.version.clone(),
        workers: serving().count(),
    }
}

fn worker(seat: &Seat, score: Option<f64>, now: Moment) -> AiWorkerView {
    let (state, why) = state(seat, now);
    let own = |offer: &ModelOffer| OwnModelView {
        pipeline: offer.key.pipeline.name(),
        model: offer.key.model.to_string(),
        capacity: offer.capacity,
        running: running(seat, offer),
        warm: offer.warm,
        version: offer.version.clone(),
    };
    let usual = seat.scores.usual().filter(|_| score.is_some());
    let scored: Option<Pipeline> = seat.models.iter().map(|m| &m.key).find_map(|key| {
        let usual = usual == Some(Class::of_model(key));
        usual.then_some(key.pipeline)
    });
    AiWorkerView {
        worker: seat.worker.to_string(),
        address: seat.address.map(|a| a.to_string()),
        connection: seat.conn.0,
        road: match seat.road {
            Road::Worker => "worker",
            Road::Runner => "runner",
        },
        state,
        why,
        since_seconds: now.since(seat.joined).as_secs(),
        score,
        scored: scored.map(Pipeline::name),
        unit: scored.map(|pipeline| pipeline.unit().name()),
        running: seat.running.len(),
        capacity: seat.capacity(),
        declared: seat.declared,
        models: seat.models.iter().map(own).collect(),
        jobs: seat.successes,
        failures: seat.failures,
        last_failure: seat.last_failure.as_ref().map(ToString::to_string),
        version: seat.caps.version.clone(),
    }
}

fn state(seat: &Seat, now: Moment) -> (&'static str, String) {
    match &seat.state {
        SeatState::Draining => ("draining", format!("told to leave, {} running", seat.running.len())),
        SeatState::Resting { until, why } if *until > now => {
            ("resting", format!("next trial in {} s: {why}", until.since(now).as_secs() + 1))
        }
        _ if seat.successes == 0 => ("trial", "no good answer yet: one at a time".into()),
        _ if seat.capacity() < seat.offered() => {
            ("trial", format!("{} of {} jobs at once so far", seat.capacity(), seat.offered()))
        }
        _ if seat.running.len() >= seat.capacity() as usize => ("full", "as many jobs as it takes".into()),
        _ => ("ready", String::new()),
    }
}
