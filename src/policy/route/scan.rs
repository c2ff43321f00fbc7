//! One pick: the session's home, the breach rule, the tiers, and the scan under all of them.
use rand::Rng;
use rand::rngs::SmallRng;

use super::{Ask, ConnId, Filter, NoSeat, Pick, Prediction, Priors, Reason, RouteRules};
use super::{beyond_ramp, filter, fitness, predict};
use crate::domain::seat::Seat;
use crate::domain::time::Moment;
use crate::policy::session::in_breach;

/// What one pick looks at.
pub(super) struct Scene<'a, 'b> {
    pub(super) seats: &'a [Seat],
    pub(super) ask: &'a Ask<'b>,
    pub(super) rules: &'a RouteRules,
    pub(super) priors: &'a Priors,
    pub(super) now: Moment,
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
    pub(super) fn home(&self) -> Option<usize> {
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
    pub(super) fn better_than(&self, home: usize, here: &Prediction, rng: &mut SmallRng) -> Option<Pick> {
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

    /// A seat where a job is stuck: the session need not wait for a breach, if somebody else is
    /// much better. In-flight age has raised the prediction past the soft target.
    pub(super) fn unstuck(&self, home: usize, here: &Prediction, rng: &mut SmallRng) -> Option<Pick> {
        if here.time <= self.ask.soft_target {
            return None;
        }
        let scan = self
            .scan(rng, |seat| seat.conn != self.seats[home].conn && filter(seat, self.ask, self.now) == Filter::Passed);
        let (index, there, _) = scan.feasible.best?;
        let gains = there.time < 0.5 * here.time;
        gains.then(|| self.picked(index, Reason::Moved, there, &scan.feasible, scan.considered))
    }

    /// A new session, a retry, or a session whose seat is gone.
    pub(super) fn place(&self, rng: &mut SmallRng) -> Result<Pick, NoSeat> {
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
            // By its time alone: a fleet that failed a moment ago is tried again, or nothing is learned.
            Some((index, there, _)) if there.time < left || all_rest => {
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

    pub(super) fn chosen(&self, seat: usize, reason: Reason, prediction: Prediction, considered: usize) -> Pick {
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
                Filter::Full | Filter::Trial | Filter::Ramp => none.full += 1,
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
