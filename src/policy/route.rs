//! Who gets the job: eligibility, predicted completion, selection. (Design: routing 5.3 to 5.5.)
use rand::Rng;
use rand::rngs::SmallRng;

use super::rules::RouteRules;
use super::session::in_breach;
use crate::domain::capability::{Need, Unfit};
use crate::domain::ids::{ConnId, WorkerName};
use crate::domain::job::Class;
use crate::domain::seat::{Seat, SeatState, Session};
use crate::domain::time::Moment;

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

/// Every seat with its filter and prediction, for `explain`. Allocates.
pub fn survey(seats: &[Seat], ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Vec<Considered> {
    let line = |seat: &Seat| {
        let filter = filter(seat, ask, now);
        let prediction = (filter == Filter::Passed).then(|| predict(seat, ask, rules, priors, now));
        Considered { worker: seat.worker.clone(), conn: seat.conn, filter, prediction }
    };
    seats.iter().map(line).collect()
}

/// Predicts one seat, eligible or not.
pub fn predict(seat: &Seat, ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Prediction {
    let prior = priors.of(ask.class, rules);
    let own = u32::from(ask.session.pin == Some(seat.conn));
    let concurrency = expected_concurrency(seat, ask);
    let scored = seat.scores.ratio(ask.class, concurrency, prior, now, &rules.score);
    let ratio = scored.max(oldest_age(seat, ask.class, now));
    let init = if ask.session.is_warm(seat.conn, now) { 0.0 } else { seat.scores.init(ask.class) };
    let steady = ask.units * ratio;
    let time = steady + init;
    let failure_rate = seat.scores.failure_rate(ask.class, now, &rules.score);
    let odds = failure_rate / (1.0 - failure_rate).max(0.01);
    let after_failure = |time: f64| time + odds * (time.min(2.0) + ask.units * prior);
    let assigned = (seat.occupied() as f64 - f64::from(own)).max(0.0);
    let load = (assigned + 1.0) / f64::from(seat.capacity().max(1));
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
    if says_full(seat, now) || seat.occupied() >= seat.offered() as usize {
        return Filter::Full;
    }
    if seat.on_trial() {
        return if seat.running.is_empty() && seat.pinned.is_empty() { Filter::Passed } else { Filter::Trial };
    }
    if seat.occupied() >= seat.capacity() as usize { Filter::Full } else { Filter::Passed }
}

/// What no load changes: whether the seat is there, able, and not tried before.
fn fitness(seat: &Seat, ask: &Ask<'_>, now: Moment) -> Filter {
    if ask.tried.contains(&seat.conn) {
        return Filter::Tried;
    }
    if seat.state == SeatState::Draining {
        return Filter::Draining;
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
    fitness(seat, ask, now) == Filter::Passed && !says_full(seat, now) && seat.occupied() < seat.offered() as usize
}

fn says_full(seat: &Seat, now: Moment) -> bool {
    seat.full_until.is_some_and(|(until, held)| until > now && seat.running.len() >= held as usize)
}

/// One for the job itself, the expected share of every other session, and one for each attempt
/// that belongs to no session here, or that we gave up: a hung worker looks busy.
fn expected_concurrency(seat: &Seat, ask: &Ask<'_>) -> f64 {
    let mut shares: f64 = seat.pinned.iter().map(|(_, share)| share.clamp(0.0, 1.0)).sum();
    if ask.session.pin == Some(seat.conn) {
        shares = (shares - ask.session.rtr.map_or(1.0, |r| r.clamp(0.0, 1.0))).max(0.0);
    }
    1.0 + shares + (seat.occupied() - seat.pinned.len()) as f64
}

/// A job that already runs longer than predicted is evidence now, not when it returns.
fn oldest_age(seat: &Seat, class: Class, now: Moment) -> f64 {
    let same = seat.running.iter().filter(|r| r.class == class && r.units > 0.0);
    same.map(|r| now.secs_since(r.since) / r.units).fold(0.0, f64::max)
}

/// What one pick looks at.
struct Scene<'a, 'b> {
    seats: &'a [Seat],
    ask: &'a Ask<'b>,
    rules: &'a RouteRules,
    priors: &'a Priors,
    now: Moment,
}

/// The least of what was seen so far, and the next.
#[derive(Clone, Copy)]
struct Least {
    best: Option<(usize, Prediction, f64)>,
    second: Option<(usize, f64)>,
    ties: u32,
}

/// What one scan found: the best that can be in time, and the best of all.
struct Scan {
    feasible: Least,
    any: Least,
    considered: usize,
}

// === impl Scene ===

impl Scene<'_, '_> {
    /// The seat where the session is at home, as long as it may stay.
    fn home(&self) -> Option<usize> {
        let pin = self.ask.session.pin?;
        let index = self.index_of(pin)?;
        (fitness(&self.seats[index], self.ask, self.now) == Filter::Passed).then_some(index)
    }

    /// Seats mostly stand in the order of their connections; no order is taken for granted.
    fn index_of(&self, conn: ConnId) -> Option<usize> {
        let sorted = self.seats.binary_search_by_key(&conn, |seat| seat.conn).ok();
        sorted.or_else(|| self.seats.iter().position(|seat| seat.conn == conn))
    }

    /// The breach rule: a seat that is enough better for a session which is late where it is.
    fn better_than(&self, home: usize, here: &Prediction, rng: &mut SmallRng) -> Option<Pick> {
        let session = self.ask.session;
        let dwelt = session.last_move.is_none_or(|then| self.now.since(then) >= self.rules.move_dwell);
        if !in_breach(session) || !dwelt {
            return None;
        }
        let scan = self
            .scan(rng, |seat| seat.conn != self.seats[home].conn && filter(seat, self.ask, self.now) == Filter::Passed);
        let (index, there, _) = scan.feasible.best?;
        // The segment's own seconds, as near as the ask tells them.
        let seconds = self.ask.units.max(1.5).min(self.ask.soft_target / 0.8);
        let present = (here.time - here.init).max(session.rtr.unwrap_or(0.0) * seconds);
        let gains = there.time - there.init < self.rules.move_gain * present;
        gains.then(|| self.picked(index, Reason::Moved, there, &scan.feasible, scan.considered))
    }

    /// A new session, a retry, or a session whose seat is gone.
    fn place(&self, rng: &mut SmallRng) -> Result<Pick, NoSeat> {
        let first = self.scan(rng, |seat| filter(seat, self.ask, self.now) == Filter::Passed);
        if let Some((index, there, _)) = first.feasible.best {
            return Ok(self.picked(index, Reason::Least, there, &first.feasible, first.considered));
        }
        let second = self.scan(rng, |seat| beyond_ramp(seat, self.ask, self.now));
        if let Some((index, there, _)) = second.feasible.best {
            return Ok(self.picked(index, Reason::Least, there, &second.feasible, second.considered));
        }
        // The second tier holds the first, unless a sample missed it.
        let any = if second.any.best.is_some() { &second } else { &first };
        let mut none = self.count();
        let all_rest = none.resting > 0 && none.full == 0 && any.considered == 0;
        let rest = if all_rest { Some(self.scan(rng, |seat| self.last_resort(seat))) } else { None };
        let found = rest.as_ref().unwrap_or(any);
        let left = self.ask.answer_by.secs_since(self.now);
        match found.any.best {
            Some((index, there, _)) if there.effective < left || all_rest => {
                Ok(self.picked(index, Reason::BestEffort, there, &found.any, found.considered))
            }
            Some(_) => {
                none.too_slow = found.considered;
                Err(none)
            }
            None => Err(none),
        }
    }

    /// Everybody able rests: one of them, one job at a time, rather than nobody.
    fn last_resort(&self, seat: &Seat) -> bool {
        fitness(seat, self.ask, self.now) == Filter::Resting && seat.running.is_empty() && seat.offered() > 0
    }

    /// Predicts the seats that pass: all of them up to the scan limit, above it a sample.
    fn scan(&self, rng: &mut SmallRng, passes: impl Fn(&Seat) -> bool) -> Scan {
        if self.seats.len() > self.rules.scan_limit
            && let Some(scan) = self.sampled(rng, &passes)
        {
            return scan;
        }
        let mut scan = Scan::new();
        for (index, seat) in self.seats.iter().enumerate() {
            if passes(seat) {
                scan.take(self, index, rng);
            }
        }
        scan
    }

    /// Walks the seats by a random stride until enough have passed. None when so few pass that
    /// all of them are to be looked at.
    fn sampled(&self, rng: &mut SmallRng, passes: &impl Fn(&Seat) -> bool) -> Option<Scan> {
        let count = self.seats.len();
        let wanted = self.rules.sample.max(1);
        // More probes than these for the sample: fewer pass than the scan limit.
        let most = (count * wanted).div_ceil(self.rules.scan_limit.max(1)).min(count);
        let stride = stride(count, rng);
        let mut index = rng.random_range(0..count);
        let mut scan = Scan::new();
        for _ in 0..most {
            if passes(&self.seats[index]) {
                scan.take(self, index, rng);
                if scan.considered >= wanted {
                    return Some(scan);
                }
            }
            index = (index + stride) % count;
        }
        None
    }

    fn picked(&self, index: usize, reason: Reason, prediction: Prediction, least: &Least, considered: usize) -> Pick {
        let runner_up = least.second.map(|(next, cost)| (self.seats[next].conn, cost));
        Pick { runner_up, ..self.chosen(index, reason, prediction, considered) }
    }

    fn chosen(&self, seat: usize, reason: Reason, prediction: Prediction, considered: usize) -> Pick {
        Pick { seat, conn: self.seats[seat].conn, reason, prediction, runner_up: None, considered }
    }

    /// How many seats each filter takes.
    fn count(&self) -> NoSeat {
        let mut none = NoSeat { seats: self.seats.len(), ..NoSeat::default() };
        for seat in self.seats {
            match filter(seat, self.ask, self.now) {
                Filter::Passed => {}
                Filter::Tried => none.tried += 1,
                Filter::Draining => none.draining += 1,
                Filter::Resting => none.resting += 1,
                Filter::Capability => none.capability += 1,
                Filter::Version => none.version += 1,
                Filter::Full | Filter::Trial => none.full += 1,
            }
        }
        none
    }
}

/// A stride that visits every seat once: it shares no divisor with their number.
fn stride(count: usize, rng: &mut SmallRng) -> usize {
    let common = |mut a: usize, mut b: usize| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    // Most numbers share no divisor: 16 draws all but never fail, and 1 always works.
    (0..16).map(|_| rng.random_range(1..count.max(2))).find(|s| common(*s, count) == 1).unwrap_or(1)
}

// === impl Scan ===

impl Scan {
    fn new() -> Scan {
        let nobody = Least { best: None, second: None, ties: 0 };
        Scan { feasible: nobody, any: nobody, considered: 0 }
    }

    fn take(&mut self, scene: &Scene<'_, '_>, index: usize, rng: &mut SmallRng) {
        let found = predict(&scene.seats[index], scene.ask, scene.rules, scene.priors, scene.now);
        self.considered += 1;
        self.any.offer(index, found, found.effective, rng);
        if 1.5 * found.effective < scene.ask.answer_by.secs_since(scene.now) {
            self.feasible.offer(index, found, found.cost, rng);
        }
    }
}

// === impl Least ===

impl Least {
    /// Keeps the least; of equals each with the same chance.
    fn offer(&mut self, index: usize, found: Prediction, key: f64, rng: &mut SmallRng) {
        let Some((best, _, least)) = self.best else {
            *self = Least { best: Some((index, found, key)), second: None, ties: 1 };
            return;
        };
        let wins = if key < least {
            self.ties = 1;
            true
        } else if key > least {
            false
        } else {
            self.ties += 1;
            rng.random_range(0..self.ties) == 0
        };
        if wins {
            self.second = Some((best, least));
            self.best = Some((index, found, key));
        } else if self.second.is_none_or(|(_, second)| key < second) {
            self.second = Some((index, key));
        }
    }
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
