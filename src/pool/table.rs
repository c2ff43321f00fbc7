//! The table under one short lock: the fleet, the selector's running state, and chance.
//!
//! Why a lock: a pick and its permit must be one step, or two jobs take the same last slot; with
//! exact counts a plain scan beats sampling (routing 5.5). It is held for a scan of flat rows,
//! tens of nanoseconds a seat, and never over an await.
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use super::api::{Offer, Order, Refusal};
use super::{JoinRules, RouteRules};
use crate::domain::capability::{Bits, Need, TRANSCODING_BITS, core_version};
use crate::domain::ids::{ConnId, SessionKey, TaskId, WorkerName};
use crate::domain::job::{Class, Job};
use crate::domain::seat::{Road, Roads, Running, Seat, SeatState, Session, Wanted};
use crate::domain::time::Moment;
use crate::policy::route::{self, Ask, Considered, MoveBucket, NoSeat, Pick, Priors};
use crate::policy::session::{self, SegmentEnd};
use crate::state::fleet::Fleet;

/// A fleet up to this size is written down whole for `explain`.
const EXPLAINED: usize = 64;

pub struct Table {
    pub fleet: Fleet<Line>,
    pub priors: Priors,
    pub moves: MoveBucket,
    pub rng: SmallRng,
}

/// How a seat is reached, and what may close it.
#[derive(Clone, Debug)]
pub struct Line {
    pub orders: mpsc::Sender<Order>,
    /// Public id of the token that opened it.
    pub token: Option<Arc<str>>,
    /// Came in by the pool's one secret.
    pub shared: bool,
    /// Of an AI worker: its raw `HardwareInformation` messages.
    pub hardware: Arc<[Bytes]>,
}

/// What a job asks of the table.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub class: Class,
    pub units: f64,
    /// Seconds.
    pub soft_target: f64,
    pub answer_by: Moment,
    pub need: &'a Need,
    pub model: Option<Wanted<'a>>,
    /// None: the job belongs to no session, and is pinned nowhere.
    pub session: Option<&'a SessionKey>,
}

/// A pick with its permit given.
pub struct Seating {
    pub pick: Pick,
    pub task: TaskId,
    pub key: u128,
    pub line: Line,
    pub worker: WorkerName,
    pub address: Option<crate::domain::ids::Address>,
    pub road: Road,
    /// The session's encoder is warm there.
    pub warm: bool,
    pub candidates: Vec<Considered>,
}

// === impl Table ===

impl Table {
    pub fn new(seed: u64, rules: &RouteRules) -> Table {
        let moves = MoveBucket { tokens: rules.move_burst, at: Moment::default() };
        Table { fleet: Fleet::default(), priors: Priors::default(), moves, rng: SmallRng::seed_from_u64(seed) }
    }

    /// Picks a seat, pins the session there and gives the permit.
    pub fn seat(
        &mut self,
        asking: &Asking<'_>,
        tried: &[ConnId],
        rules: &RouteRules,
        now: Moment,
    ) -> Result<Seating, NoSeat> {
        let new = Session::default();
        let known = asking.session.and_then(|key| self.fleet.sessions.get(key));
        let session = known.unwrap_or(&new);
        let ask = asking.ask(tried, session);
        let pick = route::pick(&self.fleet.seats, &ask, rules, &self.priors, &mut self.moves, now, &mut self.rng)?;
        let candidates = survey(&self.fleet.seats, &ask, rules, &self.priors, now);
        let conn = pick.conn;
        let task = Table::task();
        let warm = session.is_warm(conn, now);
        let running = Running { task, class: ask.class, units: ask.units, since: now, abandoned: false };
        self.fleet.permit(conn, running);
        // Only a session that has a seat is kept: who finds none leaves nothing behind.
        if let Some(key) = asking.session {
            let session = self.fleet.sessions.entry(key.clone()).or_default();
            let before = session.pin;
            session::dispatched(session, conn, now);
            self.fleet.repin(key, before);
        }
        let line = self.fleet.line(conn).cloned().ok_or_else(NoSeat::default)?;
        let seat = &self.fleet.seats[pick.seat];
        Ok(Seating {
            task,
            key: rand::rng().random(),
            line,
            worker: seat.worker.clone(),
            address: seat.address,
            road: seat.road,
            warm,
            candidates,
            pick,
        })
    }

    /// Seconds of its usual video that the seat is expected to transcode in a second, or units of its
    /// usual model that it is to do, at the load that it has. The selector's own figure; None before the first good result.
    pub fn score(&self, seat: &Seat, rules: &RouteRules, now: Moment) -> Option<f64> {
        let (need, session) = (Need::default(), Session::default());
        let class = seat.scores.usual()?;
        let offer = seat.models.iter().find(|offer| Class::of_model(&offer.key) == class);
        let model = offer.map(|offer| Wanted { key: &offer.key, class, roads: Roads::ALL });
        let ask = Ask {
            class,
            units: 1.0,
            soft_target: 1.0,
            answer_by: now,
            need: &need,
            model,
            tried: &[],
            session: &session,
        };
        let ratio = route::predict(seat, &ask, rules, &self.priors, now).ratio;
        (ratio > 0.0).then(|| 1.0 / ratio)
    }

    /// The least time, in seconds, that anybody else is predicted to take for the job.
    pub fn best_other(&self, asking: &Asking<'_>, tried: &[ConnId], rules: &RouteRules, now: Moment) -> Option<f64> {
        let session = Session::default();
        let ask = asking.ask(tried, &session);
        route::best_time(&self.fleet.seats, &ask, rules, &self.priors, now)
    }

    /// A number towards a worker that cannot be guessed and does not come again: 63 random bits.
    fn task() -> TaskId {
        loop {
            let number = (rand::rng().random::<u64>() >> 1).cast_signed();
            if number != 0 {
                return TaskId(number);
            }
        }
    }

    /// How a segment ended for its session.
    pub fn session_ended(&mut self, job: &Job, conn: ConnId, end: SegmentEnd, now: Moment) {
        if let Some(session) = self.fleet.sessions.get_mut(&job.session) {
            session::ended(session, conn, end, now);
        }
        self.fleet.share(&job.session);
    }

    /// Whether one more registration of this worker fits.
    pub fn has_room(&self, worker: &WorkerName, rules: &JoinRules) -> Result<(), Refusal> {
        if self.fleet.seats.len() >= rules.registrations {
            return Err(Refusal::TryLater(format!(
                "the pool is full: {} registrations (limit join.registrations); try again later",
                rules.registrations
            )));
        }
        let same = self.fleet.seats.iter().filter(|seat| seat.worker == *worker).count();
        if same >= rules.registrations_per_worker {
            return Err(Refusal::TryLater(format!(
                "{worker} is registered {same} times already (limit workers.registrations_per_worker); stop one first"
            )));
        }
        Ok(())
    }

    /// An open worker gets its full capacity once it has proven itself.
    pub fn prove(&mut self, conn: ConnId, rules: &JoinRules) {
        if let Some(seat) = self.fleet.seat(conn)
            && seat.successes >= rules.proven_after
        {
            seat.allowed = u32::MAX;
        }
    }

    /// What the pool offers upstream now. An orchestrator that had these workers itself would hand
    /// a segment to whoever can do it; so bits and version are what the best of them has, and
    /// who gets the segment is our choice.
    pub fn offer(&self) -> Offer {
        let mut offer = Offer::default();
        let mut highest = None;
        for seat in self.fleet.seats.iter().filter(|seat| seat.state != SeatState::Draining) {
            let capacity = seat.offered();
            offer.capacity = offer.capacity.saturating_add(capacity);
            let word = seat.caps.bits.0.first().copied().unwrap_or(0) & TRANSCODING_BITS;
            offer.bits.union(&Bits(vec![word]));
            if let Some(version) = core_version(&seat.caps.version)
                && highest.as_ref().is_none_or(|most| version > *most)
            {
                highest = Some(version);
            }
        }
        offer.version = highest.map(|version| version.to_string());
        offer
    }
}

/// For `explain`: every seat of a small fleet; of a large one the pick alone is kept, for a
/// survey allocates a line a seat.
fn survey(seats: &[Seat], ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Vec<Considered> {
    if seats.len() > EXPLAINED {
        return Vec::new();
    }
    let mut seats = route::survey(seats, ask, rules, priors, now);
    let cost = |c: &Considered| c.prediction.map_or(f64::INFINITY, |p| p.cost);
    seats.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    seats
}

// === impl Asking ===

impl<'a> Asking<'a> {
    pub fn segment(job: &'a Job) -> Asking<'a> {
        Asking {
            class: job.class(),
            units: job.units(),
            soft_target: job.soft_target(),
            answer_by: job.answer_by,
            need: &job.need,
            model: None,
            session: Some(&job.session),
        }
    }

    fn ask<'b>(&self, tried: &'b [ConnId], session: &'b Session) -> Ask<'b>
    where
        'a: 'b,
    {
        Ask {
            class: self.class,
            units: self.units,
            soft_target: self.soft_target,
            answer_by: self.answer_by,
            need: self.need,
            model: self.model,
            tried,
            session,
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
