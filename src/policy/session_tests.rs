//! Sessions: ratios, breach, warmth.
use std::time::Duration;

use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn at(seconds: u64) -> Moment {
    Moment(seconds * 1_000_000)
}

fn done(ratio: f64) -> SegmentEnd {
    SegmentEnd::Done { real_time_ratio: ratio }
}

fn settled() -> Session {
    let mut session = Session::default();
    dispatched(&mut session, A, at(0));
    ended(&mut session, A, done(0.4), at(1));
    session
}

#[test]
fn the_breach_counter_follows_the_table() {
    let table: [(&[f64], u32); 6] =
        [(&[0.5], 0), (&[0.86], 1), (&[0.86, 0.9], 2), (&[1.01], 2), (&[0.9, 0.5], 0), (&[1.2, 1.2, 0.85], 0)];
    for (ratios, late) in table {
        let mut session = settled();
        ratios.iter().for_each(|x| ended(&mut session, A, done(*x), at(2)));
        assert_eq!(session.late, late, "{ratios:?}");
        assert_eq!(in_breach(&session), late >= 2);
    }
}

#[test]
fn a_failure_counts_two() {
    let mut session = settled();
    ended(&mut session, A, SegmentEnd::Failed, at(2));
    assert_eq!(session.late, 2);
    assert_eq!(session.segments, 1);
}

#[test]
fn the_first_result_on_a_seat_is_exempt() {
    let mut session = Session::default();
    dispatched(&mut session, A, at(0));
    assert!(session.fresh && session.rtr.is_none());
    ended(&mut session, A, done(1.7), at(3));
    assert_eq!((session.late, session.fresh, session.rtr), (0, false, Some(1.7)));
    ended(&mut session, A, done(1.7), at(6));
    assert_eq!(session.late, 2);
}

#[test]
fn a_first_placement_is_no_move_and_a_change_is() {
    let mut session = settled();
    assert_eq!((session.pin, session.last_move), (Some(A), None));
    session.late = 4;
    dispatched(&mut session, B, at(9));
    assert_eq!((session.pin, session.last_move, session.late, session.fresh), (Some(B), Some(at(9)), 0, true));
    assert_eq!(session.rtr, None, "the old seat's ratio says nothing of the new one");
    dispatched(&mut session, B, at(11));
    assert_eq!((session.last_move, session.last_segment), (Some(at(9)), Some(at(11))));
}

#[test]
fn what_comes_late_from_an_old_seat_changes_only_its_warmth() {
    let mut session = settled();
    dispatched(&mut session, B, at(9));
    ended(&mut session, A, done(5.0), at(10));
    ended(&mut session, A, SegmentEnd::Failed, at(10));
    assert_eq!((session.late, session.rtr, session.fresh), (0, None, true));
    assert!(session.is_warm(A, at(11)) && !session.is_warm(B, at(11)));
}

#[test]
fn the_ratio_is_smoothed() {
    let mut session = settled();
    ended(&mut session, A, done(0.9), at(2));
    assert!((session.rtr.unwrap() - 0.55).abs() < 1e-9);
    ended(&mut session, A, done(f64::NAN), at(3));
    assert!((session.rtr.unwrap() - 0.55).abs() < 1e-9);
}

#[test]
fn an_encoder_stays_warm_for_a_minute_and_the_list_is_bounded() {
    let mut session = settled();
    assert!(session.is_warm(A, at(60)) && !session.is_warm(A, at(61)));
    for i in 0..100 {
        ended(&mut session, ConnId(i), done(0.5), at(2));
    }
    assert_eq!(session.warm.len(), 8);
    assert_eq!(session.warm.last().unwrap(), &(ConnId(99), at(2) + Duration::from_secs(60)));
}

#[test]
fn t20_short_segments_are_measured_against_the_floor() {
    // 1.2 s for a segment of 1 s: all overhead, and within the gateway's floor of 1.5 s.
    assert!(real_time_ratio(1.2, 1.0) < NEARLY);
    assert_eq!(real_time_ratio(1.2, 2.0), 0.6);
}
