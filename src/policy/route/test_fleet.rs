//! Seats and asks for tests.
use rand::SeedableRng;

use super::*;
use crate::domain::capability::Capabilities;
use crate::domain::ids::{OrchestratorName, SessionKey, TaskId};
use crate::domain::seat::{Road, Running};

pub(crate) const CLASS: Class = Class::Ladder(0);

pub(crate) fn at(seconds: f64) -> Moment {
    Moment((seconds * 1e6) as u64)
}

/// A proven seat of 8 slots without scores.
pub(crate) fn seat(conn: u64) -> Seat {
    Seat {
        conn: ConnId(conn),
        worker: WorkerName::from(format!("w{conn}").as_str()),
        address: None,
        caps: Capabilities::assumed("0.8.8"),
        road: Road::Worker,
        models: Vec::new(),
        declared: 8,
        allowed: 100,
        state: SeatState::Ready,
        joined: at(0.0),
        scores: Default::default(),
        running: Vec::new(),
        pinned: Vec::new(),
        successes: 100,
        failures: 0,
        consecutive: 0,
        rested: 0,
        last_failure: None,
        full_until: None,
    }
}

/// A seat with `samples` samples of `ratio` and as many successes, one a second from 0.
pub(crate) fn scored(conn: u64, ratio: f64, samples: u32) -> Seat {
    let mut seat = seat(conn);
    let params = RouteRules::default().score;
    for i in 0..samples {
        seat.scores.sample(CLASS, 1.0, ratio, at(f64::from(i)), &params);
        seat.scores.succeeded(CLASS, at(f64::from(i)), &params);
    }
    seat
}

pub(crate) fn running(task: i64, since: Moment) -> Running {
    Running { task: TaskId(task), class: CLASS, units: 2.0, since, abandoned: false }
}

pub(crate) fn pinned(session: &str, share: f64) -> (SessionKey, f64) {
    (SessionKey { orchestrator: OrchestratorName::from("o"), session: session.into() }, share)
}

/// A 2 s segment that came at `now`.
pub(crate) fn ask<'a>(session: &'a Session, need: &'a Need, now: Moment) -> Ask<'a> {
    let answer_by = now + std::time::Duration::from_millis(7650);
    Ask { class: CLASS, units: 2.0, soft_target: 1.6, answer_by, need, model: None, tried: &[], session }
}

/// One pick with fresh tokens.
pub(crate) fn pick_once(seats: &[Seat], ask: &Ask<'_>, now: Moment, seed: u64) -> Result<Pick, NoSeat> {
    let mut moves = MoveBucket { tokens: 8.0, at: now };
    let mut rng = SmallRng::seed_from_u64(seed);
    pick(seats, ask, &RouteRules::default(), &priors(seats), &mut moves, now, &mut rng)
}

/// What the fleet tells of itself.
pub(crate) fn priors(seats: &[Seat]) -> Priors {
    let mut priors = Priors::default();
    priors.refresh(seats, &RouteRules::default(), at(0.0));
    priors
}
