//! What people see of the pool: one picture, made on demand.
use serde::Serialize;

use super::Pool;
use super::ai::view::AiView;
use crate::domain::ids::WorkerName;
use crate::domain::seat::{Seat, SeatState};
use crate::domain::time::Moment;

#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub up_seconds: u64,
    pub draining: bool,
    pub capacity: u32,
    pub sessions: usize,
    pub jobs: usize,
    pub waiting: usize,
    /// Attempts that are under way, or are remembered for late answers.
    pub leases: usize,
    pub shelf_bytes: u64,
    /// Segments delivered that an earlier worker had failed.
    pub saved: u64,
    /// Memory in use, percent of the limit.
    pub memory_percent: u8,
    /// `ok`, or why storage stopped.
    pub ledger: String,
    pub workers: Vec<WorkerView>,
    /// Models, AI workers and runners; the rest of this is of segments.
    pub ai: AiView,
}

/// One registration of a worker.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    pub worker: String,
    pub address: Option<String>,
    pub connection: u64,
    /// `ready`, `trial`, `full`, `resting`, `draining`.
    pub state: &'static str,
    /// Why it is in this state, in words.
    pub why: String,
    pub since_seconds: u64,
    /// By which the router picks: seconds of video of the kind it usually gets that it is expected
    /// to transcode in a second, at the load that it has. Above 1 it keeps up, higher is faster;
    /// None before the first good result.
    pub score: Option<f64>,
    /// Real-time ratio over its sessions, lower is faster; None before the first result.
    pub real_time_ratio: Option<f64>,
    pub running: usize,
    pub sessions: usize,
    pub capacity: u32,
    pub declared: u32,
    pub segments: u64,
    pub failures: u64,
    pub last_failure: Option<String>,
    pub version: String,
}

// === impl Pool ===

impl Pool {
    pub fn view(&self) -> View {
        let inner = &self.inner;
        let now = inner.clock.now();
        let ai = inner.ai_view();
        let table = inner.table.lock();
        let rules = inner.rulebook.current();
        let view = |seat| worker(seat, table.score(seat, &rules.route, now), now);
        let workers = table.fleet.seats.iter().map(view).collect();
        View {
            up_seconds: now.since(Moment::default()).as_secs(),
            draining: inner.draining(),
            capacity: table.fleet.seats.iter().map(Seat::offered).sum(),
            sessions: table.fleet.sessions.len(),
            jobs: inner.jobs.len(),
            waiting: inner.waiting(),
            leases: inner.inflight.len(),
            shelf_bytes: inner.shelf.used(),
            saved: inner.saved(),
            memory_percent: inner.memory.load(std::sync::atomic::Ordering::Relaxed),
            ledger: inner.ledger.health().err().map_or_else(|| "ok".into(), |why| why.to_string()),
            workers,
            ai,
        }
    }

    /// Names of the transcoders that are here now.
    pub fn workers(&self) -> Vec<WorkerName> {
        self.inner.table.lock().fleet.seats.iter().map(|seat| seat.worker.clone()).collect()
    }
}

fn worker(seat: &Seat, score: Option<f64>, now: Moment) -> WorkerView {
    let (state, why) = state(seat, now);
    let known: Vec<f64> = seat.pinned.iter().map(|(_, share)| *share).collect();
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    WorkerView {
        worker: seat.worker.to_string(),
        address: seat.address.map(|a| a.to_string()),
        connection: seat.conn.0,
        state,
        why,
        since_seconds: now.since(seat.joined).as_secs(),
        score,
        real_time_ratio: (!known.is_empty()).then_some(mean),
        running: seat.running.len(),
        sessions: seat.pinned.len(),
        capacity: seat.capacity(),
        declared: seat.declared,
        segments: seat.successes,
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
        _ if seat.successes == 0 => ("trial", "no verified segment yet: one at a time".into()),
        _ if seat.capacity() < seat.offered() => {
            ("trial", format!("{} of {} slots so far", seat.capacity(), seat.offered()))
        }
        _ if seat.pinned.len() >= seat.capacity() as usize => ("full", "every slot holds a session".into()),
        _ => ("ready", String::new()),
    }
}
