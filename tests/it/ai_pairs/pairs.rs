//! Every pipeline by every pair: to the byte, with the right units and the right price, posted once.
use futures_util::future::join_all;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::runner::RunnerPlan;
use openpool_proxy::state::store::ledger::{By, Range, ReportRow, report};

use super::bed::*;
use super::jobs::*;

/// Units and money of each pipeline, posted once a job.
fn posted(ended: &Ended, jobs: &[Job]) {
    assert_eq!((ended.books.posted, ended.books.in_doubt_total), (jobs.len() as u64, 0), "{:?}", ended.books);
    assert_eq!(ended.counters.units, jobs.iter().map(|job| job.units).sum::<u64>());
    let rows: Vec<ReportRow> = report(&ended.ledger, By::Pipeline, Range::default()).unwrap();
    for pipeline in pipelines() {
        let of = || jobs.iter().filter(|job| job.pipeline == pipeline);
        let units: u64 = of().map(|job| job.units).sum();
        let row = rows.iter().find(|row| row.key.starts_with(&format!("{} ", pipeline.name())));
        let got = row.map(|row| (row.ai_jobs, row.units, row.gross.to_string())).unwrap_or((0, 0, "0".into()));
        let gross = u128::from(units) * price(pipeline).wei;
        assert_eq!(got, (of().count() as u64, units, gross.to_string()), "{pipeline}");
    }
}

/// All of these at once, delivered to the byte.
async fn all(bed: &AiBed, door: Door, jobs: &[Job]) {
    let fates = join_all(jobs.iter().map(|job| bed.run(door, job))).await;
    jobs.iter().zip(&fates).for_each(|(job, fate)| delivered(door, job, fate));
}

fn each(salt: u64, but: Option<Pipeline>) -> Vec<Job> {
    let mut jobs: Vec<Job> = pipelines().filter(|one| Some(*one) != but).map(|one| job(one, salt)).collect();
    jobs.push(stream(salt));
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_door_and_a_stock_worker() {
    let bed = AiBed::new(Vec::new(), vec![worker("gpu")]).await;
    let jobs = each(1, None);
    all(&bed, Door::Grpc, &jobs).await;
    posted(&bed.end().await, &jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grpc_door_and_a_runner() {
    let bed = AiBed::new(vec![runner("box")], Vec::new()).await;
    let offered = bed.pool().ai_offer().borrow().clone();
    assert!(!offered.models.iter().any(|offer| offer.key.pipeline == Pipeline::ImageToVideo), "it is not translated");
    assert!(!offered.models.iter().any(|offer| offer.key.pipeline == Pipeline::LiveVideoToVideo));
    let jobs = each(2, Some(Pipeline::ImageToVideo));
    all(&bed, Door::Grpc, &jobs).await;
    assert_eq!(bed.run(Door::Grpc, &job(Pipeline::ImageToVideo, 2)).await, AiFate::NoWorker);
    posted(&bed.end().await, &jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runner_door_and_a_stock_worker() {
    let bed = AiBed::new(Vec::new(), vec![worker("gpu")]).await;
    bed.point_all().await;
    let jobs = each(3, Some(Pipeline::ImageToVideo));
    all(&bed, Door::Runner, &jobs).await;
    let AiFate::Error(why) = bed.run(Door::Runner, &job(Pipeline::ImageToVideo, 3)).await else { panic!("a film?") };
    assert!(why.starts_with("image-to-video container returned 500: ") && why.contains("runner"), "{why}");
    posted(&bed.end().await, &jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runner_door_and_a_runner() {
    let bed = AiBed::new(vec![runner("box")], Vec::new()).await;
    bed.point_all().await;
    let jobs = each(4, None);
    all(&bed, Door::Runner, &jobs).await;
    posted(&bed.end().await, &jobs);
}

/// A URL that names the model: forms need not be read before it is known whose they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_runner_door_by_a_models_own_address() {
    let two = |name: &str| {
        let plan = RunnerPlan { token: Some("its own".into()), ..runner(name) };
        plan.with_all("org/other", 2)
    };
    let bed = AiBed::new(vec![two("box"), two("crate")], Vec::new()).await;
    for pipeline in pipelines() {
        bed.point(pipeline, MODEL, &format!("/m/{pipeline}/{MODEL}")).await;
        bed.point(pipeline, "org/other", &format!("/m/{pipeline}/org/other/")).await;
    }
    let mut jobs = each(5, None);
    all(&bed, Door::Runner, &jobs).await;
    for one in each(6, None) {
        let fate = bed.run_model(Door::Runner, "org/other", &one).await;
        check_model(Door::Runner, "org/other", &one, &fate).unwrap_or_else(|why| panic!("{}: {why}", one.pipeline));
        jobs.push(one);
    }
    let ended = bed.end().await;
    assert_eq!(ended.books.posted, jobs.len() as u64);
    assert_eq!(ended.counters.units, jobs.iter().map(|job| job.units).sum::<u64>());
}

/// Both kinds serve every model: each door uses both, and the film goes by its own road only.
#[tokio::test(flavor = "multi_thread")]
async fn both_doors_and_both_kinds_at_once() {
    let bed = AiBed::new(vec![runner("box")], vec![worker("gpu")]).await;
    bed.point_all().await;
    let mut jobs = Vec::new();
    for round in 0..4 {
        let (up, over) = (each(10 + round, None), each(20 + round, None));
        tokio::join!(all(&bed, Door::Grpc, &up), all(&bed, Door::Runner, &over));
        jobs.extend(up.into_iter().chain(over));
    }
    let (boxed, gpu) = (bed.runners[0].counters(), bed.workers[0].counters());
    assert_eq!((boxed.by_pipeline["image-to-video"], gpu.by_pipeline["image-to-video"]), (4, 4));
    assert!(boxed.requests > 8 && gpu.jobs > 8, "both work: {} and {}", boxed.requests, gpu.jobs);
    posted(&bed.end().await, &jobs);
}

/// Several images in one answer keep their own names by gRPC.
#[tokio::test(flavor = "multi_thread")]
async fn several_images_by_the_grpc_door() {
    for kind in 0..2 {
        let bed = match kind {
            0 => AiBed::new(vec![runner("box")], Vec::new()).await,
            _ => AiBed::new(Vec::new(), vec![worker("gpu")]).await,
        };
        let mut jobs = Vec::new();
        for pipeline in [Pipeline::TextToImage, Pipeline::ImageToImage] {
            let mut one = job(pipeline, 7);
            one.request["num_images_per_prompt"] = 3.into();
            one.units *= 3;
            jobs.push(one);
        }
        all(&bed, Door::Grpc, &jobs).await;
        posted(&bed.end().await, &jobs);
    }
}
