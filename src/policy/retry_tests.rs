//! Failures: sorted, weighed, retried.
use super::*;
use crate::policy::route::test_fleet::{at, seat};

fn rules() -> RetryRules {
    RetryRules::default()
}

fn fail(seat: &mut Seat, failure: &Failure, now: Moment) {
    failed(seat, failure, 1.0, now, &rules());
}

fn rest_seconds(seat: &Seat, now: Moment) -> f64 {
    match &seat.state {
        SeatState::Resting { until, .. } => until.secs_since(now),
        other => panic!("{other:?}"),
    }
}

fn worker_error() -> Failure {
    Failure::WorkerError("x".into())
}

#[test]
fn every_text_is_sorted_as_the_wire_says() {
    for text in INPUT_TEXTS {
        assert_eq!(classify(text), Failure::InputError(text.into()));
        assert_eq!(upstream_text(&classify(text)), text, "verbatim");
        assert!(!classify(text).again());
    }
    for text in WORKER_TEXTS {
        assert_eq!(classify(text), Failure::WorkerError(text.into()));
        assert_eq!(upstream_text(&classify(text)), text, "verbatim when nobody did better");
        assert!(classify(text).again());
    }
    assert_eq!(classify(" TranscoderBusy\n"), Failure::Busy);
    for text in ["TranscoderStopped", "transcoderinvalidvideo", "No keyframes in input!", "", "Foo not found"] {
        assert_eq!(classify(text), Failure::WorkerError(text.into()), "matched exactly");
        assert!(upstream_text(&classify(text)).starts_with("OpenPoolAttemptsFailed"));
    }
}

#[test]
fn nothing_of_a_stranger_goes_up() {
    let evil = "get https://10.0.0.1:8945/stream/x.ts %d%n".to_owned();
    let failures = [
        Failure::WorkerError(evil.clone()),
        Failure::InputError(evil.clone()),
        Failure::BadUpload(evil.clone()),
        Failure::Refused(evil.clone()),
        Failure::Source(evil.clone()),
        Failure::NoWorker(evil.clone()),
        Failure::Pool(evil.clone()),
        Failure::Busy,
        Failure::Timeout,
        Failure::Disconnected,
    ];
    for failure in failures {
        let text = upstream_text(&failure);
        assert!(!text.contains('%') && !text.contains("://") && !text.contains("10.0.0.1"), "{text}");
        assert!(text.starts_with("OpenPool") && text.len() < 120, "{text}");
    }
}

#[test]
fn a_silent_worker_is_left_when_another_can_still_make_it() {
    // predicted, waited, other, left -> elsewhere
    let table = [
        (0.4, 1.5, 0.4, 6.0, true, "overdue, time for another"),
        (1.0, 1.5, 1.0, 6.0, false, "within its patience"),
        (6.4, 1.5, 0.4, 6.0, true, "a stuck seat: a fresh start is far sooner"),
        (6.0, 1.5, 5.5, 6.1, false, "slow, and the other is slow too"),
        (2.0, 4.0, 1.2, 3.5, true, "the last moment for the other"),
        (0.4, 7.0, 0.4, 0.3, false, "the other could not make it"),
    ];
    for (predicted, waited, other, left, expected, why) in table {
        assert_eq!(elsewhere(predicted, waited, other, left, &rules()), expected, "{why}");
    }
}

#[test]
fn again_within_the_attempts_and_the_time() {
    let error = worker_error();
    let go = |failure: &Failure, attempts, left| again(failure, attempts, at(0.0), at(left), &rules());
    assert!(go(&error, 1, 5.0) && go(&error, 2, 5.0));
    assert!(!go(&error, 3, 5.0));
    assert!(!go(&error, 1, 0.2), "no time left");
    assert!(go(&Failure::Busy, 3, 5.0) && !go(&Failure::Busy, 6, 5.0), "a refusal costs less");
    for failure in [Failure::Timeout, Failure::Disconnected, Failure::Refused("".into()), Failure::BadUpload("".into())]
    {
        assert!(go(&failure, 1, 5.0), "{failure:?}");
    }
    for failure in [Failure::InputError("".into()), Failure::Source("".into()), Failure::Pool("".into())] {
        assert!(!go(&failure, 1, 5.0), "{failure:?}");
    }
}

#[test]
fn weights() {
    let table = [
        (worker_error(), 1),
        (Failure::Disconnected, 1),
        (Failure::BadUpload("".into()), 1),
        (Failure::Timeout, 2),
        (Failure::Refused("".into()), 3),
        (Failure::Busy, 0),
        (Failure::InputError("".into()), 0),
        (Failure::Source("".into()), 0),
        (Failure::NoWorker("".into()), 0),
        (Failure::Pool("".into()), 0),
    ];
    for (failure, expected) in table {
        assert_eq!(weight(&failure), expected, "{failure:?}");
        let mut seat = seat(1);
        fail(&mut seat, &failure, at(0.0));
        assert_eq!(seat.consecutive, expected, "{failure:?}");
        assert_eq!(seat.failures, u64::from(expected > 0));
        assert_eq!(seat.resting(at(0.0)), expected >= 3, "{failure:?}");
    }
}

#[test]
fn three_in_a_row_rest_and_a_success_between_saves() {
    let mut seat = seat(1);
    let ramp = seat.capacity();
    fail(&mut seat, &worker_error(), at(0.0));
    fail(&mut seat, &worker_error(), at(1.0));
    succeeded(&mut seat, at(2.0));
    fail(&mut seat, &worker_error(), at(3.0));
    fail(&mut seat, &Failure::Timeout, at(4.0));
    assert_eq!(rest_seconds(&seat, at(4.0)), 10.0);
    assert!(seat.capacity() >= ramp, "a single failure does not reset the ramp");
    assert_eq!(seat.last_failure.as_deref(), Some("no answer in time"));
}

#[test]
fn rests_double_up_to_the_longest_and_heal() {
    let mut seat = seat(1);
    let mut now = at(0.0);
    for expected in [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] {
        fail(&mut seat, &Failure::Refused("lied".into()), now);
        assert_eq!(rest_seconds(&seat, now), expected);
        // What was under way when the rest began does not prolong it.
        fail(&mut seat, &worker_error(), now);
        assert_eq!(rest_seconds(&seat, now), expected);
        now = now + Duration::from_secs_f64(expected);
        assert!(!seat.resting(now) && seat.on_trial(), "one trial after the rest");
    }
    let rested = seat.rested;
    (0..60).for_each(|_| succeeded(&mut seat, now));
    assert_eq!(seat.state, SeatState::Ready);
    assert!(seat.rested + 1 < rested);
}

#[test]
fn a_failed_trial_rests_again_at_once() {
    let mut seat = seat(1);
    (0..3).for_each(|_| fail(&mut seat, &worker_error(), at(0.0)));
    fail(&mut seat, &worker_error(), at(11.0));
    assert_eq!(rest_seconds(&seat, at(11.0)), 20.0);
}

#[test]
fn a_success_during_a_rest_does_not_end_it() {
    let mut seat = seat(1);
    fail(&mut seat, &Failure::Refused("lied".into()), at(0.0));
    succeeded(&mut seat, at(5.0));
    assert!(seat.resting(at(5.0)));
    succeeded(&mut seat, at(10.0));
    assert_eq!(seat.state, SeatState::Ready);
}

#[test]
fn a_leaving_seat_is_not_brought_back_by_a_rest() {
    let mut seat = seat(1);
    seat.state = SeatState::Draining;
    fail(&mut seat, &Failure::Refused("lied".into()), at(0.0));
    succeeded(&mut seat, at(99.0));
    assert_eq!(seat.state, SeatState::Draining);
}

#[test]
fn the_jitter_stays_within_its_bounds() {
    for (jitter, expected) in [(0.8, 8.0), (1.2, 12.0), (99.0, 12.0), (-1.0, 8.0), (f64::NAN, 10.0)] {
        let mut seat = seat(1);
        failed(&mut seat, &Failure::Refused("".into()), jitter, at(0.0), &rules());
        assert_eq!(rest_seconds(&seat, at(0.0)), expected);
    }
}

#[test]
fn busy_caps_the_seat_and_blames_nobody() {
    let mut seat = seat(1);
    fail(&mut seat, &Failure::Busy, at(1.0));
    assert_eq!(seat.full_until, Some((at(6.0), 0)));
    assert_eq!((seat.consecutive, seat.failures, seat.last_failure.clone()), (0, 0, None));
    succeeded(&mut seat, at(7.0));
    assert_eq!(seat.full_until, None);
}

#[test]
fn a_workers_words_are_cut() {
    let mut seat = seat(1);
    fail(&mut seat, &Failure::WorkerError("ä".repeat(5000)), at(0.0));
    assert_eq!(seat.last_failure.unwrap().chars().count(), 200);
}
