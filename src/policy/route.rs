//! Who gets the job: eligibility, predicted completion, selection. (Design: routing 5.3 to 5.5.)
use rand::rngs::SmallRng;

use super::rules::RouteRules;
use crate::domain::capability::{Need, Unfit};
use crate::domain::ids::{ConnId, WorkerName};
use crate::domain::job::Class;
use crate::domain::seat::{Seat, SeatState, Session, Slots, Wanted};
use crate::domain::time::Moment;

mod scan;
#[cfg(test)]
pub(crate) mod test_fleet;
use scan::Scene;

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

/// A job as the selector sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub class: Class,
    pub units: f64,
    /// Seconds.
    pub soft_target: f64,
    pub answer_by: Moment,
    pub need: &'a Need,
    /// Of an AI job: the model.
    pub model: Option<Wanted<'a>>,
    /// Seats that had this job already.
    pub tried: &'a [ConnId],
    pub session: &'a Session,
}

/// What the selector predicts of one seat, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Prediction {
    /// Seconds a unit, in-flight age included.
    pub ratio: f64,
    pub concurrency: f64,
    pub init: f64,
    /// units x ratio + init.
    pub time: f64,
    pub failure_rate: f64,
    /// Expected time to the first success.
    pub effective: f64,
    /// effective / soft target + fairness x load: the least wins. A session's first segment pays
    /// `init` wherever it goes, so `init` counts here for a retry only.
    pub cost: f64,
}

/// Why a seat was not eligible, or that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Passed,
    Tried,
    Draining,
    Resting,
    Capability,
    Version,
    Full,
    /// Not yet proven, and its one trial is under way.
    Trial,
    /// It holds as many as it has shown that it can; it may get more when nobody else is free.
    Ramp,
}

/// Why this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The session is here and stays.
    Sticky,
    /// A new session, or a retry: the least cost.
    Least,
    /// The session was late here; this is better enough.
    Moved,
    /// Nobody was feasible; the least effective time.
    BestEffort,
}

#[derive(Clone, Debug)]
pub struct Pick {
    /// Index into the slice of seats.
    pub seat: usize,
    pub conn: ConnId,
    pub reason: Reason,
    pub prediction: Prediction,
    /// The next best seat and its cost.
    pub runner_up: Option<(ConnId, f64)>,
    pub considered: usize,
}

/// Nobody: how many seats each filter took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoSeat {
    pub seats: usize,
    pub capability: usize,
    pub version: usize,
    pub full: usize,
    pub resting: usize,
    pub draining: usize,
    pub tried: usize,
    pub too_slow: usize,
}

/// One line of `explain`.
#[derive(Clone, Debug)]
pub struct Considered {
    pub worker: WorkerName,
    pub conn: ConnId,
    pub filter: Filter,
    /// Of a seat that passed.
    pub prediction: Option<Prediction>,
}

/// The fleet's prior for a class, kept by the caller and refreshed now and then
/// (`refresh_priors`): a pick reads it, never recomputes it.
#[derive(Clone, Debug, Default)]
pub struct Priors {
    by_class: Vec<(Class, f64)>,
}

/// The global token bucket of session moves.
#[derive(Clone, Copy, Debug, Default)]
pub struct MoveBucket {
    pub tokens: f64,
    pub at: Moment,
}

/// Picks a seat for `ask`. Reads everything, changes only the move bucket and the chance.
/// No allocation.
pub fn pick(
    seats: &[Seat],
    ask: &Ask<'_>,
    rules: &RouteRules,
    priors: &Priors,
    moves: &mut MoveBucket,
    now: Moment,
    rng: &mut SmallRng,
) -> Result<Pick, NoSeat> {
    let scene = Scene { seats, ask, rules, priors, now };
    if let Some(home) = scene.home() {
        let here = predict(&seats[home], ask, rules, priors, now);
        // What an AI session has built up lies on its machine, and a long job of it is no fault.
        if ask.model.is_some() {
            return Ok(scene.chosen(home, Reason::Sticky, here, 1));
        }
        if overdue(&seats[home], ask, &here, now)
            && let Some(found) = scene.unstuck(home, &here, rng)
        {
            return Ok(found);
        }
        let better = if moves.ready(rules, now) { scene.better_than(home, &here, rng) } else { None };
        return Ok(match better {
            Some(found) => {
                moves.take(rules, now);
                found
            }
            None => scene.chosen(home, Reason::Sticky, here, 1),
        });
    }
    scene.place(rng)
}

/// The least predicted time over seats that may have the job and did not, in seconds.
pub fn best_time(seats: &[Seat], ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Option<f64> {
    let able = seats.iter().filter(|seat| filter(seat, ask, now) == Filter::Passed || beyond_ramp(seat, ask, now));
    able.map(|seat| predict(seat, ask, rules, priors, now).time).min_by(f64::total_cmp)
}

/// Every seat with its filter and prediction, for `explain`. Allocates.
pub fn survey(seats: &[Seat], ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Vec<Considered> {
    let line = |seat: &Seat| {
        let filter = filter(seat, ask, now);
        let able = matches!(filter, Filter::Passed | Filter::Trial | Filter::Ramp);
        let prediction = able.then(|| predict(seat, ask, rules, priors, now));
        Considered { worker: seat.worker.clone(), conn: seat.conn, filter, prediction }
    };
    seats.iter().map(line).collect()
}

/// Predicts one seat, eligible or not.
pub fn predict(seat: &Seat, ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Prediction {
    let prior = priors.of(ask.class, rules);
    let own = u32::from(ask.session.pin == Some(seat.conn));
    let slots = seat.slots(ask.model.as_ref());
    let concurrency = expected_concurrency(seat, ask, slots);
    let scored = seat.scores.ratio(ask.class, concurrency, prior, now, &rules.score);
    let ratio = scored.max(oldest_age(seat, ask.class, now));
    let init = if ask.session.is_warm(seat.conn, now) { 0.0 } else { seat.scores.init(ask.class) };
    let steady = ask.units * ratio;
    let time = steady + init;
    let failure_rate = seat.scores.failure_rate(ask.class, now, &rules.score);
    let odds = failure_rate / (1.0 - failure_rate).max(0.01);
    let after_failure = |time: f64| time + odds * (time.min(2.0) + ask.units * prior);
    let assigned = (slots.used as f64 - f64::from(own)).max(0.0);
    let load = (assigned + 1.0) / f64::from(slots.capacity.max(1));
    let compared = if ask.tried.is_empty() { steady } else { time };
    let cost = after_failure(compared) / ask.soft_target.max(0.001) + rules.fairness * load;
    Prediction { ratio, concurrency, init, time, failure_rate, effective: after_failure(time), cost }
}

/// Whether a seat may have the job: the first tier, which keeps to the ramp and to one trial at
/// a time. A session that is at home on the seat never finds it full.
pub fn filter(seat: &Seat, ask: &Ask<'_>, now: Moment) -> Filter {
    let fit = fitness(seat, ask, now);
    if fit != Filter::Passed || ask.session.pin == Some(seat.conn) {
        return fit;
    }
    let slots = seat.slots(ask.model.as_ref());
    if says_full(seat, now) || slots.used >= slots.offered as usize {
        return Filter::Full;
    }
    if seat.on_trial() && !seat.running.is_empty() {
        return Filter::Trial;
    }
    if slots.used >= slots.capacity as usize { Filter::Ramp } else { Filter::Passed }
}

/// What no load changes: whether the seat is there, able, and not tried before.
fn fitness(seat: &Seat, ask: &Ask<'_>, now: Moment) -> Filter {
    if ask.tried.contains(&seat.conn) {
        return Filter::Tried;
    }
    if seat.state == SeatState::Draining {
        return Filter::Draining;
    }
    if let Some(wanted) = &ask.model
        && (!wanted.roads.take(seat.road) || seat.offer(wanted.key).is_none())
    {
        return Filter::Capability;
    }
    match seat.caps.fits(ask.need) {
        Err(Unfit::Capability) => Filter::Capability,
        Err(Unfit::Version) => Filter::Version,
        Ok(()) if seat.resting(now) => Filter::Resting,
        Ok(()) => Filter::Passed,
    }
}

/// The second tier, for when the first has nobody: up to all that the seat offers.
fn beyond_ramp(seat: &Seat, ask: &Ask<'_>, now: Moment) -> bool {
    let slots = seat.slots(ask.model.as_ref());
    fitness(seat, ask, now) == Filter::Passed && !says_full(seat, now) && slots.used < slots.offered as usize
}

fn says_full(seat: &Seat, now: Moment) -> bool {
    seat.full_until.is_some_and(|(until, held)| until > now && seat.running.len() >= held as usize)
}

/// One for the job itself, the expected share of every other session, and one for each attempt
/// that belongs to no session here, or that we gave up: a hung worker looks busy.
/// Of AI jobs: all that run there, for they share a machine.
fn expected_concurrency(seat: &Seat, ask: &Ask<'_>, slots: Slots) -> f64 {
    if ask.model.is_some() {
        return 1.0 + seat.running.len() as f64;
    }
    let mut shares: f64 = seat.pinned.iter().map(|(_, share)| share.clamp(0.0, 1.0)).sum();
    if ask.session.pin == Some(seat.conn) {
        shares = (shares - ask.session.rtr.map_or(1.0, |r| r.clamp(0.0, 1.0))).max(0.0);
    }
    1.0 + shares + (slots.used - seat.pinned.len()) as f64
}

/// Whether a job in flight on the seat, not its record, makes the prediction what it is.
fn overdue(seat: &Seat, ask: &Ask<'_>, here: &Prediction, now: Moment) -> bool {
    oldest_age(seat, ask.class, now) >= here.ratio
}

/// A job that already runs longer than predicted is evidence now, not when it returns.
fn oldest_age(seat: &Seat, class: Class, now: Moment) -> f64 {
    let same = seat.running.iter().filter(|r| r.class == class && r.units > 0.0);
    same.map(|r| now.secs_since(r.since) / r.units).fold(0.0, f64::max)
}

// === impl MoveBucket ===

impl MoveBucket {
    fn level(&self, rules: &RouteRules, now: Moment) -> f64 {
        (self.tokens + now.secs_since(self.at) * rules.move_rate).min(rules.move_burst)
    }

    fn ready(&self, rules: &RouteRules, now: Moment) -> bool {
        self.level(rules, now) >= 1.0
    }

    fn take(&mut self, rules: &RouteRules, now: Moment) {
        self.tokens = self.level(rules, now) - 1.0;
        self.at = self.at.max(now);
    }
}

// === impl Priors ===

impl Priors {
    /// 1.25 x the median over seats of the class's slow score at concurrency 1. A class that
    /// nobody has data for any more keeps its prior.
    pub fn refresh(&mut self, seats: &[Seat], rules: &RouteRules, _now: Moment) {
        let mut measured: Vec<(Class, f64)> = Vec::new();
        for seat in seats {
            let of = |class| seat.scores.measured(class).map(|ratio| (class, ratio));
            measured.extend(seat.scores.classes().filter_map(of));
        }
        measured.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for group in measured.chunk_by(|a, b| a.0 == b.0) {
            let (class, median) = group[(group.len() - 1) / 2];
            let prior = rules.score.prior_factor * median;
            match self.by_class.iter_mut().find(|(known, _)| *known == class) {
                Some(row) => row.1 = prior,
                None => self.by_class.push((class, prior)),
            }
        }
    }

    pub fn of(&self, class: Class, rules: &RouteRules) -> f64 {
        let found = self.by_class.iter().find(|(known, _)| *known == class);
        found.map_or(rules.score.default_ratio, |(_, prior)| *prior)
    }
}
