//! The scorer: decay, priors, buckets.
use proptest::prelude::*;

use super::*;

const C: Class = Class::Ladder(0);
const P: ScoreParams = ScoreParams {
    slow_tau: 60.0,
    fast_tau: 15.0,
    prior_weight: 1.0,
    prior_factor: 1.25,
    default_ratio: 0.5,
    outcome_tau: 120.0,
};

fn at(seconds: f64) -> Moment {
    Moment((seconds * 1e6) as u64)
}

fn trained(ratio: f64, samples: u32) -> Scores {
    let mut scores = Scores::default();
    for i in 0..samples {
        scores.sample(C, 1.0, ratio, at(f64::from(i)), &P);
    }
    scores
}

#[test]
fn nothing_known_is_the_prior_and_grows_with_concurrency() {
    let scores = Scores::default();
    assert_eq!(scores.ratio(C, 1.0, 0.4, at(5.0), &P), 0.4);
    assert!(scores.ratio(C, 4.0, 0.4, at(5.0), &P) > 0.4);
    assert!(scores.is_empty());
    assert_eq!(scores.init(C), 0.0);
}

#[test]
fn the_usual_class_is_the_last_one_measured() {
    let mut scores = trained(0.2, 3);
    assert_eq!(scores.usual(), Some(C));
    scores.failed(Class::Ladder(2), 1.0, at(9.0), &P);
    assert_eq!(scores.usual(), Some(C), "of a failure no speed is known");
    scores.sample(Class::Ladder(1), 1.0, 0.4, at(10.0), &P);
    assert_eq!(scores.usual(), Some(Class::Ladder(1)));
    assert_eq!(Scores::default().usual(), None);
}

#[test]
fn one_sample_halves_the_prior() {
    let mut scores = Scores::default();
    scores.sample(C, 1.0, 0.2, at(0.0), &P);
    let ratio = scores.ratio(C, 1.0, 0.6, at(0.0), &P);
    assert!((ratio - 0.4).abs() < 1e-6, "{ratio}");
}

#[test]
fn t02_idle_falls_back_to_the_prior_never_to_zero() {
    let scores = trained(2.0, 30);
    let busy = scores.ratio(C, 1.0, 0.5, at(30.0), &P);
    assert!(busy > 1.8, "{busy}");
    let mut last = busy;
    for minute in 1..=60 {
        let ratio = scores.ratio(C, 1.0, 0.5, at(30.0 + 60.0 * f64::from(minute)), &P);
        assert!(ratio <= last + 1e-9 && ratio >= 0.5 - 1e-9, "{ratio} after {minute} min");
        last = ratio;
    }
    assert!((last - 0.5).abs() < 1e-3, "{last}");
    // A fast worker is not forgotten into something better either.
    let fast = trained(0.1, 30);
    assert!(fast.ratio(C, 1.0, 0.5, at(3600.0), &P) > fast.ratio(C, 1.0, 0.5, at(31.0), &P));
}

#[test]
fn t03_a_burst_counts_each_sample_once_whatever_its_age() {
    // The same ten samples, spread or in one instant: the mean is the same, only its weight differs.
    let mut burst = Scores::default();
    (0..10).for_each(|_| burst.sample(C, 1.0, 0.3, at(10.0), &P));
    assert!((burst.ratio(C, 1.0, 0.3, at(10.0), &P) - 0.3).abs() < 1e-6);
    burst.sample(C, 1.0, 3.3, at(10.0), &P);
    // Eleven samples of weight 1 and the prior: (10 x 0.3 + 3.3 + 0.3) / 12.
    assert!((burst.ratio(C, 1.0, 0.3, at(10.0), &P) - 6.6 / 12.0).abs() < 0.03);
}

#[test]
fn t04_classes_do_not_mix() {
    let scores = trained(2.0, 30);
    assert_eq!(scores.ratio(Class::Ladder(3), 1.0, 0.5, at(30.0), &P), 0.5);
}

#[test]
fn t05_late_samples_still_move_the_score() {
    let mut scores = trained(0.1, 500);
    for i in 0..10 {
        scores.sample(C, 1.0, 1.0, at(500.0 + f64::from(i)), &P);
    }
    let ratio = scores.ratio(C, 1.0, 0.1, at(510.0), &P);
    assert!(ratio > 0.4, "{ratio}");
}

#[test]
fn t07_failing_fast_does_not_look_fast() {
    let mut scores = Scores::default();
    (0..50).for_each(|i| scores.failed(C, 1.0, at(f64::from(i) * 0.01), &P));
    assert_eq!(scores.ratio(C, 1.0, 0.5, at(1.0), &P), 0.5);
    assert!(scores.failure_rate(C, at(1.0), &P) > 0.7);
}

#[test]
fn t15_a_cold_start_stays_out_of_the_steady_score() {
    let mut scores = trained(0.2, 20);
    let before = scores.ratio(C, 1.0, 0.2, at(20.0), &P);
    scores.init_sample(C, 1.2, at(20.0));
    scores.init_sample(C, 0.2, at(20.0));
    assert_eq!(before, scores.ratio(C, 1.0, 0.2, at(20.0), &P));
    assert!((scores.init(C) - 0.9).abs() < 1e-6);
}

#[test]
fn quick_to_fear_slow_to_trust() {
    let mut scores = trained(0.2, 120);
    (120..126).for_each(|i| scores.sample(C, 1.0, 2.0, at(f64::from(i)), &P));
    let hurt = scores.ratio(C, 1.0, 0.25, at(126.0), &P);
    assert!(hurt > 0.6, "six bad seconds show: {hurt}");
    (126..132).for_each(|i| scores.sample(C, 1.0, 0.2, at(f64::from(i)), &P));
    assert!(scores.ratio(C, 1.0, 0.25, at(132.0), &P) > 0.3, "six good ones do not yet clear it");
}

#[test]
fn a_missing_bucket_is_guessed_from_below_then_from_above() {
    let scores = trained(0.2, 300);
    let alone = scores.ratio(C, 1.0, 0.2, at(300.0), &P);
    let three = scores.ratio(C, 3.5, 0.2, at(300.0), &P);
    assert!((three / alone - 3.5f64.powf(0.7)).abs() < 1e-6);
    let mut above = Scores::default();
    (0..300).for_each(|i| above.sample(C, 6.0, 0.9, at(f64::from(i)), &P));
    let guess = above.ratio(C, 1.0, 0.9, at(300.0), &P);
    assert!((guess - 0.9).abs() < 1e-3, "as it is: {guess}");
}

#[test]
fn a_faded_bucket_gives_way_to_a_live_neighbour() {
    let mut scores = Scores::default();
    scores.sample(C, 4.0, 0.1, at(0.0), &P);
    (0..60).for_each(|i| scores.sample(C, 1.0, 2.0, at(900.0 + f64::from(i)), &P));
    assert!(scores.ratio(C, 4.0, 0.1, at(960.0), &P) > 2.0, "an hour-old guess does not hide a slow worker");
}

#[test]
fn measured_is_the_plain_mean_at_concurrency_one() {
    assert_eq!(Scores::default().measured(C), None);
    assert!((trained(0.4, 10).measured(C).unwrap() - 0.4).abs() < 1e-6);
    let mut crowded = Scores::default();
    crowded.sample(C, 4.0, 1.0, at(0.0), &P);
    assert!((crowded.measured(C).unwrap() - 3.5f64.powf(-0.7)).abs() < 1e-6);
}

#[test]
fn outcomes_fade_to_a_hundredth() {
    let mut scores = Scores::default();
    assert!((scores.failure_rate(C, at(0.0), &P) - 0.01).abs() < 1e-9);
    (0..100).for_each(|_| scores.succeeded(C, at(0.0), &P));
    assert!(scores.failure_rate(C, at(0.0), &P) < 0.002);
    scores.failed(C, 2.0, at(0.0), &P);
    assert!(scores.failure_rate(C, at(0.0), &P) > 0.015);
    assert!((scores.failure_rate(C, at(7200.0), &P) - 0.01).abs() < 1e-6);
}

#[test]
fn the_table_is_bounded_and_the_oldest_class_goes() {
    let mut scores = Scores::default();
    for i in 0..=MOST_CLASSES as u64 {
        scores.sample(Class::Ladder(i as i8), 1.0, 0.9, at(i as f64), &P);
        // The first class stays in use.
        scores.succeeded(Class::Ladder(0), at(i as f64 + 0.5), &P);
    }
    assert_eq!(scores.classes().count(), MOST_CLASSES);
    assert!(scores.measured(Class::Ladder(0)).is_some());
    assert_eq!(scores.measured(Class::Ladder(1)), None);
}

#[test]
fn nonsense_samples_are_dropped() {
    let mut scores = Scores::default();
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        scores.sample(C, 1.0, bad, at(0.0), &P);
    }
    scores.init_sample(C, f64::NAN, at(0.0));
    assert!(scores.is_empty());
    scores.sample(C, f64::NAN, 1e300, at(0.0), &P);
    scores.init_sample(C, -3.0, at(0.0));
    assert!(scores.ratio(C, 1.0, 0.5, at(0.0), &P).is_finite());
    assert_eq!(scores.init(C), 0.0);
}

#[derive(Clone, Debug)]
enum Act {
    Sample(f64, f64),
    Init(f64),
    Good,
    Bad,
    Read(f64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0.0..30.0, 0.0..5.0).prop_map(|(n, x)| Act::Sample(n, x)),
        (0.0..3.0).prop_map(Act::Init),
        Just(Act::Good),
        Just(Act::Bad),
        (0.0..30.0).prop_map(Act::Read),
    ]
}

fn replay(acts: &[(f64, Act)], reads: bool) -> (Scores, f64) {
    let (mut scores, mut clock) = (Scores::default(), 0.0);
    for (wait, act) in acts {
        clock += wait;
        let now = at(clock);
        match act {
            Act::Sample(n, x) => scores.sample(C, *n, *x, now, &P),
            Act::Init(x) => scores.init_sample(C, *x, now),
            Act::Good => scores.succeeded(C, now, &P),
            Act::Bad => scores.failed(C, 1.0, now, &P),
            Act::Read(n) if reads => {
                let seen = (scores.ratio(C, *n, 0.5, now, &P), scores.failure_rate(C, now, &P));
                assert!(seen.0.is_finite() && seen.1 > 0.0);
            }
            Act::Read(_) => {}
        }
    }
    (scores, clock)
}

proptest! {
    #[test]
    fn t01_reads_change_nothing(acts in prop::collection::vec((0.0..40.0, act()), 0..60)) {
        prop_assert_eq!(replay(&acts, true), replay(&acts, false));
    }

    #[test]
    fn the_score_stays_between_the_prior_and_the_samples(
        samples in prop::collection::vec((0.0..30.0, 0.01..5.0), 1..40), prior in 0.01..5.0, wait in 0.0..9000.0,
    ) {
        let mut scores = Scores::default();
        let mut clock = 0.0;
        let (mut least, mut most): (f64, f64) = (prior, prior);
        for (gap, ratio) in samples {
            clock += gap;
            scores.sample(C, 1.0, ratio, at(clock), &P);
            (least, most) = (least.min(ratio), most.max(ratio));
        }
        let ratio = scores.ratio(C, 1.0, prior, at(clock + wait), &P);
        prop_assert!(ratio >= least * 0.999 && ratio <= most * 1.001, "{} not in {}..{}", ratio, least, most);
    }

    #[test]
    fn a_slower_sample_never_lowers_the_score(
        samples in prop::collection::vec(0.01..3.0, 1..20), which in 0usize..20, more in 0.0..3.0,
    ) {
        let which = which % samples.len();
        let run = |extra: f64| {
            let mut scores = Scores::default();
            for (i, ratio) in samples.iter().enumerate() {
                let ratio = if i == which { ratio + extra } else { *ratio };
                scores.sample(C, 1.0, ratio, at(i as f64 * 3.0), &P);
            }
            scores.ratio(C, 2.0, 0.5, at(70.0), &P)
        };
        prop_assert!(run(more) >= run(0.0) - 1e-6);
    }
}
