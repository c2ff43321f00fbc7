//! Who gets the job: eligibility, predicted completion, selection. (Design: routing 5.3 to 5.5.)
use rand::rngs::SmallRng;

use super::rules::RouteRules;
use crate::domain::capability::Need;
use crate::domain::ids::{ConnId, WorkerName};
use crate::domain::job::Class;
use crate::domain::seat::{Seat, Session};
use crate::domain::time::Moment;

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
    /// effective / soft target + fairness x load: the least wins.
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
    let _ = (seats, ask, rules, priors, moves, now, rng);
    Err(NoSeat::default())
}

/// Every seat with its filter and prediction, for `explain`. Allocates.
pub fn survey(seats: &[Seat], ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Vec<Considered> {
    let _ = (seats, ask, rules, priors, now);
    Vec::new()
}

/// Predicts one seat, eligible or not.
pub fn predict(seat: &Seat, ask: &Ask<'_>, rules: &RouteRules, priors: &Priors, now: Moment) -> Prediction {
    let _ = (seat, ask, rules, priors, now);
    Prediction::default()
}

/// Whether a seat may have the job.
pub fn filter(seat: &Seat, ask: &Ask<'_>, now: Moment) -> Filter {
    let _ = (seat, ask, now);
    Filter::Passed
}

// === impl Priors ===

impl Priors {
    /// 1.25 x the median over seats of the class's slow score at concurrency 1.
    pub fn refresh(&mut self, seats: &[Seat], rules: &RouteRules, now: Moment) {
        let _ = (seats, rules, now);
        self.by_class.clear();
    }

    pub fn of(&self, class: Class, rules: &RouteRules) -> f64 {
        let _ = class;
        rules.score.default_ratio
    }
}
