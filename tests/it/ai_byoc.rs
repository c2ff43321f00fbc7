//! BYOC through the whole program: registered, kept registered, worked, and never an answer that
//! costs the orchestrator its capability.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::planes::runner::{ByocConfig, Currency};
use openpool_proxy::sim::ai_client::{ByocFate, StreamWants};
use openpool_proxy::sim::ai_orchestrator::Ai;
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use openpool_proxy::sim::runner::{Death, RunnerBehaviour, RunnerPlan, SimRunner};
use serde_json::json;

use crate::ai_bed::{AiBed, TOKEN};
use crate::bed::{SECRET, until};

const PATIENCE: Duration = Duration::from_secs(8);

fn echo() -> ByocConfig {
    ByocConfig {
        name: "echo".into(),
        description: "says it back".into(),
        capacity: None,
        price_per_unit: 7,
        price_scaling: 1,
        currency: Currency::Wei,
    }
}

fn plan(name: &str, change: impl FnOnce(&mut RunnerPlan)) -> RunnerPlan {
    let mut plan = RunnerPlan::new(name).with(Pipeline::Byoc, "echo", 2);
    plan.capabilities = vec!["echo".into()];
    plan.token = Some(format!("secret of {name}"));
    change(&mut plan);
    plan
}

async fn bed(plans: Vec<RunnerPlan>) -> AiBed {
    AiBed::new(plans, |settings| settings.runner.byoc = vec![echo()]).await
}

async fn registered(ai: &Arc<Ai>, capacity: i64) {
    let so = || ai.capabilities().iter().any(|one| one.name == "echo" && one.capacity == capacity);
    until("the capability is registered", so).await;
}

async fn job(ai: &Ai, rest: &str, body: &'static str) -> ByocFate {
    ai.byoc("echo", rest, "application/json", Bytes::from_static(body.as_bytes()), PATIENCE).await
}

/// Nothing that a stock orchestrator does not forgive.
fn unharmed(ai: &Ai) {
    let seen = ai.counters();
    let bad = (seen.dropped_capabilities, seen.lost_slots, seen.stuck_streams, seen.panics, seen.refused_capabilities);
    assert_eq!(bad, (0, 0, 0, 0, 0), "{seen:?}");
    assert!(ai.capabilities().iter().all(|one| one.load == 0), "{:?}", ai.capabilities());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capability_is_registered_and_its_jobs_are_worked_and_booked() {
    let bed = bed(vec![plan("a", |_| {}), plan("b", |_| {})]).await;
    let ai = bed.ai();
    registered(ai, 4).await;
    let stands = &ai.capabilities()[0];
    assert_eq!((stands.price_per_unit, stands.price_scaling, stands.currency.as_str()), (7, 1, "wei"));
    assert_eq!((&*stands.token, stands.url.ends_with("/byoc/echo")), (TOKEN, true));
    for rest in ["", "a/b"] {
        match job(ai, rest, r#"{"a":1}"#).await {
            ByocFate::Answered { status: 200, content_type, metadata, body, seconds: 1 } => {
                assert_eq!((&*content_type, &body[..]), ("application/json", &br#"{"a":1}"#[..]));
                assert!(metadata.starts_with("runner="), "{metadata}");
            }
            other => panic!("{other:?}"),
        }
    }
    match job(ai, "sse", r#"{"n":5}"#).await {
        ByocFate::Stream { lines, done: true, .. } => {
            assert_eq!(lines.iter().filter(|(line, _)| line.contains("\"n\"")).count(), 5, "{lines:?}");
        }
        other => panic!("{other:?}"),
    }
    // Only what an orchestrator passes on, and the runner's own token.
    let nobody = ai.byoc("other", "", "text/plain", Bytes::new(), PATIENCE).await;
    assert_eq!(nobody, ByocFate::NoCapability);
    unharmed(ai);
    let runners =
        bed.runners.iter().map(SimRunner::counters).fold((0, 0), |sum, one| {
            (sum.0 + one.by_pipeline.get("byoc").copied().unwrap_or(0), sum.1 + one.unauthorized)
        });
    assert_eq!(runners, (3, 0));
    let lines = bed.lines().await;
    let of = |one: &serde_json::Value| (one["pipeline"].as_str().unwrap().to_owned(), one["units"].as_u64().unwrap());
    assert_eq!(lines.iter().map(of).collect::<Vec<_>>(), vec![("byoc".to_owned(), 1); 3], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_of_events_ends_for_the_orchestrator() {
    let bed = bed(vec![plan("a", |plan| plan.stream.done = false)]).await;
    let ai = bed.ai();
    registered(ai, 2).await;
    let ended = |fate: ByocFate| match fate {
        ByocFate::Stream { lines, done, .. } => (done, lines.iter().filter(|(line, _)| line.contains("\"n\"")).count()),
        other => panic!("{other:?}"),
    };
    // The runner says no last word.
    assert_eq!(ended(job(ai, "sse", r#"{"n":4}"#).await), (true, 4));
    // It dies in the middle.
    bed.runners[0].behave(RunnerBehaviour::Dies { when: Death::After, rate: 1.0 });
    assert!(ended(job(ai, "sse", r#"{"n":4}"#).await).0);
    bed.runners[0].behave(RunnerBehaviour::Honest);
    unharmed(ai);
    assert_eq!(bed.lines().await.len(), 1, "what broke off is not paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_fails_before_its_answer_is_replaced() {
    let bed = bed(vec![plan("a", |_| {}), plan("b", |_| {})]).await;
    let ai = bed.ai();
    registered(ai, 4).await;
    let failures = [
        RunnerBehaviour::Dies { when: Death::Before, rate: 1.0 },
        RunnerBehaviour::Busy503,
        RunnerBehaviour::Fails { rate: 1.0, status: 500 },
        RunnerBehaviour::Fails { rate: 1.0, status: 401 },
    ];
    for failure in failures {
        bed.runners[0].behave(failure);
        for _ in 0..3 {
            let fate = job(ai, "", "{}").await;
            assert!(matches!(fate, ByocFate::Answered { status: 200, .. }), "{failure:?}: {fate:?}");
        }
    }
    // Both: an error, and never one that costs the capability.
    for failure in failures {
        bed.runners.iter().for_each(|runner| runner.behave(failure));
        let fate = job(ai, "", "{}").await;
        assert!(matches!(fate, ByocFate::Answered { status: 500..=504, .. }), "{failure:?}: {fate:?}");
    }
    // The runner's own word on a request passes.
    bed.runners.iter().for_each(|runner| runner.behave(RunnerBehaviour::Fails { rate: 1.0, status: 422 }));
    let mut fate = job(ai, "", "{}").await;
    for _ in 0..100 {
        if matches!(fate, ByocFate::Answered { status: 422, .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        fate = job(ai, "", "{}").await;
    }
    assert!(matches!(fate, ByocFate::Answered { status: 422, .. }), "{fate:?}");
    unharmed(ai);
    assert_eq!(bed.lines().await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_empty_pool_says_503_in_time() {
    let mut bed = bed(vec![plan("a", |plan| plan.speed = 4.0)]).await;
    let ai = bed.ai().clone();
    registered(&ai, 2).await;
    let began = tokio::time::Instant::now();
    let fates = futures_util::future::join_all((0..4).map(|_| job(&ai, "", "{}"))).await;
    let busy = fates.iter().filter(|fate| matches!(fate, ByocFate::Answered { status: 503, .. })).count();
    assert_eq!((busy, began.elapsed() < Duration::from_secs(7)), (2, true), "{fates:?}");
    assert_eq!(bed.runners[0].counters().most_at_once, 2);
    // Its only runner goes: the capability stands for a while, then it is taken back.
    bed.runners[0].stop().await;
    let fate = job(&ai, "", "{}").await;
    assert!(matches!(fate, ByocFate::Answered { status: 502..=504, .. }), "{fate:?}");
    until("unregistered", || ai.capabilities().is_empty()).await;
    bed.runners[0].restart().await.unwrap();
    registered(&ai, 2).await;
    unharmed(&ai);
    bed.stop().await;
    assert!(ai.capabilities().is_empty(), "taken back at the end");
    unharmed(&ai);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_restarts_gets_it_again() {
    let mut bed = bed(vec![plan("a", |_| {})]).await;
    registered(bed.ai(), 2).await;
    let address = bed.orchestrators[0].address();
    bed.orchestrators[0].stop().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let again = OrchestratorPlan { listen: address, ..OrchestratorPlan::new(SECRET, Traffic::None) };
    bed.orchestrators[0] = SimOrchestrator::start(again).await.unwrap();
    let began = tokio::time::Instant::now();
    let ai = bed.ai();
    registered(ai, 2).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(matches!(job(ai, "", "{}").await, ByocFate::Answered { status: 200, .. }));
    unharmed(ai);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registering_again_frees_lost_slots_and_follows_the_capacity() {
    let bed = bed(vec![plan("a", |_| {}), plan("b", |_| {})]).await;
    let ai = bed.ai();
    registered(ai, 4).await;
    // A gateway without patience: the orchestrator cancels, and loses the slot.
    bed.runners.iter().for_each(|runner| runner.behave(RunnerBehaviour::Hangs { rate: 1.0 }));
    let fate = ai.byoc("echo", "", "text/plain", Bytes::new(), Duration::from_millis(300)).await;
    assert_eq!((fate, ai.capabilities()[0].load), (ByocFate::Timeout, 1));
    bed.runners.iter().for_each(|runner| runner.behave(RunnerBehaviour::Honest));
    // The caller who left freed our permit, too.
    until("cancelled", || bed.runners.iter().all(|runner| runner.counters().running == 0)).await;
    until("registered again", || ai.capabilities()[0].load == 0).await;
    bed.runners[1].stop().await;
    registered(ai, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_stay_at_their_runner_and_hold_their_permit() {
    let bed = bed(vec![plan("a", |_| {}), plan("b", |_| {})]).await;
    let ai = bed.ai();
    registered(ai, 4).await;
    let wants = StreamWants { data: true, ..StreamWants::default() };
    let mut streams = Vec::new();
    for n in 0..4 {
        let stream = ai.byoc_start("echo", &format!("s{n}"), wants, json!({ "style": "x" }), PATIENCE).await;
        streams.push(stream.unwrap_or_else(|fate| panic!("{n}: {fate:?}")));
    }
    let at = |what: fn(&openpool_proxy::sim::runner::RunnerCounters) -> u64| {
        bed.runners.iter().map(|runner| what(&runner.counters())).collect::<Vec<_>>()
    };
    assert_eq!(at(|seen| seen.streams_started), [2, 2]);
    // Full: the permits are held though no request runs.
    let fate = ai.byoc_start("echo", "s4", wants, json!({}), PATIENCE).await.err();
    assert!(matches!(fate, Some(ByocFate::Answered { status: 503, .. })), "{fate:?}");
    for stream in &streams {
        assert_eq!(ai.byoc_params(stream, Bytes::from_static(b"{\"p\":1}"), PATIENCE).await.unwrap().0, 200);
    }
    assert_eq!(at(|seen| seen.params), [2, 2]);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for stream in &streams[..3] {
        assert_eq!(ai.byoc_stop(stream, Bytes::from_static(b"{}"), PATIENCE).await.unwrap().0, 200);
    }
    // The balance is spent: nobody tells us but the channels.
    tokio::time::sleep(Duration::from_millis(700)).await;
    ai.byoc_abandon(&streams[3]);
    let free = || bed.app().pool.jobs() == 0;
    until("the permit is free", free).await;
    unharmed(ai);
    let lines = bed.lines().await;
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().all(|one| (2..=9).contains(&one["units"].as_u64().unwrap())), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_orchestrator_is_known_by_its_address_of_us() {
    let orchestrators = vec![OrchestratorPlan::new(SECRET, Traffic::None); 2];
    let bed = AiBed::with(orchestrators, vec![plan("a", |_| {})], |settings| settings.runner.byoc = vec![echo()]).await;
    for (n, o) in bed.orchestrators.iter().enumerate() {
        registered(o.ai(), 2).await;
        for _ in 0..=n {
            assert!(matches!(job(o.ai(), "x", "{}").await, ByocFate::Answered { status: 200, .. }));
        }
        unharmed(o.ai());
    }
    let lines = bed.lines().await;
    let mut of: Vec<&str> = lines.iter().map(|one| one["orchestrator"].as_str().unwrap()).collect();
    of.sort_unstable();
    assert_eq!(of, ["o0", "o1", "o1"]);
}
