//! Segments go through: the happy path, each kind of bad worker, restarts, teardown, two
//! orchestrators.
use std::time::Duration;

use openpool_proxy::sim::orchestrator::{Fate, OrchestratorPlan, SimOrchestrator, Traffic};
use openpool_proxy::sim::worker::Behaviour;

use crate::bed::{Bed, SECRET, until};

/// `segments` of each of `sessions`, serial within a session; the fates.
async fn submit(orchestrator: &SimOrchestrator, sessions: usize, segments: i64) -> Vec<Fate> {
    let one = |n: usize| async move {
        let mut fates = Vec::new();
        for sequence in 0..segments {
            fates.push(orchestrator.submit(&format!("session-{n}"), sequence).await);
        }
        fates
    };
    let all = futures_util::future::join_all((0..sessions).map(one)).await;
    all.into_iter().flatten().collect()
}

fn delivered(fates: &[Fate]) -> usize {
    fates.iter().filter(|fate| **fate == Fate::Delivered).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_segments_arrive_to_the_byte_and_are_paid_once() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.honest("a");
    bed.honest("b");
    bed.ready().await;
    let fates = submit(&bed.orchestrators[0], 4, 10).await;
    assert_eq!(delivered(&fates), 40, "{fates:?}");
    let counters = bed.orchestrators[0].counters();
    assert_eq!((counters.wrong_bytes, counters.wrong_pixels, counters.unknown_results), (0, 0, 0));
    let taken = || bed.workers.iter().map(|w| w.counters().taken).sum::<u64>();
    until("every worker has its 200", || taken() == 40).await;
    let books = bed.books().await;
    assert_eq!((books.posted, books.in_doubt_total, books.pending), (40, 0, 0));
}

/// A bad worker beside a good one: nothing is lost, no registration is lost, the books balance.
async fn beside_a_good_one(behaviour: Behaviour, segments: i64) -> (u64, Bed) {
    let mut bed = Bed::new(1, |settings| {
        settings.rules.retry.rest_after = 1000;
        settings.rules.retry.least_patience = Duration::from_millis(300);
    })
    .await;
    bed.worker("bad", behaviour, |_| {});
    bed.honest("good");
    bed.ready().await;
    let fates = submit(&bed.orchestrators[0], 4, segments).await;
    assert_eq!(delivered(&fates), fates.len(), "{behaviour:?}: {fates:?}");
    let counters = bed.orchestrators[0].counters();
    assert_eq!((counters.registrations_lost, counters.answered_late, counters.wrong_bytes), (0, 0, 0));
    assert_eq!(bed.retired(), Vec::<String>::new());
    let bad = bed.workers[0].counters().jobs;
    (bad, bed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_worker_costs_nothing() {
    let (asked, bed) = beside_a_good_one(Behaviour::Fails { rate: 1.0 }, 8).await;
    assert!(asked > 0);
    bed.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_worker_costs_nothing() {
    let (asked, bed) = beside_a_good_one(Behaviour::Hangs { rate: 1.0 }, 3).await;
    assert!(asked > 0);
    bed.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cheating_worker_is_refused_and_earns_nothing() {
    let (asked, bed) = beside_a_good_one(Behaviour::Cheats, 8).await;
    assert!(asked > 0);
    let refusal = bed.workers[0].counters().last_refusal.unwrap_or_default();
    assert!(refusal.contains("pixels"), "the worker reads a sentence: {refusal}");
    let books = bed.books().await;
    assert_eq!(books.balances.keys().filter(|account| account.contains(".bad")).count(), 0, "{books:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stalls_in_its_upload_costs_nothing() {
    let (asked, bed) = beside_a_good_one(Behaviour::Stalls, 2).await;
    assert!(asked > 0);
    bed.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_returns_the_source_is_refused() {
    let (asked, bed) = beside_a_good_one(Behaviour::Echoes, 6).await;
    assert!(asked > 0 && bed.workers[0].counters().refused > 0);
    bed.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_in_mid_job_costs_nothing() {
    let (asked, bed) = beside_a_good_one(Behaviour::Dies { rate: 1.0 }, 6).await;
    assert!(asked > 0);
    bed.books().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_bad_tasks_lose_no_registration() {
    let mut bed = Bed::new(1, |settings| settings.rules.retry.rest_after = 1_000_000).await;
    for n in 0..3 {
        bed.worker(&format!("bad{n}"), Behaviour::Fails { rate: 1.0 }, |plan| plan.ratio = 0.001);
    }
    bed.ready().await;
    let fates = submit(&bed.orchestrators[0], 10, 100).await;
    assert_eq!(fates.len(), 1000);
    let odd: Vec<&Fate> = fates.iter().filter(|fate| !matches!(fate, Fate::Error(_))).collect();
    assert!(odd.is_empty(), "each is answered by an error, not so {odd:?}");
    let counters = bed.orchestrators[0].counters();
    assert_eq!((counters.registrations_lost, counters.answered_late, counters.delivered), (0, 0, 0));
    assert_eq!(bed.books().await.posted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_workers_at_all_still_answers_in_time() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.worker("only", Behaviour::Hangs { rate: 1.0 }, |_| {});
    bed.ready().await;
    let fates = submit(&bed.orchestrators[0], 1, 1).await;
    assert!(matches!(fates[0], Fate::Error(_)), "{fates:?}");
    assert_eq!(bed.orchestrators[0].counters().registrations_lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_restarts_retire_no_worker() {
    let mut bed = Bed::new(1, |settings| settings.drain = Duration::from_millis(500)).await;
    for n in 0..3 {
        bed.honest(&format!("w{n}"));
    }
    for round in 0..100 {
        if round % 2 == 0 {
            bed.stop().await;
        } else {
            bed.cut().await;
        }
        bed.start().await;
        if round % 10 == 9 {
            bed.ready().await;
        }
        assert_eq!(bed.retired(), Vec::<String>::new(), "round {round}");
    }
    bed.ready().await;
    assert_eq!(delivered(&submit(&bed.orchestrators[0], 2, 2).await), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_workers_raise_the_capacity_without_a_gap() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.honest("a");
    bed.ready().await;
    until("all four streams", || bed.orchestrators[0].registrations().len() == 4).await;
    let before: i64 = bed.orchestrators[0].registrations().iter().sum();
    assert_eq!(before, 10);
    for n in 0..3 {
        bed.honest(&format!("late{n}"));
    }
    let stream = submit(&bed.orchestrators[0], 4, 30);
    let raised = until("capacity of 40", || {
        bed.orchestrators[0].registrations().iter().sum::<i64>() == 40
            && bed.orchestrators[0].registrations().len() == 4
    });
    let (fates, ()) = tokio::join!(stream, raised);
    assert_eq!(delivered(&fates), 120, "{fates:?}");
    assert_eq!(bed.orchestrators[0].counters().no_transcoder, 0, "no gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_with_an_automatic_limit_counts_every_registration() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.honest("a");
    bed.ready().await;
    until("all four streams", || bed.orchestrators[0].registrations().len() == 4).await;
    let capacity: i64 = bed.orchestrators[0].registrations().iter().sum();
    assert_eq!(bed.orchestrators[0].session_limit(), capacity, "one was forgotten: they came at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_reaches_its_worker() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.honest("a");
    bed.ready().await;
    assert_eq!(delivered(&submit(&bed.orchestrators[0], 1, 2).await), 2);
    bed.orchestrators[0].end_session("session-0").await;
    until("the worker hears of it", || bed.workers[0].counters().ended_sessions == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_segments_ends_by_itself() {
    let mut bed = Bed::new(1, |settings| settings.rules.route.session_idle = Duration::from_secs(1)).await;
    bed.honest("a");
    bed.ready().await;
    submit(&bed.orchestrators[0], 1, 1).await;
    until("the worker hears of it", || bed.workers[0].counters().ended_sessions == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_orchestrators_with_equal_task_numbers() {
    let mut bed = Bed::new(2, |_| {}).await;
    bed.honest("a");
    bed.honest("b");
    bed.ready().await;
    let (one, two) = tokio::join!(submit(&bed.orchestrators[0], 3, 10), submit(&bed.orchestrators[1], 3, 10));
    assert_eq!((delivered(&one), delivered(&two)), (30, 30));
    for orchestrator in &bed.orchestrators {
        let counters = orchestrator.counters();
        assert_eq!((counters.wrong_bytes, counters.unknown_results), (0, 0));
    }
    assert_eq!(bed.books().await.posted, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_stay_when_the_orchestrator_restarts() {
    let mut bed = Bed::new(1, |_| {}).await;
    bed.honest("a");
    bed.ready().await;
    assert_eq!(delivered(&submit(&bed.orchestrators[0], 1, 3).await), 3);
    let mut plan = OrchestratorPlan::new(SECRET, Traffic::None);
    plan.listen = bed.orchestrators[0].address();
    bed.orchestrators.remove(0).stop().await;
    bed.orchestrators.push(SimOrchestrator::start(plan).await.unwrap());
    bed.ready().await;
    assert_eq!(delivered(&submit(&bed.orchestrators[0], 1, 3).await), 3, "task numbers begin at 0 again");
    assert_eq!(bed.workers[0].counters().attempts, 1, "the worker never noticed");
}
