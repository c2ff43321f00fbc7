//! Many jobs at once: the books and the orchestrator count the same, no capacity is passed, and
//! nobody waits for ever.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream as streams};
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::ai_worker::{AiBehaviour, AiWorkerPlan};
use openpool_proxy::sim::runner::{Death, RunnerBehaviour, RunnerPlan};
use openpool_proxy::state::store::ledger::{By, Range, report};

use super::bed::*;
use super::jobs::*;
use openpool_proxy::domain::ai::Pipeline;

const SECOND: Duration = Duration::from_secs(1);

/// 300 jobs by both doors, all pipelines, with workers of both kinds that fail now and then: each is
/// delivered all the same, and three books agree: the orchestrator's, ours, and the workers'.
#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_run_is_charged_and_posted_alike() {
    let failing = |name: &str, behaviour| RunnerPlan { behaviour, ..runner(name) };
    let fails = AiBehaviour::Fails { rate: 0.1, text: "text-to-image container returned 500: simulated".into() };
    let runners = vec![
        runner("box"),
        failing("crate", RunnerBehaviour::Fails { rate: 0.1, status: 500 }),
        failing("barrel", RunnerBehaviour::Dies { when: Death::Before, rate: 0.1 }),
    ];
    let workers = vec![worker("gpu"), behaving(worker("old"), fails)];
    let bed = AiBed::with(runners, workers, |settings| settings.rules.retry.attempts = 5).await;
    bed.point_all().await;
    let of = |n: u64| match n % 10 {
        0 => stream(n),
        place => job(pipelines().nth(place as usize - 1).unwrap(), n),
    };
    let jobs: Vec<Job> = {
        let bed = &bed;
        let run = |n: u64| async move {
            let (job, door) = (of(n), if n / 10 % 2 == 0 { Door::Grpc } else { Door::Runner });
            delivered(door, &job, &bed.run(door, &job).await);
            job
        };
        streams::iter(0..300).map(run).buffer_unordered(24).collect().await
    };
    let seen: Vec<_> = bed.runners.iter().map(|one| (one.plan().name.clone(), one.counters())).collect();
    // A stock orchestrator hangs up when it has a stream's last chunk: some are cut off behind it.
    let answered: BTreeMap<String, u64> =
        seen.iter().map(|(name, seen)| (name.clone(), seen.answered + seen.cancelled)).collect();
    assert!(seen.iter().map(|(_, seen)| seen.failed).sum::<u64>() > 0, "something must fail: {seen:?}");
    let ended = bed.end().await;
    assert_eq!((ended.books.posted, ended.books.ai_jobs), (300, 300));
    let charged: u64 = jobs.iter().map(|job| job.units).sum();
    assert_eq!(ended.counters.units, charged);
    let rows = report(&ended.ledger, By::Pipeline, Range::default()).unwrap();
    assert_eq!(rows.iter().map(|row| row.units).sum::<u64>(), charged);
    for pipeline in pipelines() {
        let units: u64 = jobs.iter().filter(|job| job.pipeline == pipeline).map(|job| job.units).sum();
        let row = rows.iter().find(|row| row.key.starts_with(&format!("{pipeline} "))).unwrap();
        assert_eq!((row.units, row.gross.to_string()), (units, (u128::from(units) * price(pipeline).wei).to_string()));
    }
    let by_worker = report(&ended.ledger, By::Worker, Range::default()).unwrap();
    assert_eq!(by_worker.iter().map(|row| row.ai_jobs).sum::<u64>(), 300);
    let gross = |rows: &[openpool_proxy::state::store::ledger::ReportRow]| -> u128 {
        rows.iter().map(|row| row.gross.to_string().parse::<u128>().unwrap()).sum()
    };
    assert_eq!(gross(&by_worker), gross(&rows));
    for (name, answered) in answered {
        let paid = by_worker.iter().find(|row| row.key == name).map_or(0, |row| row.ai_jobs);
        assert_eq!(paid, answered, "{name}: {by_worker:?}");
    }
}

/// Ten times what the pool can do at once: all wait their turn, and no model's capacity is passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_five_hundred_waits_its_turn() {
    let small = |name: &str, capacity| {
        let plan = RunnerPlan { speed: 0.02, ..RunnerPlan::new(name) };
        plan.with(Pipeline::Llm, MODEL, capacity).with(Pipeline::TextToImage, MODEL, capacity)
    };
    let plan = AiWorkerPlan { speed: 0.02, ..AiWorkerPlan::new("gpu", "") };
    let plan = plan.with(Pipeline::Llm, MODEL, 3).with(Pipeline::TextToImage, MODEL, 2);
    let bed = AiBed::with(vec![small("box", 2), small("crate", 4)], vec![plan], |settings| {
        settings.runner.wait = openpool_proxy::planes::runner::Wait(50 * SECOND);
    })
    .await;
    // Entries add up, and with them what the orchestrator has under way.
    for _ in 0..8 {
        bed.point(Pipeline::Llm, MODEL, "").await;
        bed.point(Pipeline::TextToImage, MODEL, "").await;
    }
    let jobs: Vec<Job> = (0..500)
        .map(|n| match n % 3 {
            0 => job(Pipeline::Llm, n),
            1 => stream(n),
            _ => job(Pipeline::TextToImage, n),
        })
        .collect();
    let began = Instant::now();
    let fates = join_all(jobs.iter().map(|job| bed.run(Door::Runner, job))).await;
    jobs.iter().zip(&fates).for_each(|(job, fate)| delivered(Door::Runner, job, fate));
    println!("500 requests at once: {:.1} s", began.elapsed().as_secs_f64());
    for runner in &bed.runners {
        assert!(runner.counters().answered > 20, "all work: {:?}", runner.counters());
    }
    assert_eq!(bed.end().await.books.posted, 500);
}

/// Nobody is free: an error that the orchestrator survives, in time, by both doors, and counted.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_free() {
    let plan = RunnerPlan {
        behaviour: RunnerBehaviour::Hangs { rate: 1.0 },
        hang: 8 * SECOND,
        ..RunnerPlan::new("box").with(Pipeline::SegmentAnything2, MODEL, 1)
    };
    let bed = AiBed::with(vec![plan], Vec::new(), |settings| {
        settings.runner.wait = openpool_proxy::planes::runner::Wait(SECOND);
        settings.rules.ai.text_limit = 4 * SECOND;
        settings.rules.ai.margin = SECOND;
        settings.rules.ai.least_deadline = SECOND;
    })
    .await;
    bed.point(Pipeline::SegmentAnything2, MODEL, "").await;
    bed.point(Pipeline::Upscale, MODEL, "").await;
    bed.point(Pipeline::Upscale, MODEL, &format!("/m/upscale/{MODEL}")).await;
    let full = || reading(&bed, "segment-anything-2", "full");
    let none = || reading(&bed, "upscale", "no_model");
    let (full_before, none_before) = (full().await, none().await);
    let first = async {
        let fate = bed.run(Door::Runner, &job(Pipeline::SegmentAnything2, 1)).await;
        assert!(matches!(&fate, AiFate::Error(text) if text.contains("container returned 500: ")), "{fate:?}");
    };
    let others = async {
        crate::bed::until("it hangs", || bed.runners[0].counters().running == 1).await;
        let began = Instant::now();
        let words = "segment anything 2 container returned 500: every worker of the pool that has this model is busy";
        let fate = bed.run(Door::Runner, &job(Pipeline::SegmentAnything2, 2)).await;
        assert_eq!(fate, AiFate::Error(words.into()));
        assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
        for _ in 0..4 {
            let fate = bed.run(Door::Runner, &job(Pipeline::Upscale, 3)).await;
            let words = "upscale container returned 500: no worker of the pool can take this now";
            assert_eq!(fate, AiFate::Error(words.into()));
        }
    };
    // A job of the other door waits until it is due.
    let waits = async {
        crate::bed::until("it hangs", || bed.runners[0].counters().running == 1).await;
        let fate = bed.run(Door::Grpc, &job(Pipeline::SegmentAnything2, 4)).await;
        assert_eq!(fate, AiFate::Error("no workers can process job requested".into()));
    };
    tokio::join!(first, others, waits);
    assert!(full().await >= full_before + 2.0 && none().await >= none_before + 4.0, "counted by reason");
    assert_eq!(bed.end().await.books.posted, 0);
}

/// What the operator's port says of jobs that nobody could take.
async fn reading(bed: &AiBed, pipeline: &str, why: &str) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(bed.bed.app().admin_addr).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: us\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find(|line| {
        line.starts_with("livepeer_pool_ai_no_worker_total{")
            && line.contains(&format!("pipeline=\"{pipeline}\""))
            && line.contains(&format!("why=\"{why}\""))
    });
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}
