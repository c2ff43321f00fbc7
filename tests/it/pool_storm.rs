//! A seeded storm over the pool with a real ledger: workers join, leave, answer, lie and fall
//! silent; nothing leaks, every job is answered in time, and the books say what was accepted.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::ids::{Epoch, OrchestratorName, TaskId};
use openpool_proxy::domain::outcome::Failure;
use openpool_proxy::domain::work::{Counted, MediaFacts};
use openpool_proxy::pool::{Answer, Claim, Order, Pool, Seated, Upstream, Verdict, Worker};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::pool::{Bench, TRUE_PIXELS, join, new_job, result};

const WORKERS: usize = 12;
const SESSIONS: usize = 40;
const SEGMENTS: i64 = 12;

/// What the storm saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    accepted: AtomicU64,
    unsure: AtomicU64,
    delivered: AtomicU64,
    errors: AtomicU64,
    gone: AtomicU64,
    late: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

async fn pause(rng: &mut SmallRng, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..=most_ms))).await;
}

/// Does one task somehow; false when it was never answered.
async fn task(pool: &Pool, worker: &Worker, task: TaskId, key: Arc<str>, mut rng: SmallRng) -> bool {
    if rng.random_bool(0.5)
        && let Some(mut reader) = pool.source(&key)
    {
        while let Some(Ok(_)) = reader.next().await {}
    }
    pause(&mut rng, 20).await;
    let fate = rng.random_range(0..100);
    if fate < 8 {
        return false;
    }
    if fate < 16 {
        tokio::time::sleep(Duration::from_millis(rng.random_range(100..1600))).await;
    }
    let Ok(claim) = pool.claim(worker, task) else { return true };
    match fate {
        16..22 => drop(claim.error("a fault of the driver")),
        22..25 => drop(claim.error("TranscoderBusy")),
        25..27 => drop(claim.error("No keyframes in input")),
        27..31 => {
            let half = result(&claim, TRUE_PIXELS, 1).await;
            drop((half, claim));
        }
        31..36 => {
            let lie = result(&claim, 4 * TRUE_PIXELS, 1).await;
            let verdict = claim.result(lie).await;
            assert!(!matches!(verdict, Verdict::Accepted), "{verdict:?}");
        }
        _ => {
            good(claim, &mut rng).await;
            if rng.random_bool(0.1)
                && let Ok(again) = pool.claim(worker, task)
            {
                good(again, &mut rng).await;
            }
        }
    }
    true
}

async fn good(claim: Claim, rng: &mut SmallRng) {
    let answer = result(&claim, TRUE_PIXELS, 1).await;
    pause(rng, 5).await;
    let verdict = claim.result(answer).await;
    assert!(!matches!(verdict, Verdict::Storage(_) | Verdict::Refused(_)), "{verdict:?}");
}

/// Joins, works, leaves and joins again, until the storm is over; its last seat stays.
async fn worker(pool: Pool, who: Worker, mut rng: SmallRng, seen: Arc<Seen>) -> Seated {
    loop {
        let mut seat = pool.join(&who, join(rng.random_range(1..6))).unwrap();
        let mut tasks: JoinSet<Option<TaskId>> = JoinSet::new();
        let mut silent = Vec::new();
        let stays = Duration::from_millis(rng.random_range(50..1500));
        let leave = tokio::time::Instant::now() + stays;
        loop {
            let over = seen.stop.load(Ordering::Relaxed);
            let order = tokio::time::timeout(Duration::from_millis(20), seat.next()).await;
            while let Some(done) = tasks.try_join_next() {
                silent.extend(done.unwrap());
            }
            match order {
                Ok(Some(Order::Segment { task: number, key, .. })) => {
                    let (pool, who, rng) = (pool.clone(), who.clone(), SmallRng::from_rng(&mut rng));
                    tasks.spawn(async move { (!task(&pool, &who, number, key, rng).await).then_some(number) });
                }
                Ok(Some(_)) => {}
                Ok(None) => panic!("the pool closed a seat"),
                Err(_) if over => {
                    while let Some(done) = tasks.join_next().await {
                        silent.extend(done.unwrap());
                    }
                    // A silent worker comes to itself: too late, and its slot is free again.
                    silent.into_iter().for_each(|number| drop(pool.claim(&who, number)));
                    return seat;
                }
                Err(_) => {}
            }
            if !over && tokio::time::Instant::now() >= leave && rng.random_bool(0.3) {
                break;
            }
        }
    }
}

/// One session, its segments one after another.
async fn session(pool: Pool, n: usize, mut rng: SmallRng, seen: Arc<Seen>) {
    for sequence in 0..SEGMENTS {
        let mut new = new_job(&format!("s{n}"), sequence);
        new.session.orchestrator = OrchestratorName::from(["a", "b"][n % 2]);
        new.epoch = Epoch::from(format!("e{}", rng.random_range(0..2)).as_str());
        let (name, epoch, key) = (new.session.orchestrator.clone(), new.epoch.clone(), new.session.clone());
        let mut ticket = pool.submit(new).unwrap();
        let (source, fails) = (ticket.source(), rng.random_bool(0.03));
        let mut feeder = SmallRng::from_rng(&mut rng);
        let feed = async move {
            for _ in 0..3 {
                source.push(Bytes::from_static(&[1; 1000])).unwrap();
                pause(&mut feeder, 5).await;
            }
            let facts = Counted { width: 640, height: 360, frames: 60, duration_ms: 2000, digest: 1 };
            source.end(if fails { Err(Failure::Source("broke off".into())) } else { Ok(MediaFacts::Counted(facts)) });
        };
        let answer_by = ticket.job().answer_by;
        if rng.random_bool(0.02) {
            // Dropped in the middle, as by a panic.
            let _ = tokio::time::timeout(Duration::from_millis(5), ticket.work()).await;
            continue;
        }
        let (answer, ()) = tokio::join!(ticket.work(), feed);
        if pool.clock().now() > answer_by + Duration::from_millis(150) {
            count(&seen.late);
        }
        match answer {
            Answer::Result(..) => {
                count(&seen.delivered);
                match rng.random_range(0..20) {
                    0 => ticket.close(&Upstream::Refused("500".into())),
                    1 => ticket.close(&Upstream::Unsent("broke".into())),
                    2 => {
                        count(&seen.unsure);
                        ticket.close(&Upstream::Unsure("no word".into()));
                    }
                    3 => drop(ticket),
                    _ => {
                        count(&seen.accepted);
                        ticket.close(&Upstream::Accepted);
                    }
                }
            }
            Answer::Error(text) => {
                count(&seen.errors);
                ticket.close(&Upstream::Unsent(text));
            }
            Answer::Gone => count(&seen.gone),
        }
        if rng.random_bool(0.02) {
            pool.epoch(&name, &epoch);
        }
        if rng.random_bool(0.05) {
            pool.end_session(&key, None);
        }
    }
}

async fn storm(seed: u64) {
    let bench = Bench::new(|rules| {
        rules.retry.answer_margin = Duration::from_millis(6000);
        rules.retry.least_patience = Duration::from_millis(100);
        rules.retry.rest = Duration::from_millis(100);
        rules.retry.longest_rest = Duration::from_millis(300);
        rules.join.most_capacity = 8;
    });
    let mut rng = SmallRng::seed_from_u64(seed);
    let seen = Arc::new(Seen::default());
    let mut workers = JoinSet::new();
    for n in 0..WORKERS {
        let who = bench.knock(&format!("0x{}.w{n}", "11".repeat(20))).unwrap();
        workers.spawn(worker(bench.pool.clone(), who, SmallRng::from_rng(&mut rng), seen.clone()));
    }
    let mut sessions = JoinSet::new();
    for n in 0..SESSIONS {
        sessions.spawn(session(bench.pool.clone(), n, SmallRng::from_rng(&mut rng), seen.clone()));
    }
    let all = async {
        while let Some(done) = sessions.join_next().await {
            done.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("every ticket is answered");
    seen.stop.store(true, Ordering::Relaxed);
    let seats = workers.join_all().await;

    let view = bench.pool.view();
    let held: Vec<_> = view.workers.iter().filter(|w| w.running > 0).collect();
    assert!(held.is_empty(), "seed {seed}: permits are left: {held:?}");
    assert_eq!((view.jobs, view.waiting, view.shelf_bytes), (0, 0, 0), "seed {seed}");
    assert!(view.sessions <= SESSIONS);
    let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(n(&seen.late), 0, "seed {seed}: answers after their time");
    assert!(n(&seen.delivered) > 200, "seed {seed}: the storm delivered {}", n(&seen.delivered));
    bench.pool.sweep_at(bench.pool.clock().now() + Duration::from_secs(1000));
    let view = bench.pool.view();
    assert_eq!((view.leases, view.sessions), (0, 0), "seed {seed}");
    assert!(view.workers.iter().all(|w| w.sessions == 0), "seed {seed}: sessions stay pinned");
    drop(seats);
    let (accepted, unsure) = (n(&seen.accepted), n(&seen.unsure));
    let books = bench.books();
    assert!(books.balanced, "seed {seed}: {books:?}");
    assert_eq!((books.posted, books.in_doubt_total, books.pending), (accepted, unsure, 0), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_leaks_nothing_and_balances() {
    for seed in 1..=2 {
        storm(seed).await;
    }
}
