//! A seat: one registration of a worker, as the router sees it. Sessions are pinned to seats.
use std::sync::Arc;
use std::time::Duration;

use super::ai::{ModelKey, ModelOffer, Pipeline};
use super::capability::Capabilities;
use super::ids::{Address, ConnId, SessionKey, TaskId, WorkerName};
use super::job::Class;
use super::score::Scores;
use super::time::Moment;

/// Whether a seat may be given new work, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeatState {
    Ready,
    /// Told to leave; running jobs end.
    Draining,
    /// Out until then, for this reason in words.
    Resting {
        until: Moment,
        why: Arc<str>,
    },
}

/// How a worker takes its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// Over gRPC: it dialled us, and posts its results.
    Worker,
    /// Over HTTP: we dial it, and it answers.
    Runner,
}

/// Which roads may serve a job: a door cannot be translated to every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roads {
    pub worker: bool,
    pub runner: bool,
}

/// The model that a job asks for, and who may serve it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub key: &'a ModelKey,
    pub class: Class,
    pub roads: Roads,
}

/// A seat's room for one kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    pub used: usize,
    /// With the ramp.
    pub capacity: u32,
    /// Without it.
    pub offered: u32,
}

/// One row of the fleet.
#[derive(Clone, Debug)]
pub struct Seat {
    pub conn: ConnId,
    pub worker: WorkerName,
    pub address: Option<Address>,
    pub caps: Capabilities,
    pub road: Road,
    /// What it serves, when it is an AI worker; a transcoder has none.
    pub models: Vec<ModelOffer>,
    /// Sessions, or AI jobs, that the worker claims to take.
    pub declared: u32,
    /// The operator's cap, or that of a mode for the unproven.
    pub allowed: u32,
    pub state: SeatState,
    pub joined: Moment,
    pub scores: Scores,
    /// Live attempts on this seat, the abandoned included until they answer or run out.
    pub running: Vec<Running>,
    /// Sessions pinned here with their expected share of a slot: min(1, real-time ratio).
    pub pinned: Vec<(SessionKey, f64)>,
    /// Verified successes and failures since it joined; consecutive failures; times rested.
    pub successes: u64,
    pub failures: u64,
    pub consecutive: u32,
    pub rested: u32,
    pub last_failure: Option<Arc<str>>,
    /// Until then it said that it is full at this many running.
    pub full_until: Option<(Moment, u32)>,
}

/// A live attempt: a permit. Counted from selection, before anything is sent.
#[derive(Clone, Debug)]
pub struct Running {
    pub task: TaskId,
    pub class: Class,
    pub units: f64,
    pub since: Moment,
    /// Given up by us, not yet by the worker.
    pub abandoned: bool,
}

/// Where a transcoding session stands, and how well it is served there.
#[derive(Clone, Debug, Default)]
pub struct Session {
    pub pin: Option<ConnId>,
    /// Smoothed real-time ratio, alpha 0.3. None before the first result.
    pub rtr: Option<f64>,
    /// Breach counter: +2 late or failed, +1 nearly late, 0 on a good one.
    pub late: u32,
    pub last_move: Option<Moment>,
    pub last_segment: Option<Moment>,
    /// Seats that have its encoder warm, until then.
    pub warm: Vec<(ConnId, Moment)>,
    /// The next result is the first after a move: exempt from the breach rule.
    pub fresh: bool,
    pub segments: u64,
}

/// A seat keeps a session's encoder this long.
pub const WARM: Duration = Duration::from_secs(60);

// === impl Seat ===

impl Seat {
    /// Sessions that it may hold now: the least of declared, allowed and the ramp
    /// `1 + successes/2`.
    pub fn capacity(&self) -> u32 {
        let ramp = u32::try_from(1 + self.successes / 2).unwrap_or(u32::MAX);
        self.declared.min(self.allowed).min(ramp)
    }

    /// What the pool offers upstream for it: without the ramp.
    pub fn offered(&self) -> u32 {
        self.declared.min(self.allowed)
    }

    /// Room for a segment, or for a job of this model.
    pub fn slots(&self, wanted: Option<&Wanted<'_>>) -> Slots {
        let Some(wanted) = wanted else {
            return Slots { used: self.occupied(), capacity: self.capacity(), offered: self.offered() };
        };
        let mine = self.offer(wanted.key).map_or(0, |offer| offer.capacity);
        let running = self.running.iter().filter(|r| r.class == wanted.class).count();
        // A session of an app holds its slot between requests, too; its requests are not counted.
        let used = if wanted.key.pipeline == Pipeline::App { self.pinned.len() } else { running };
        Slots { used, capacity: mine.min(self.capacity()), offered: mine.min(self.allowed) }
    }

    pub fn offer(&self, key: &ModelKey) -> Option<&ModelOffer> {
        self.models.iter().find(|offer| offer.key == *key)
    }

    /// Out for now. A rest that has run out is no rest: one trial decides (see `on_trial`).
    pub fn resting(&self, now: Moment) -> bool {
        matches!(&self.state, SeatState::Resting { until, .. } if *until > now)
    }

    /// One unresolved job at a time: nothing good came from it yet, or not since its rest.
    pub fn on_trial(&self) -> bool {
        self.successes == 0 || matches!(self.state, SeatState::Resting { .. })
    }

    /// Slots in use: pinned sessions, whose segments come one after another, or the live attempts
    /// when these are more; and each attempt that we gave up and the worker did not.
    pub fn occupied(&self) -> usize {
        let abandoned = self.running.iter().filter(|r| r.abandoned).count();
        self.pinned.len().max(self.running.len() - abandoned) + abandoned
    }
}

// === impl Roads ===

impl Roads {
    pub const ALL: Roads = Roads { worker: true, runner: true };

    pub fn take(self, road: Road) -> bool {
        match road {
            Road::Worker => self.worker,
            Road::Runner => self.runner,
        }
    }
}

// === impl Session ===

impl Session {
    pub fn is_warm(&self, seat: ConnId, now: Moment) -> bool {
        self.warm.iter().any(|(conn, until)| *conn == seat && *until > now)
    }
}
