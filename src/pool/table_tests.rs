//! The table: a session's moves, what is kept of whom.
use std::time::Duration;

use super::*;
use crate::domain::capability::Need;
use crate::domain::ids::{ConnId, Epoch, JobId, OrchestratorName, SessionKey};
use crate::domain::work::{Codec, Container, Profile};
use crate::policy::route::test_fleet::{at, seat};

fn line() -> Line {
    Line { orders: mpsc::channel(8).0, token: None, shared: false, hardware: Arc::default() }
}

fn table(seats: impl IntoIterator<Item = Seat>) -> (Table, RouteRules) {
    let rules = RouteRules::default();
    let mut table = Table::new(1, &rules);
    seats.into_iter().for_each(|seat| table.fleet.add(seat, line(), at(0.0)));
    (table, rules)
}

/// A 2 s segment that comes at `now`.
fn job(session: &str, now: Moment) -> Job {
    let side = |width, height| Profile {
        name: "p".into(),
        width,
        height,
        fps: 30,
        fps_den: 1,
        codec: Codec::H264,
        container: Container::MpegTs,
    };
    Job {
        id: JobId::new(1, 1),
        session: SessionKey { orchestrator: OrchestratorName::from("o"), session: session.into() },
        epoch: Epoch::from("e"),
        upstream_task: 0,
        manifest: "m".into(),
        sequence: 0,
        duration: Duration::from_secs(2),
        profiles: vec![side(1280, 720)].into(),
        need: Need::default(),
        wants_hash: false,
        clip: None,
        message: bytes::Bytes::new(),
        received: now,
        received_unix_ms: 0,
        answer_by: now + Duration::from_millis(7650),
    }
}

/// Seats the job and ends it there with this ratio.
fn served(table: &mut Table, rules: &RouteRules, job: &Job, tried: &[ConnId], ratio: f64) -> ConnId {
    let seating = table.seat(&Asking::segment(job), tried, rules, job.received).unwrap();
    let conn = seating.pick.conn;
    assert!(table.fleet.release(conn, seating.task));
    table.session_ended(job, conn, SegmentEnd::Done { real_time_ratio: ratio }, job.received);
    conn
}

fn session<'t>(table: &'t Table, job: &Job) -> &'t Session {
    &table.fleet.sessions[&job.session]
}

#[test]
fn a_session_that_moves_begins_anew_where_it_is() {
    let (mut table, rules) = table([seat(1)]);
    let home = served(&mut table, &rules, &job("s", at(1.0)), &[], 0.5);
    assert!(!session(&table, &job("s", at(1.0))).fresh, "its first result is exempt once");
    for n in 2..4 {
        served(&mut table, &rules, &job("s", at(f64::from(n))), &[], 1.5);
    }
    table.fleet.add(seat(2), line(), at(4.0));
    let again = job("s", at(5.0));
    assert_eq!(session(&table, &again).late, 4);
    let seating = table.seat(&Asking::segment(&again), &[home], &rules, again.received).unwrap();
    assert_ne!(seating.pick.conn, home);
    let moved = session(&table, &again);
    assert_eq!((moved.pin, moved.late, moved.rtr), (Some(seating.pick.conn), 0, None));
    assert!(moved.fresh, "its first result there is exempt");
    assert_eq!(moved.last_move, Some(again.received), "and it stays there for a while");
    let pins: Vec<usize> = table.fleet.seats.iter().map(|seat| seat.pinned.len()).collect();
    assert_eq!(pins.iter().sum::<usize>(), 1, "pinned once: {pins:?}");
}

#[test]
fn a_session_without_a_seat_leaves_nothing_behind() {
    let (mut table, rules) = table([]);
    for n in 0..1000 {
        assert!(table.seat(&Asking::segment(&job(&n.to_string(), at(1.0))), &[], &rules, at(1.0)).is_err());
    }
    assert_eq!(table.fleet.sessions.len(), 0);
}

#[test]
fn coming_back_does_not_end_a_rest() {
    let (mut table, rules) = table([seat(1)]);
    let rested = table.fleet.seat(ConnId(1)).unwrap();
    let state = SeatState::Resting { until: at(20.0), why: "it lied".into() };
    (rested.state, rested.consecutive, rested.rested) = (state.clone(), 3, 2);
    table.fleet.remove(ConnId(1), at(10.0));
    let mut back = seat(7);
    back.worker = "w1".into();
    table.fleet.add(back, line(), at(11.0));
    table.fleet.add(seat(2), line(), at(11.0));
    let back = &table.fleet.seats[0];
    assert_eq!((&back.state, back.consecutive, back.rested), (&state, 3, 2));
    for n in 0..20 {
        let job = job(&n.to_string(), at(12.0));
        assert!(
            table.seat(&Asking::segment(&job), &[], &rules, at(12.0)).is_ok_and(|s| s.pick.conn == ConnId(2)) || n >= 8
        );
    }
}

#[test]
fn the_offer_has_what_the_best_of_the_workers_has() {
    let with = |n, version: &str, bits| {
        let mut seat = seat(n);
        (seat.caps.version, seat.caps.bits) = (version.into(), Bits(vec![bits]));
        seat
    };
    let (table, _) = table([with(1, "0.8.8", 0b011), with(2, "0.9.1-3f1a2b4c", 0b101), with(3, "undefined", 0b001)]);
    let offer = table.offer();
    assert_eq!((offer.bits, offer.version.as_deref()), (Bits(vec![0b111]), Some("0.9.1")));
}
