//! What holds for every fleet.
use proptest::prelude::*;

use super::super::test_fleet::*;
use super::super::*;

type Row = (f64, u32, usize, Vec<f64>, u8, u64);

/// A fleet in all states: ratio, samples, pinned, running for so long, state.
fn fleet() -> impl Strategy<Value = Vec<Seat>> {
    let row = (0.05..4.0, 0u32..20, 0usize..9, prop::collection::vec(0.0..10.0, 0..4), 0u8..10, 0u64..40);
    prop::collection::vec(row, 1..24).prop_map(|rows| {
        let one = |(i, (ratio, samples, sessions, ages, state, successes)): (usize, Row)| {
            let mut seat = scored(i as u64, ratio, samples);
            seat.successes = successes;
            seat.pinned = (0..sessions).map(|s| pinned(&s.to_string(), 0.3)).collect();
            seat.running = ages.iter().zip(0..).map(|(age, task)| running(task, at(60.0 - age))).collect();
            seat.state = match state {
                0 => SeatState::Draining,
                1 | 2 => SeatState::Resting { until: at(55.0 + f64::from(state) * 4.0), why: "x".into() },
                _ => SeatState::Ready,
            };
            seat
        };
        rows.into_iter().enumerate().map(one).collect()
    })
}

fn new_session(seats: &[Seat], seed: u64) -> Result<Pick, NoSeat> {
    let (session, need) = (Session::default(), Need::default());
    pick_once(seats, &ask(&session, &need, at(60.0)), at(60.0), seed)
}

fn same(a: &Seat, b: &Seat) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    #[test]
    fn a_pick_is_always_allowed(seats in fleet(), seed: u64) {
        let (session, need) = (Session::default(), Need::default());
        let asked = ask(&session, &need, at(60.0));
        let filters: Vec<Filter> = seats.iter().map(|seat| filter(seat, &asked, at(60.0))).collect();
        let before = seats.clone();
        match new_session(&seats, seed) {
            Ok(pick) => {
                let seat = &seats[pick.seat];
                prop_assert_eq!(seat.conn, pick.conn);
                prop_assert!(pick.prediction.cost.is_finite() && pick.prediction.effective > 0.0);
                match filters[pick.seat] {
                    Filter::Passed => {}
                    Filter::Full | Filter::Trial | Filter::Ramp => prop_assert!(seat.occupied() < seat.offered() as usize),
                    Filter::Resting => {
                        prop_assert_eq!(pick.reason, Reason::BestEffort);
                        prop_assert!(seat.running.is_empty());
                        prop_assert!(filters.iter().all(|f| matches!(f, Filter::Resting | Filter::Draining)));
                    }
                    other => prop_assert!(false, "{:?} was picked", other),
                }
            }
            Err(none) => {
                let sum = none.full + none.resting + none.draining + none.tried + none.capability + none.version;
                let passed = filters.iter().filter(|f| **f == Filter::Passed).count();
                prop_assert_eq!(none.seats, sum + passed);
                prop_assert!(passed == 0 || none.too_slow > 0, "somebody was free and in time");
            }
        }
        prop_assert!(before.iter().zip(&seats).all(|(a, b)| same(a, b)));
    }

    #[test]
    fn a_slower_seat_is_never_picked_more(ratios in prop::collection::vec(0.05..2.0, 2..12), which: prop::sample::Index, more in 0.0..2.0) {
        let which = which.index(ratios.len());
        // Fixed priors: a seat's own ratio also moves the fleet's median, which moves the others.
        let picks = |extra: f64| {
            let fleet: Vec<Seat> = ratios.iter().enumerate().map(|(i, ratio)| {
                scored(i as u64, if i == which { ratio + extra } else { *ratio }, 40)
            }).collect();
            let (session, need, rules) = (Session::default(), Need::default(), RouteRules::default());
            let hit = |seed| {
                let mut rng = <SmallRng as rand::SeedableRng>::seed_from_u64(seed);
                let asked = ask(&session, &need, at(60.0));
                let found = pick(&fleet, &asked, &rules, &Priors::default(), &mut MoveBucket::default(), at(60.0), &mut rng);
                found.is_ok_and(|pick| pick.seat == which)
            };
            (0..20).filter(|seed| hit(*seed)).count()
        };
        prop_assert!(picks(more) <= picks(0.0));
    }

    #[test]
    fn the_order_of_the_seats_does_not_matter(seats in fleet(), turn: prop::sample::Index, seed: u64) {
        let mut turned = seats.clone();
        turned.rotate_left(turn.index(seats.len()));
        turned.reverse();
        match (new_session(&seats, seed), new_session(&turned, seed)) {
            // Equals may swap by the tie-break; then they are equal in what decides.
            (Ok(a), Ok(b)) => prop_assert!(a.conn == b.conn
                || a.prediction.cost == b.prediction.cost || a.prediction.effective == b.prediction.effective),
            (Err(a), Err(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(false, "{:?} and {:?}", a, b),
        }
    }

    #[test]
    fn a_pinned_session_stays_or_has_a_reason(seats in fleet(), home: prop::sample::Index, late in 0u32..5, seed: u64) {
        let home = home.index(seats.len());
        let session = Session { pin: Some(seats[home].conn), late, rtr: Some(0.8), ..Session::default() };
        let need = Need::default();
        let asked = ask(&session, &need, at(60.0));
        let may_stay = filter(&seats[home], &asked, at(60.0)) == Filter::Passed;
        match pick_once(&seats, &asked, at(60.0), seed) {
            Ok(pick) if pick.conn == seats[home].conn => prop_assert!(pick.reason == Reason::Sticky || !may_stay),
            Ok(pick) if may_stay => {
                prop_assert_eq!(pick.reason, Reason::Moved);
                let here = predict(&seats[home], &asked, &RouteRules::default(), &Priors::default(), at(60.0));
                let stuck = overdue(&seats[home], &asked, &here, at(60.0));
                prop_assert!((late >= 2 || stuck) && filter(&seats[pick.seat], &asked, at(60.0)) == Filter::Passed);
            }
            Ok(pick) => prop_assert!(pick.reason == Reason::Least || pick.reason == Reason::BestEffort),
            Err(_) => prop_assert!(!may_stay),
        }
    }
}
