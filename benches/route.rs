//! What the scorer and a pick cost. `cargo bench --bench route`: nanoseconds a seat, beside the
//! floor in the same run: a bare scan that sums one number a seat over the same rows.
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openpool_proxy::domain::capability::{Bits, Capabilities, DEFAULT_BITS, Need};
use openpool_proxy::domain::ids::{ConnId, OrchestratorName, SessionKey, TaskId, WorkerName};
use openpool_proxy::domain::job::Class;
use openpool_proxy::domain::score::{ScoreParams, Scores};
use openpool_proxy::domain::seat::{Road, Running, Seat, SeatState, Session};
use openpool_proxy::domain::time::Moment;
use openpool_proxy::policy::route::{Ask, MoveBucket, Priors, pick, predict};
use openpool_proxy::policy::rules::RouteRules;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const CLASS: Class = Class::Ladder(0);
const NOW: Moment = Moment(100_000_000);

/// A fleet at work: every seat scored at some concurrencies, with two sessions and a running job.
fn fleet(count: u64) -> Vec<Seat> {
    let mut rng = SmallRng::seed_from_u64(count);
    (0..count).map(|conn| busy_seat(conn, &mut rng)).collect()
}

fn busy_seat(conn: u64, rng: &mut SmallRng) -> Seat {
    let params = ScoreParams::default();
    let mut scores = Scores::default();
    let speed = rng.random_range(0.1..0.8);
    for second in 0..30 {
        let at = Moment(70_000_000 + second * 1_000_000);
        let crowd = rng.random_range(1.0..4.0);
        scores.sample(CLASS, crowd, speed * rng.random_range(0.8..1.2), at, &params);
        scores.succeeded(CLASS, at, &params);
    }
    let session = |n: u64| SessionKey { orchestrator: OrchestratorName::from("o"), session: format!("{n}").into() };
    let since = Moment(NOW.0 - rng.random_range(0..1_000_000));
    Seat {
        conn: ConnId(conn),
        worker: WorkerName::from(format!("worker-{conn}").as_str()),
        address: None,
        caps: Capabilities::assumed("0.8.8"),
        road: Road::Worker,
        models: Vec::new(),
        declared: 8,
        allowed: 100,
        state: SeatState::Ready,
        joined: Moment(0),
        scores,
        running: vec![Running { task: TaskId(conn as i64 + 1), class: CLASS, units: 2.0, since, abandoned: false }],
        pinned: (0..2).map(|n| (session(conn * 2 + n), 0.3)).collect(),
        successes: 30,
        failures: 0,
        consecutive: 0,
        rested: 0,
        last_failure: None,
        full_until: None,
    }
}

fn score(c: &mut Criterion) {
    let params = ScoreParams::default();
    let mut scores = Scores::default();
    let mut now = Moment(0);
    c.bench_function("score/sample", |b| {
        b.iter(|| {
            now = now + Duration::from_millis(10);
            scores.sample(CLASS, black_box(2.0), black_box(0.3), now, &params);
        });
    });
    c.bench_function("score/ratio", |b| {
        b.iter(|| black_box(&scores).ratio(CLASS, black_box(2.0), 0.4, now, &params));
    });
}

fn scans(c: &mut Criterion) {
    let session = Session::default();
    let need = Need { bits: Some(Bits(vec![DEFAULT_BITS])), ..Need::default() };
    let answer_by = NOW + Duration::from_millis(7650);
    let ask = Ask {
        class: CLASS,
        units: 2.0,
        soft_target: 1.6,
        answer_by,
        need: &need,
        model: None,
        tried: &[],
        session: &session,
    };
    let sampled = RouteRules::default();
    let full = RouteRules { scan_limit: usize::MAX, ..RouteRules::default() };
    for count in [64, 512, 1_000, 10_000] {
        let seats = fleet(count);
        let mut priors = Priors::default();
        priors.refresh(&seats, &sampled, NOW);
        let mut group = c.benchmark_group(format!("route/{count}"));
        group.throughput(Throughput::Elements(count));
        group.bench_function("floor: sum one number a seat", |b| {
            b.iter(|| black_box(&seats).iter().map(|seat| seat.successes as f64).sum::<f64>());
        });
        group.bench_function("predict every seat", |b| {
            b.iter(|| black_box(&seats).iter().map(|s| predict(s, &ask, &sampled, &priors, NOW).cost).sum::<f64>());
        });
        for (name, rules) in [("pick by full scan", &full), ("pick", &sampled)] {
            let mut rng = SmallRng::seed_from_u64(1);
            let mut moves = MoveBucket::default();
            group.bench_function(name, |b| {
                b.iter(|| pick(black_box(&seats), &ask, rules, &priors, &mut moves, NOW, &mut rng).is_ok());
            });
        }
        group.finish();
    }
}

/// Nanoseconds a seat, as the design states its figure: the least of several rounds.
fn a_seat(_: &mut Criterion) {
    let session = Session::default();
    let need = Need { bits: Some(Bits(vec![DEFAULT_BITS])), ..Need::default() };
    let answer_by = NOW + Duration::from_millis(7650);
    let ask = Ask {
        class: CLASS,
        units: 2.0,
        soft_target: 1.6,
        answer_by,
        need: &need,
        model: None,
        tried: &[],
        session: &session,
    };
    let full = RouteRules { scan_limit: usize::MAX, ..RouteRules::default() };
    println!("{:>8} {:>14} {:>14} {:>14}", "seats", "floor ns/seat", "pick ns/seat", "pick us");
    for count in [64u64, 512, 1_000, 10_000] {
        let seats = fleet(count);
        let mut priors = Priors::default();
        priors.refresh(&seats, &full, NOW);
        let mut rng = SmallRng::seed_from_u64(1);
        let mut moves = MoveBucket::default();
        let floor = least(|| black_box(&seats).iter().map(|seat| seat.successes as f64).sum::<f64>());
        let picked = least(|| pick(black_box(&seats), &ask, &full, &priors, &mut moves, NOW, &mut rng).is_ok());
        let each = |span: f64| span / count as f64;
        println!("{count:>8} {:>14.2} {:>14.2} {:>14.1}", each(floor), each(picked), picked / 1000.0);
    }
}

/// Nanoseconds of one call: the least mean of 30 rounds of 20 calls.
fn least<T>(mut call: impl FnMut() -> T) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "a bench is where time is measured")]
    let mut round = || {
        let start = std::time::Instant::now();
        (0..20).for_each(|_| drop(black_box(call())));
        start.elapsed().as_nanos() as f64 / 20.0
    };
    (0..30).map(|_| round()).fold(f64::INFINITY, f64::min)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = score, scans, a_seat
}
criterion_main!(benches);
