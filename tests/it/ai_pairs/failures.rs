//! Failures of each kind of worker at each door: another worker is tried before the first byte, the
//! right one is blamed, the caller gets what it survives, and nothing is paid for an error.
use std::time::Duration;

use futures_util::future::join_all;
use openpool_proxy::config::settings::Settings;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::sim::ai_content;
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::ai_worker::{AiBehaviour, AiWorkerPlan};
use openpool_proxy::sim::runner::{Death, RunnerBehaviour, RunnerPlan, StreamPlan};

use super::bed::*;
use super::jobs::*;

/// What becomes of a job that meets the bad worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    /// The good one does it.
    Saved,
    /// An error in these words; nobody else is asked.
    Told(&'static str),
    /// It broke behind its first byte: an error, or a stream that is not whole; nobody else is asked.
    Cut,
}
use Want::{Cut, Saved, Told};

#[derive(Clone, Debug)]
enum Bad {
    Runner(RunnerBehaviour),
    Worker(AiBehaviour),
}

fn impatient(settings: &mut Settings) {
    settings.rules.ai.least_patience = Duration::from_millis(400);
    settings.rules.ai.patience = 2.0;
    settings.rules.ai.score.default_ratio = 0.1;
    settings.runner.care.silence = Duration::from_secs(5);
}

/// The good worker is of the other kind, so that another try is a translation, too. Both are known
/// already, and the one that will be bad is thought to be the faster one.
async fn bed(bad: &Bad, door: Door, make: &impl Fn(u64) -> Job) -> (AiBed, u64) {
    let hang = Duration::from_secs(3);
    let usual = make(0);
    let factor = 0.15 / (0.002 * ai_content::size(usual.pipeline, usual.request.as_object().unwrap()));
    let gap = Duration::from_micros(100);
    let stream = StreamPlan { gap, ..StreamPlan::default() };
    let (runners, workers) = match bad {
        Bad::Runner(_) => (
            vec![RunnerPlan { hang, stream, ..runner("bad") }],
            vec![AiWorkerPlan { gap, ..behaving(worker("good"), AiBehaviour::Slow { factor }) }],
        ),
        Bad::Worker(_) => (
            vec![RunnerPlan { behaviour: RunnerBehaviour::Slow { factor }, stream, ..runner("good") }],
            vec![AiWorkerPlan { hang, gap, ..worker("bad") }],
        ),
    };
    let bed = AiBed::with(runners, workers, impatient).await;
    bed.point_all().await;
    // Many at once, so that both get some.
    let jobs: Vec<Job> = (2000..2012).map(make).collect();
    let fates = join_all(jobs.iter().map(|job| bed.run(door, job))).await;
    jobs.iter().zip(&fates).for_each(|(job, fate)| delivered(door, job, fate));
    let mut posted = jobs.len() as u64;
    let mut in_a_row = 0;
    while in_a_row < 3 {
        assert!(posted < 100, "the faster one is not preferred");
        let before = asked_bad(&bed, bad);
        let job = make(1000 + posted);
        delivered(door, &job, &bed.run(door, &job).await);
        posted += 1;
        in_a_row = if asked_bad(&bed, bad) > before { in_a_row + 1 } else { 0 };
    }
    match bad {
        Bad::Runner(behaviour) => {
            bed.runners[0].behave(*behaviour);
            bed.workers[0].behave(AiBehaviour::Honest);
        }
        Bad::Worker(behaviour) => {
            bed.workers[0].behave(behaviour.clone());
            bed.runners[0].behave(RunnerBehaviour::Honest);
        }
    }
    (bed, posted)
}

fn asked_bad(bed: &AiBed, bad: &Bad) -> u64 {
    match bad {
        Bad::Runner(_) => bed.runners[0].counters().requests,
        Bad::Worker(_) => bed.workers[0].counters().jobs,
    }
}

/// Jobs until the bad worker had one of them; each as `want` says.
async fn meet(bed: &AiBed, door: Door, bad: &Bad, make: &impl Fn(u64) -> Job, want: Want) -> u64 {
    let mut posted = 0;
    for salt in 0..60 {
        let (all, of_bad) = (bed.asked(), asked_bad(bed, bad));
        let job = make(salt);
        let fate = bed.run(door, &job).await;
        let (all, of_bad) = (bed.asked() - all, asked_bad(bed, bad) - of_bad);
        let told = format!("{door:?} {} {bad:?} asked {all}, bad {of_bad}: {fate:?}", job.pipeline);
        if of_bad == 0 || want == Saved {
            check(door, &job, &fate).unwrap_or_else(|why| panic!("{why}; {told}"));
            assert!(want != Saved || all == of_bad + 1, "{told}");
            posted += 1;
        } else {
            assert_eq!(all, 1, "nobody else is asked: {told}");
            match (&fate, want) {
                (AiFate::Error(text), Told(words)) => assert!(text.contains(words), "{told}"),
                (AiFate::Error(_), Cut) => {}
                (AiFate::Stream { .. }, Cut) => {
                    assert!(check(door, &job, &fate).is_err(), "it cannot be whole: {told}")
                }
                _ => panic!("{want:?}: {told}"),
            }
        }
        if of_bad > 0 {
            blamed(bed, bad, want, &told);
            return posted;
        }
    }
    panic!("the bad one was never asked: {door:?} {bad:?}");
}

/// The bad worker's failure is its own, but not when it was only full, or the caller's fault.
fn blamed(bed: &AiBed, bad: &Bad, want: Want, told: &str) {
    let seats = bed.pool().ai_seats();
    let failures = |good: bool| -> u64 {
        let of = seats.iter().filter(|seat| (seat.worker.contains("good")) == good);
        of.map(|seat| seat.failures).sum()
    };
    assert_eq!(failures(true), 0, "{seats:?} {told}");
    let full = match bad {
        Bad::Runner(behaviour) => *behaviour == RunnerBehaviour::Busy503,
        Bad::Worker(AiBehaviour::Fails { text, .. }) => text.starts_with("no workers"),
        Bad::Worker(_) => false,
    };
    // One that lost its connections has a new seat by now.
    let dies = matches!(bad, Bad::Worker(AiBehaviour::Dies { .. }));
    if !dies {
        assert_eq!(failures(false) > 0, !full && !matches!(want, Told(_)), "{seats:?} {told}");
    }
}

/// The whole of one failure: both doors, these jobs.
async fn fails(bad: Bad, cases: &[(&dyn Fn(u64) -> Job, [Want; 2])]) {
    for (door, place) in [(Door::Grpc, 0), (Door::Runner, 1)] {
        let mut beds = Vec::new();
        for (make, wants) in cases {
            let make = |salt| make(salt);
            let (bed, before) = bed(&bad, door, &make).await;
            let posted = meet(&bed, door, &bad, &make, wants[place]).await;
            beds.push((bed, before + posted));
        }
        for (bed, posted) in beds {
            let ended = bed.end().await;
            assert_eq!(ended.books.posted, posted, "{door:?} {bad:?}: {:?}", ended.books);
        }
    }
}

fn image(salt: u64) -> Job {
    job(Pipeline::TextToImage, salt)
}

fn form(salt: u64) -> Job {
    job(Pipeline::ImageToImage, salt)
}

fn text(salt: u64) -> Job {
    job(Pipeline::Llm, salt)
}

const BOTH: [Want; 2] = [Saved, Saved];

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_answers_500() {
    fails(
        Bad::Runner(RunnerBehaviour::Fails { rate: 1.0, status: 500 }),
        &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_is_busy() {
    fails(Bad::Runner(RunnerBehaviour::Busy503), &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)]).await;
}

/// The token is ours, so it is not the caller's fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_does_not_know_us() {
    fails(Bad::Runner(RunnerBehaviour::Fails { rate: 1.0, status: 401 }), &[(&image, BOTH), (&text, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_finds_a_fault_in_the_request() {
    let told = |words| [Told(words), Told(words)];
    fails(
        Bad::Runner(RunnerBehaviour::Fails { rate: 1.0, status: 422 }),
        &[(&image, told("text-to-image container returned 422: ")), (&text, told("LLM container returned 400: "))],
    )
    .await;
    fails(
        Bad::Runner(RunnerBehaviour::Fails { rate: 1.0, status: 413 }),
        &[(&form, told("image-to-image container returned 400: "))],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_dies_before_its_answer() {
    let dies = RunnerBehaviour::Dies { when: Death::Before, rate: 1.0 };
    fails(Bad::Runner(dies), &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)]).await;
}

/// By the runner door its head has gone down by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_runner_dies_within_its_answer() {
    let dies = RunnerBehaviour::Dies { when: Death::Within, rate: 1.0 };
    fails(Bad::Runner(dies), &[(&image, [Saved, Cut]), (&form, BOTH), (&stream, [Saved, Cut])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_dies_after_its_first_bytes() {
    let dies = RunnerBehaviour::Dies { when: Death::After, rate: 1.0 };
    fails(Bad::Runner(dies), &[(&image, [Saved, Cut]), (&form, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_answers_noise() {
    fails(Bad::Runner(RunnerBehaviour::Garbage), &[(&image, [Saved, Cut]), (&form, BOTH), (&text, [Saved, Cut])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_answers_something_else() {
    fails(Bad::Runner(RunnerBehaviour::NotJson), &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_answers_without_choices() {
    fails(Bad::Runner(RunnerBehaviour::EmptyChoices), &[(&image, [Saved, Cut]), (&text, [Saved, Cut])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_hangs() {
    fails(Bad::Runner(RunnerBehaviour::Hangs { rate: 1.0 }), &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_is_slow() {
    fails(Bad::Runner(RunnerBehaviour::Slow { factor: 20_000.0 }), &[(&image, BOTH), (&form, BOTH)]).await;
}

fn says(text: &str) -> Bad {
    Bad::Worker(AiBehaviour::Fails { rate: 1.0, text: text.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_500() {
    fails(says("text-to-image container returned 500: out of memory"), &[(&image, BOTH), (&form, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_it_is_full() {
    fails(says("no workers can process job requested"), &[(&image, BOTH), (&stream, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_that_the_request_is_wrong() {
    let told = |words| [Told(words), Told(words)];
    let detail = r#"{"detail":[{"loc":["body","prompt"],"msg":"simulated","type":"value_error"}]}"#;
    fails(
        says(&format!("text-to-image container returned 422: {detail}")),
        &[(&image, told("text-to-image container returned 422: "))],
    )
    .await;
    fails(
        says("AI request validation failed for text-to-image pipeline err=width is wide"),
        &[(&image, [Told("AI request validation failed"), Told("container returned 400: ")])],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_within_its_upload() {
    fails(Bad::Worker(AiBehaviour::Dies { rate: 1.0 }), &[(&image, BOTH), (&form, BOTH), (&text, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_dies_within_its_stream() {
    fails(Bad::Worker(AiBehaviour::Dies { rate: 1.0 }), &[(&stream, [Cut, Cut])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_posts_noise() {
    fails(Bad::Worker(AiBehaviour::Garbage), &[(&image, BOTH), (&text, BOTH), (&stream, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_names_files_that_are_empty() {
    fails(Bad::Worker(AiBehaviour::EmptyFile), &[(&image, BOTH), (&form, BOTH)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_hangs() {
    fails(Bad::Worker(AiBehaviour::Hangs { rate: 1.0 }), &[(&image, BOTH), (&form, BOTH), (&stream, BOTH)]).await;
}
