//! The simulated peers against each other, nothing in the middle.
use std::time::Duration;

use super::*;

const SECRET: &str = "tests";

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

fn quick(name: &str) -> WorkerPlan {
    let second = Duration::from_millis(20);
    WorkerPlan { ratio: 0.02, first_backoff: second, longest_backoff: second, ..WorkerPlan::new(name, SECRET) }
}

async fn orchestrator(change: impl FnOnce(&mut OrchestratorPlan)) -> SimOrchestrator {
    let mut plan = OrchestratorPlan::new(SECRET, Traffic::None);
    change(&mut plan);
    SimOrchestrator::start(plan).await.unwrap()
}

async fn worker(orchestrator: &SimOrchestrator, plan: WorkerPlan) -> SimWorker {
    let before = orchestrator.registrations().len();
    let worker = SimWorker::start(orchestrator.address(), plan).unwrap();
    until("registered", || orchestrator.registrations().len() > before).await;
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_segments_arrive_as_they_were_made() {
    let orchestrator = orchestrator(|_| {}).await;
    let worker = worker(&orchestrator, quick("honest")).await;
    for n in 0..40 {
        let session = format!("session{}", n % 5);
        assert_eq!(orchestrator.submit(&session, n / 5).await, Fate::Delivered);
    }
    let seen = orchestrator.counters();
    assert_eq!((seen.segments_sent, seen.delivered, seen.unanswered), (40, 40, 0));
    assert_eq!((seen.wrong_bytes, seen.wrong_pixels, seen.errors_returned), (0, 0, 0));
    assert_eq!(seen.pixels, 40 * 60 * (426 * 240 + 256 * 144));
    assert_eq!(orchestrator.take_latencies().len(), 40);
    orchestrator.end_session("session0").await;
    until("teardown", || worker.counters().ended_sessions == 1).await;
    assert_eq!(worker.counters().attempts, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_job_costs_the_registration() {
    let orchestrator = orchestrator(|plan| {
        plan.least_budget = Duration::from_millis(300);
        plan.budget_factor = 0.0;
    })
    .await;
    let hang = Duration::from_millis(900);
    let plan = WorkerPlan { behaviour: Behaviour::Hangs { rate: 1.0 }, hang, ..quick("hung") };
    let worker = worker(&orchestrator, plan).await;
    assert_eq!(orchestrator.submit("a", 0).await, Fate::Late);
    assert_eq!(orchestrator.submit("a", 1).await, Fate::NoTranscoder);
    let seen = orchestrator.counters();
    assert_eq!((seen.answered_late, seen.registrations_lost, seen.unanswered), (1, 1, 1));
    // The running job is finished first: its result is taken with a 200 and thrown away.
    until("back", || orchestrator.registrations().len() == 1).await;
    assert_eq!(orchestrator.counters().unknown_results, 1);
    assert_eq!((worker.counters().taken, worker.counters().retired), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_some_endings_are_for_good() {
    for idle in [true, false] {
        let orchestrator = orchestrator(|_| {}).await;
        let worker = worker(&orchestrator, quick("ended")).await;
        for (n, how) in [Ending::Ok, Ending::Unavailable, Ending::Cancel].into_iter().enumerate() {
            if !idle {
                assert_eq!(orchestrator.submit("a", n as i64).await, Fate::Delivered);
            }
            orchestrator.end_registrations(how).await;
            if how == Ending::Cancel {
                until("retired", || worker.counters().retired.is_some()).await;
            } else {
                until("back", || orchestrator.registrations().len() == 1).await;
                assert_eq!(worker.counters().retired, None, "{how:?}");
            }
        }
        assert_eq!(worker.counters().attempts, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_registrations_are_for_good() {
    let orchestrator = orchestrator(|_| {}).await;
    let wrong = WorkerPlan { secret: "wrong".into(), ..quick("wrong") };
    let empty = WorkerPlan { capacity: 0, ..quick("empty") };
    for (plan, words) in [(wrong, "invalid secret"), (empty, "zero capacity")] {
        let worker = SimWorker::start(orchestrator.address(), plan).unwrap();
        until("retired", || worker.counters().retired.is_some()).await;
        assert!(worker.counters().retired.unwrap().ends_with(words));
    }
    assert_eq!(orchestrator.counters().refused_registrations, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_failing_is_seen() {
    let orchestrator = orchestrator(|plan| {
        plan.least_budget = Duration::from_millis(400);
        plan.budget_factor = 0.0;
    })
    .await;
    for behaviour in [
        Behaviour::Fails { rate: 1.0 },
        Behaviour::Cheats,
        Behaviour::Echoes,
        Behaviour::Stalls,
        Behaviour::Dies { rate: 1.0 },
    ] {
        let before = orchestrator.counters();
        let worker = worker(&orchestrator, WorkerPlan { behaviour, ..quick("odd") }).await;
        let fate = orchestrator.submit("a", 0).await;
        let seen = orchestrator.counters();
        match behaviour {
            Behaviour::Fails { .. } => assert!(matches!(fate, Fate::Error(_)), "{fate:?}"),
            Behaviour::Cheats => assert_eq!(seen.wrong_pixels, before.wrong_pixels + 1),
            Behaviour::Echoes => assert_eq!(seen.wrong_bytes, before.wrong_bytes + 1),
            _ => assert_eq!(fate, Fate::Late, "{behaviour:?}"),
        }
        worker.stop().await;
        until("gone", || orchestrator.registrations().is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_sessions_go_to_the_least_loaded_and_stay() {
    let orchestrator = orchestrator(|_| {}).await;
    let first = worker(&orchestrator, WorkerPlan { capacity: 1, ..quick("first") }).await;
    let second = worker(&orchestrator, WorkerPlan { capacity: 3, ..quick("second") }).await;
    for n in 0..4 {
        for session in ["a", "b", "c", "d"] {
            assert_eq!(orchestrator.submit(session, n).await, Fate::Delivered);
        }
    }
    assert_eq!(orchestrator.submit("e", 0).await, Fate::NoTranscoder);
    assert_eq!((first.counters().jobs, second.counters().jobs), (4, 12));
    orchestrator.end_session("a").await;
    assert_eq!(orchestrator.submit("e", 1).await, Fate::Delivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_asks_for_more_finds_nobody() {
    let orchestrator = orchestrator(|plan| plan.min_version = "0.9.0".into()).await;
    let old = WorkerPlan { version: "0.8.8-sim".into(), ..quick("old") };
    let _worker = worker(&orchestrator, old).await;
    assert_eq!(orchestrator.submit("a", 0).await, Fate::NoTranscoder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_traffic_runs_dry_when_it_is_quiet() {
    for traffic in
        [Traffic::Streams(4), Traffic::Closed { sessions: 4 }, Traffic::Open { per_second: 40.0, sessions: 8 }]
    {
        let orchestrator = orchestrator(|plan| {
            (plan.traffic, plan.segment, plan.session_length) = (traffic, Duration::from_millis(100), Some(3));
        })
        .await;
        let worker = worker(&orchestrator, quick("steady")).await;
        until("segments", || orchestrator.counters().delivered >= 20).await;
        orchestrator.quiesce().await;
        let seen = orchestrator.counters();
        assert_eq!((seen.unanswered, seen.errors_returned, seen.wrong_bytes), (0, 0, 0), "{traffic:?}");
        if traffic == Traffic::Streams(4) {
            until("teardowns", || worker.counters().ended_sessions >= 4).await;
        }
        orchestrator.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synthetic_segments_pass_by_bytes_and_by_count() {
    for payload in [Payload::Tiny, Payload::Synth { bytes_in: 300_000, bytes_out: 200_000 }] {
        let library = Library::of(payload);
        for check in [Check::Bytes, Check::Counted] {
            let orchestrator = orchestrator(|plan| (plan.library, plan.check) = (library.clone(), check)).await;
            let _worker = worker(&orchestrator, WorkerPlan { library: library.clone(), ..quick("synthetic") }).await;
            for n in 0..5 {
                assert_eq!(orchestrator.submit("a", n).await, Fate::Delivered);
            }
            let seen = orchestrator.counters();
            assert_eq!((seen.wrong_bytes, seen.wrong_pixels), (0, 0), "{payload:?} {check:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_runs_one_by_one_and_its_buffer_is_short() {
    let orchestrator = orchestrator(|plan| {
        (plan.traffic, plan.segment) = (Traffic::Streams(1), Duration::from_millis(40));
    })
    .await;
    let began = tokio::time::Instant::now();
    let _worker = worker(&orchestrator, WorkerPlan { ratio: 5.0, ..quick("slow") }).await;
    until("drops", || orchestrator.counters().dropped_by_buffer > 3).await;
    orchestrator.quiesce().await;
    let seen = orchestrator.counters();
    assert_eq!((seen.unanswered, seen.delivered), (0, seen.segments_sent));
    // Five times 40 ms each, less what chance takes off: never two at once.
    let least = Duration::from_millis(180) * u32::try_from(seen.delivered).unwrap();
    assert!(began.elapsed() >= least, "{} in {:?}", seen.delivered, began.elapsed());
}
