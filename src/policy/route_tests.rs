//! Selection: the traps by name, and its properties.
use rand::SeedableRng;

use super::test_fleet::*;
use super::*;
use crate::domain::capability::Bits;
use crate::domain::seat::Running;

#[path = "route_properties.rs"]
mod properties;

const NOW: f64 = 100.0;

/// Picks for a new session at `NOW`.
fn placed(seats: &[Seat], seed: u64) -> Result<Pick, NoSeat> {
    let (session, need) = (Session::default(), Need::default());
    pick_once(seats, &ask(&session, &need, at(NOW)), at(NOW), seed)
}

/// A session at home on `conn`, late there.
fn late_on(conn: u64, late: u32) -> Session {
    Session { pin: Some(ConnId(conn)), late, rtr: Some(1.2), segments: 5, ..Session::default() }
}

fn rest(seat: &mut Seat, until: f64) {
    seat.state = SeatState::Resting { until: at(until), why: "3 failures in a row".into() };
}

/// A slow home and a fast neighbour, both measured lately.
fn slow_and_fast() -> Vec<Seat> {
    vec![scored(1, 0.9, 100), scored(2, 0.1, 100)]
}

#[test]
fn the_fastest_is_picked_and_the_next_is_named() {
    let seats = [scored(1, 0.4, 100), scored(2, 0.1, 100), scored(3, 0.2, 100)];
    let pick = placed(&seats, 1).unwrap();
    assert_eq!((pick.conn, pick.seat, pick.reason, pick.considered), (ConnId(2), 1, Reason::Least, 3));
    let (runner, cost) = pick.runner_up.unwrap();
    assert_eq!(runner, ConnId(3));
    assert!(cost > pick.prediction.cost);
}

#[test]
fn each_filter_is_counted_once() {
    let mut seats: Vec<Seat> = (0..8).map(seat).collect();
    seats[0].state = SeatState::Draining;
    rest(&mut seats[1], NOW + 5.0);
    seats[2].caps.bits = Bits(vec![1]);
    seats[3].caps.version = "0.7.0".into();
    seats[4].pinned = (0..8).map(|i| pinned(&i.to_string(), 0.2)).collect();
    seats[5].full_until = Some((at(NOW + 1.0), 0));
    (seats[6].successes, seats[6].running) = (0, vec![running(1, at(NOW))]);
    seats[6].declared = 1;
    let need = Need { bits: Some(Bits(vec![2])), min_version: "0.8.0".into() };
    let session = Session::default();
    let ask = Ask { tried: &[ConnId(7)], ..ask(&session, &need, at(NOW)) };
    let none = pick_once(&seats, &ask, at(NOW), 1).unwrap_err();
    let expected =
        NoSeat { seats: 8, capability: 1, version: 1, full: 3, resting: 1, draining: 1, tried: 1, too_slow: 0 };
    assert_eq!(none, expected);
    let survey = survey(&seats, &ask, &RouteRules::default(), &Priors::default(), at(NOW));
    let filters: Vec<Filter> = survey.iter().map(|line| line.filter).collect();
    use Filter::*;
    assert_eq!(filters, [Draining, Resting, Capability, Version, Full, Full, Full, Tried]);
    assert!(survey.iter().all(|line| line.prediction.is_none()));
}

#[test]
fn an_empty_fleet_is_no_seat() {
    assert_eq!(placed(&[], 1).unwrap_err(), NoSeat::default());
}

#[test]
fn t02_an_idle_seat_is_not_the_best_by_being_idle() {
    // Honestly slow an hour ago, idle since; the other works now and well.
    let mut busy = scored(2, 0.3, 0);
    let params = RouteRules::default().score;
    for i in 0..60 {
        busy.scores.sample(CLASS, 1.0, 0.3, at(3600.0 + f64::from(i)), &params);
        busy.scores.succeeded(CLASS, at(3600.0 + f64::from(i)), &params);
    }
    let seats = [scored(1, 1.2, 60), busy];
    let (session, need) = (Session::default(), Need::default());
    let now = at(3660.0);
    for seed in 0..20 {
        assert_eq!(pick_once(&seats, &ask(&session, &need, now), now, seed).unwrap().conn, ConnId(2));
    }
}

#[test]
fn t04_a_class_is_not_judged_by_another() {
    let mut small = scored(1, 0.1, 100);
    let params = RouteRules::default().score;
    (0..50).for_each(|i| small.scores.sample(Class::Ladder(3), 1.0, 3.0, at(f64::from(i)), &params));
    let seats = [small, scored(2, 0.2, 100)];
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(1), "slow at ladders it is not asked for");
}

#[test]
fn t06_newcomers_do_not_draw_the_crowd() {
    let mut seats: Vec<Seat> = (0..10).map(|i| Seat { successes: 0, ..seat(i) }).collect();
    seats.extend((10..14).map(|i| scored(i, 0.2, 100)));
    let mut newcomers = 0;
    for job in 0..20 {
        let pick = placed(&seats, job).unwrap();
        newcomers += usize::from(pick.conn.0 < 10);
        let seat = &mut seats[pick.seat];
        seat.running.push(running(job as i64, at(NOW)));
        seat.pinned.push(pinned(&job.to_string(), 0.4));
        assert!(seat.successes > 0 || seat.running.len() <= 1, "one unresolved job at a time");
    }
    assert!(newcomers <= 10, "{newcomers}");
    let mut rules = RouteRules::default();
    rules.score.default_ratio = 0.5;
    let mut priors = Priors::default();
    assert_eq!(priors.of(CLASS, &rules), 0.5);
    priors.refresh(&seats, &rules, at(NOW));
    assert!((priors.of(CLASS, &rules) - 0.25).abs() < 1e-6, "1.25 x the median");
}

#[test]
fn t07_a_seat_that_fails_fast_is_not_preferred() {
    let mut failing = scored(1, 0.1, 100);
    let params = RouteRules::default().score;
    (0..20).for_each(|_| failing.scores.failed(CLASS, 1.0, at(NOW), &params));
    let good = scored(2, 0.14, 100);
    let seats = [failing, good];
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(2));
}

#[test]
fn t08_a_job_that_runs_too_long_is_evidence_now() {
    let mut hung = scored(1, 0.1, 100);
    hung.running.push(running(1, at(NOW - 4.0)));
    let seats = [hung, scored(2, 0.5, 100)];
    let (session, need) = (Session::default(), Need::default());
    let asked = ask(&session, &need, at(NOW));
    let found = predict(&seats[0], &asked, &RouteRules::default(), &Priors::default(), at(NOW));
    assert_eq!(found.ratio, 2.0, "4 s for 2 units so far");
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(2));
}

#[test]
fn t09_declared_capacity_is_a_cap_and_not_a_merit() {
    let mut boaster = scored(1, 0.8, 100);
    boaster.declared = 10_000;
    boaster.allowed = 10_000;
    let mut modest = scored(2, 0.1, 100);
    modest.declared = 1;
    assert_eq!(placed(&[boaster.clone(), modest.clone()], 1).unwrap().conn, ConnId(2));
    modest.pinned.push(pinned("s", 0.1));
    assert_eq!(placed(&[boaster, modest], 1).unwrap().conn, ConnId(1), "its one slot is taken");
}

#[test]
fn t10_load_counts_from_selection() {
    // Nothing has answered: picks spread because each one counts at once.
    let mut seats: Vec<Seat> = (0..4).map(|i| scored(i, 0.2, 100)).collect();
    for job in 0..16 {
        let pick = placed(&seats, job).unwrap();
        seats[pick.seat].running.push(running(job as i64, at(NOW)));
        seats[pick.seat].pinned.push(pinned(&job.to_string(), 0.4));
    }
    assert!(seats.iter().all(|seat| seat.running.len() == 4));
}

#[test]
fn t11_an_attempt_that_never_ends_keeps_its_slot_until_released() {
    let mut hung = scored(1, 0.1, 100);
    hung.declared = 2;
    hung.running = (0..2).map(|i| Running { abandoned: true, ..running(i, at(NOW - 50.0)) }).collect();
    let (session, need) = (Session::default(), Need::default());
    assert_eq!(filter(&hung, &ask(&session, &need, at(NOW)), at(NOW)), Filter::Full);
    hung.running.clear();
    assert_eq!(filter(&hung, &ask(&session, &need, at(NOW)), at(NOW)), Filter::Passed);
}

#[test]
fn t12_one_trial_at_a_time_after_a_rest() {
    let mut back = scored(1, 0.1, 100);
    rest(&mut back, NOW - 1.0);
    let seats = [back.clone(), scored(2, 0.5, 100)];
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(1));
    back.running.push(running(1, at(NOW)));
    let (session, need) = (Session::default(), Need::default());
    assert_eq!(filter(&back, &ask(&session, &need, at(NOW)), at(NOW)), Filter::Trial);
    let seats = [back, scored(2, 0.5, 100)];
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(2));
}

#[test]
fn t14_the_ramp_goes_by_samples_and_not_by_time() {
    let mut young = scored(1, 0.1, 100);
    for (successes, sessions) in [(0, 1), (1, 1), (2, 2), (5, 3), (14, 8), (1000, 8)] {
        young.successes = successes;
        assert_eq!(young.capacity(), sessions, "after {successes}");
    }
    young.successes = 2;
    young.pinned = vec![pinned("a", 0.1), pinned("b", 0.1)];
    let seats = [young, scored(2, 0.5, 100)];
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(2));
}

#[test]
fn the_second_tier_goes_beyond_the_ramp_up_to_the_offer() {
    let mut young = Seat { successes: 0, declared: 3, ..seat(1) };
    for job in 0..3 {
        let pick = placed(std::slice::from_ref(&young), 1).unwrap();
        assert_eq!(pick.reason, Reason::Least);
        young.running.push(running(job, at(NOW)));
        young.pinned.push(pinned(&job.to_string(), 0.5));
    }
    assert_eq!(placed(&[young], 1).unwrap_err().full, 1);
}

#[test]
fn t16_equals_share_by_chance_and_a_seed_repeats() {
    let seats: Vec<Seat> = (0..5).map(seat).collect();
    let mut hits = [0u32; 5];
    for seed in 0..2000 {
        let pick = placed(&seats, seed).unwrap();
        assert_eq!(pick.seat, placed(&seats, seed).unwrap().seat);
        hits[pick.seat] += 1;
    }
    assert!(hits.iter().all(|h| (320..480).contains(h)), "{hits:?}");
}

#[test]
fn t19_a_session_that_is_fine_stays() {
    let seats = slow_and_fast();
    let (session, need) = (late_on(1, 1), Need::default());
    let pick = pick_once(&seats, &ask(&session, &need, at(NOW)), at(NOW), 1).unwrap();
    assert_eq!((pick.conn, pick.reason), (ConnId(1), Reason::Sticky), "somebody faster is no reason");
}

#[test]
fn t19_a_breach_moves_when_all_of_it_holds() {
    let need = Need::default();
    let seats = slow_and_fast();
    let go = |seats: &[Seat], session: &Session, tokens: f64| {
        let mut moves = MoveBucket { tokens, at: at(NOW) };
        let mut rng = SmallRng::seed_from_u64(1);
        let (rules, asked) = (RouteRules::default(), ask(session, &need, at(NOW)));
        let pick = pick(seats, &asked, &rules, &Priors::default(), &mut moves, at(NOW), &mut rng).unwrap();
        (pick.conn.0, pick.reason, moves.tokens)
    };
    let late = late_on(1, 2);
    assert_eq!(go(&seats, &late, 8.0), (2, Reason::Moved, 7.0));
    assert_eq!(go(&seats, &late, 0.5), (1, Reason::Sticky, 0.5), "no token, and none spent");
    let moved = Session { last_move: Some(at(NOW - 9.0)), ..late.clone() };
    assert_eq!(go(&seats, &moved, 8.0), (1, Reason::Sticky, 8.0), "dwell");
    let dwelt = Session { last_move: Some(at(NOW - 10.0)), ..late.clone() };
    assert_eq!(go(&seats, &dwelt, 8.0).1, Reason::Moved);
    let alike = [scored(1, 0.9, 100), scored(2, 0.8, 100)];
    let steady = Session { rtr: Some(0.9), ..late.clone() };
    assert_eq!(go(&alike, &steady, 8.0), (1, Reason::Sticky, 8.0), "not better enough");
    assert_eq!(
        go(&alike, &Session { rtr: Some(2.5), ..late.clone() }, 8.0).1,
        Reason::Moved,
        "its own lateness counts"
    );
    let mut cold = slow_and_fast();
    cold[1].scores.init_sample(CLASS, 20.0, at(NOW));
    assert_eq!(go(&cold, &late, 8.0), (1, Reason::Sticky, 8.0), "the first segment would be late");
}

#[test]
fn t19_moves_of_the_whole_pool_are_rationed() {
    let seats = slow_and_fast();
    let (session, need, rules) = (late_on(1, 4), Need::default(), RouteRules::default());
    let mut moves = MoveBucket::default();
    let mut rng = SmallRng::seed_from_u64(1);
    let mut count = |now: f64| {
        let mut moved = 0;
        for _ in 0..100 {
            let asked = ask(&session, &need, at(now));
            let pick = pick(&seats, &asked, &rules, &Priors::default(), &mut moves, at(now), &mut rng).unwrap();
            moved += u32::from(pick.reason == Reason::Moved);
        }
        moved
    };
    assert_eq!((count(NOW), count(NOW), count(NOW + 1.0), count(NOW + 100.0)), (8, 0, 2, 8));
}

#[test]
fn a_session_leaves_a_seat_that_cannot_serve_it() {
    let (mut session, need) = (late_on(1, 0), Need::default());
    let spoil: [fn(&mut Seat); 4] = [
        |seat| seat.state = SeatState::Draining,
        |seat| rest(seat, NOW + 1.0),
        |seat| seat.caps.bits = Bits(vec![]),
        |seat| seat.conn = ConnId(99),
    ];
    let bits = Need { bits: Some(Bits(vec![1])), ..Need::default() };
    for spoil in spoil {
        let mut seats = [scored(1, 0.1, 100), scored(2, 0.9, 100)];
        spoil(&mut seats[0]);
        seats[0].pinned.push(pinned("s", 1.0));
        let pick = pick_once(&seats, &ask(&session, &bits, at(NOW)), at(NOW), 1).unwrap();
        assert!(pick.reason == Reason::Least && (pick.conn == ConnId(2) || pick.conn == ConnId(99)));
    }
    let seats = [scored(1, 0.1, 100), scored(2, 0.9, 100)];
    let tried = Ask { tried: &[ConnId(1)], ..ask(&session, &need, at(NOW)) };
    assert_eq!(pick_once(&seats, &tried, at(NOW), 1).unwrap().conn, ConnId(2));
    session.pin = None;
    assert_eq!(pick_once(&seats, &ask(&session, &need, at(NOW)), at(NOW), 1).unwrap().conn, ConnId(1));
}

#[test]
fn a_session_never_finds_its_own_seat_full() {
    let (session, need) = (late_on(1, 0), Need::default());
    let mut home = seat(1);
    home.declared = 1;
    home.pinned = vec![pinned("s", 1.0)];
    home.full_until = Some((at(NOW + 3.0), 0));
    assert_eq!(filter(&home, &ask(&session, &need, at(NOW)), at(NOW)), Filter::Passed);
    let pick = pick_once(&[home.clone(), seat(2)], &ask(&session, &need, at(NOW)), at(NOW), 1).unwrap();
    assert_eq!((pick.conn, pick.reason), (ConnId(1), Reason::Sticky));
    let other = Session::default();
    assert_eq!(filter(&home, &ask(&other, &need, at(NOW)), at(NOW)), Filter::Full);
}

#[test]
fn t21_when_everybody_rests_one_is_asked_all_the_same() {
    let mut seats = [scored(1, 0.9, 100), scored(2, 0.1, 100)];
    seats.iter_mut().for_each(|seat| rest(seat, NOW + 60.0));
    let pick = placed(&seats, 1).unwrap();
    assert_eq!((pick.conn, pick.reason), (ConnId(2), Reason::BestEffort));
    seats[1].running.push(running(1, at(NOW)));
    assert_eq!(placed(&seats, 1).unwrap().conn, ConnId(1), "one at a time");
    seats[0].running.push(running(2, at(NOW)));
    assert_eq!(placed(&seats, 1).unwrap_err().resting, 2);
    let mut full = scored(3, 0.1, 100);
    (full.declared, full.pinned) = (1, vec![pinned("s", 1.0)]);
    seats.iter_mut().for_each(|seat| seat.running.clear());
    let fleet = [seats[0].clone(), seats[1].clone(), full];
    let none = placed(&fleet, 1).unwrap_err();
    assert_eq!((none.resting, none.full), (2, 1), "a healthy seat will have room soon");
}

#[test]
fn feasible_seats_come_before_cheap_ones_and_the_hopeless_are_refused() {
    // 2 units x 3 s = 6 s: not feasible with the margin of half, and yet in time.
    let pick = placed(&[scored(1, 3.0, 100)], 1).unwrap();
    assert_eq!(pick.reason, Reason::BestEffort);
    let none = placed(&[scored(1, 9.0, 100), scored(2, 9.0, 100)], 1).unwrap_err();
    assert_eq!((none.seats, none.too_slow), (2, 2));
    // A seat on its ramp that can be in time is better than a free one that cannot.
    let mut young = scored(2, 0.2, 100);
    (young.successes, young.pinned) = (1, vec![pinned("s", 0.2)]);
    assert_eq!(placed(&[scored(1, 3.0, 100), young], 1).unwrap().conn, ConnId(2));
}

#[test]
fn concurrency_counts_shares_and_the_hung() {
    let (mut session, need) = (Session::default(), Need::default());
    let mut seat = seat(1);
    let n = |seat: &Seat, session: &Session| {
        predict(seat, &ask(session, &need, at(NOW)), &RouteRules::default(), &Priors::default(), at(NOW)).concurrency
    };
    assert_eq!(n(&seat, &session), 1.0);
    seat.pinned = vec![pinned("a", 0.25), pinned("b", 0.5)];
    seat.running = vec![running(1, at(NOW)), running(2, at(NOW))];
    assert_eq!(n(&seat, &session), 1.75, "in flight or not, a session counts its share");
    seat.running.push(Running { abandoned: true, ..running(3, at(NOW)) });
    seat.running.push(running(4, at(NOW)));
    assert_eq!(n(&seat, &session), 3.75, "one given up, one of nobody");
    (session.pin, session.rtr) = (Some(ConnId(1)), Some(0.5));
    assert_eq!(n(&seat, &session), 3.25, "its own share is the one");
}

#[test]
fn a_cold_encoder_costs_only_where_it_is_cold() {
    let (mut session, need) = (Session::default(), Need::default());
    let mut seat = scored(1, 0.2, 100);
    seat.scores.init_sample(CLASS, 1.0, at(NOW));
    let found = |session: &Session, tried: &[ConnId]| {
        let asked = Ask { tried, ..ask(session, &need, at(NOW)) };
        predict(&seat, &asked, &RouteRules::default(), &Priors::default(), at(NOW))
    };
    let cold = found(&session, &[]);
    session.warm.push((ConnId(1), at(NOW + 30.0)));
    let warm = found(&session, &[]);
    assert_eq!((cold.init, warm.init), (1.0, 0.0));
    assert!((cold.time - warm.time - 1.0).abs() < 1e-9);
    assert_eq!(cold.cost, warm.cost, "a session pays it once, wherever it goes");
    session.warm.clear();
    assert!(found(&session, &[ConnId(9)]).cost > warm.cost + 0.5, "a retry cannot wait for it");
}

#[test]
fn a_fleet_beyond_the_scan_limit_is_sampled_and_still_served() {
    let mut seats: Vec<Seat> = (0..3000).map(seat).collect();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let pick = placed(&seats, seed).unwrap();
        assert_eq!(pick.considered, 16);
        seen.insert(pick.conn);
    }
    assert!(seen.len() > 250, "{}", seen.len());
    // Few left: all of them are looked at, the last one included.
    seats.iter_mut().skip(1).for_each(|seat| seat.state = SeatState::Draining);
    let pick = placed(&seats, 1).unwrap();
    assert_eq!((pick.conn, pick.considered), (ConnId(0), 1));
}

#[test]
fn priors_outlive_the_seats_they_came_from() {
    let rules = RouteRules::default();
    let mut priors = Priors::default();
    priors.refresh(&[scored(1, 0.1, 10), scored(2, 0.2, 10), scored(3, 3.0, 10)], &rules, at(10.0));
    assert!((priors.of(CLASS, &rules) - 0.25).abs() < 1e-6);
    for _ in 0..100 {
        priors.refresh(&[], &rules, at(20.0));
    }
    assert!((priors.of(CLASS, &rules) - 0.25).abs() < 1e-6);
    assert_eq!(priors.of(Class::Ladder(9), &rules), rules.score.default_ratio);
}

#[test]
fn a_session_leaves_a_stuck_seat_without_a_breach() {
    let home = |age: f64| {
        let mut seat = scored(1, 0.2, 100);
        seat.running = vec![running(1, at(NOW - age))];
        seat.pinned = vec![pinned("s", 0.4), pinned("t", 0.4)];
        seat
    };
    let slow = scored(2, 0.9, 100);
    let fast = scored(2, 0.3, 100);
    // How long a job of another session runs there, the neighbour, whether the session goes, why.
    let table = [
        (0.3, &fast, false, "within what is predicted"),
        (1.0, &fast, false, "overdue, but a segment would still be in time here"),
        (5.0, &fast, true, "stuck: 5 s for a job of 0.4 s"),
        (3.0, &slow, false, "stuck, but the other is not twice as good"),
        (5.0, &slow, true, "stuck, and the other is"),
    ];
    for (age, other, goes, why) in table {
        let session = late_on(1, 0);
        let need = Need::default();
        let pick = pick_once(&[home(age), other.clone()], &ask(&session, &need, at(NOW)), at(NOW), 1).unwrap();
        assert_eq!((pick.conn, pick.reason == Reason::Moved), (ConnId(if goes { 2 } else { 1 }), goes), "{why}");
    }
}

#[test]
fn a_stuck_seat_is_left_by_no_move_token_and_kept_when_nobody_else_can() {
    let mut stuck = scored(1, 0.2, 100);
    stuck.running = vec![running(1, at(NOW - 6.0))];
    let full = Seat { declared: 0, ..scored(2, 0.1, 100) };
    let (session, need) = (late_on(1, 0), Need::default());
    let ask = ask(&session, &need, at(NOW));
    let picked = |seats: &[Seat]| {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut none = MoveBucket { tokens: 0.0, at: at(NOW) };
        pick(seats, &ask, &RouteRules::default(), &priors(seats), &mut none, at(NOW), &mut rng).unwrap().conn
    };
    assert_eq!(picked(&[stuck.clone(), full]), ConnId(1));
    assert_eq!(picked(&[stuck, scored(3, 0.2, 100)]), ConnId(3), "a hung worker is no choice of ours: no token");
}

/// The whole life of a rest: three failures, out, one trial, back or out for twice as long.
#[test]
fn a_rest_is_ended_by_one_good_trial_and_doubled_by_a_bad_one() {
    use crate::domain::outcome::Failure;
    use crate::policy::retry;
    use crate::policy::rules::RetryRules;
    let rules = RetryRules::default();
    let fails = |seat: &mut Seat, now: f64| {
        retry::failed(seat, &Failure::WorkerError("driver".into()), 1.0, at(now), &rules);
    };
    let mut seat = scored(1, 0.2, 100);
    (0..2).for_each(|_| fails(&mut seat, NOW));
    assert!(placed(std::slice::from_ref(&seat), 1).is_ok(), "two failures are let pass");
    fails(&mut seat, NOW);
    assert!(seat.resting(at(NOW + 9.9)) && !seat.resting(at(NOW + 10.1)));
    fails(&mut seat, NOW + 1.0);
    assert!(!seat.resting(at(NOW + 10.1)), "a job that was under way does not double the rest");
    let filter_at = |seat: &Seat, now: f64| {
        let (session, need) = (Session::default(), Need::default());
        filter(seat, &ask(&session, &need, at(now)), at(now))
    };
    assert_eq!(filter_at(&seat, NOW + 5.0), Filter::Resting);
    assert_eq!(filter_at(&seat, NOW + 11.0), Filter::Passed);
    seat.running = vec![running(1, at(NOW + 11.0))];
    assert_eq!(filter_at(&seat, NOW + 11.0), Filter::Trial, "one at a time");
    seat.running.clear();
    let mut good = seat.clone();
    retry::succeeded(&mut good, at(NOW + 12.0));
    assert_eq!((good.consecutive, good.on_trial()), (0, false));
    fails(&mut seat, NOW + 12.0);
    assert!(seat.resting(at(NOW + 31.9)) && !seat.resting(at(NOW + 32.1)), "one bad trial: out for 20 s");
}
