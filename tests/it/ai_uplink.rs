//! AI jobs of an orchestrator that knows us as its AI worker: registrations, whole answers, errors,
//! deadlines. The pool's workers are driven by hand.
mod hand;
mod streams;

use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::pool::ai::{AiResult, AiVerdict, Road};
use openpool_proxy::sim::ai_orchestrator::AiFate;
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use serde_json::{Value, json};

use crate::bed::{SECRET, until};
use hand::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_tells_models_hardware_and_version_and_never_live_video() {
    let bed = bed(|_| {}, |_| {}).await;
    let worker = [(Pipeline::TextToImage, MODEL, 2), (Pipeline::Llm, "org/talk", 1)];
    let _worker = Hand::join(&bed, "a", Road::Worker, &worker);
    let runner = [
        (Pipeline::TextToImage, MODEL, 3),
        (Pipeline::LiveVideoToVideo, "comfyui", 1),
        (Pipeline::ImageToVideo, "org/film", 1),
    ];
    let _runner = Hand::join(&bed, "b", Road::Runner, &runner);
    let o = &bed.orchestrators[0];
    let all = vec![(27, MODEL.to_owned(), 5), (33, "org/talk".to_owned(), 1)];
    until("both are offered", || offered(o) == all).await;
    let standing = o.ai().workers().remove(0);
    assert_eq!(standing.version, "0.9.1");
    let hardware_told: Vec<String> = standing.hardware.iter().map(|one| one.pipeline.clone()).collect();
    assert_eq!(hardware_told, ["a", "b"]);
    until("status follows", || ai_status(&bed).side.capacity == 6).await;
    let status = ai_status(&bed);
    assert_eq!((status.side.state.as_str(), status.side.registrations, status.models.len()), ("registered", 1, 2));
    assert_eq!(bed.app().uplinks.status()[0].transcoder.state, "waiting for workers", "the other kind is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_change_without_a_gap() {
    let bed = bed(|_| {}, |_| {}).await;
    let o = &bed.orchestrators[0];
    let _first = Hand::join(&bed, "a", Road::Worker, &[(Pipeline::TextToImage, MODEL, 2)]);
    registered(o, 1).await;
    let gap = || assert!(!o.ai().workers().is_empty(), "nobody stands");
    let second = Hand::join(&bed, "b", Road::Worker, &[(Pipeline::TextToImage, MODEL, 3), (Pipeline::Upscale, "u", 1)]);
    let both = vec![(27, MODEL.to_owned(), 5), (30, "u".to_owned(), 1)];
    until("both", || {
        gap();
        offered(o) == both
    })
    .await;
    drop(second);
    until("the first alone", || {
        gap();
        offered(o) == vec![(27, MODEL.to_owned(), 2)]
    })
    .await;
    assert_eq!(o.ai().counters().registrations, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_refusal_raises_the_version_once() {
    let bed =
        bed(|plan| plan.version = "0.9.7".into(), |settings| settings.uplink.fallback_version = "0.9.7".into()).await;
    let _hand = Hand::of(&bed, Pipeline::TextToImage);
    registered(&bed.orchestrators[0], 1).await;
    assert_eq!(bed.orchestrators[0].ai().workers()[0].version, "0.9.7");
    assert_eq!(bed.orchestrators[0].ai().counters().silent_refusals, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_newer_than_all_that_we_know_takes_us_at_last() {
    let bed =
        bed(|plan| plan.version = "7.0.0".into(), |settings| settings.uplink.fallback_version = "0.9.7".into()).await;
    let _hand = Hand::of(&bed, Pipeline::TextToImage);
    registered(&bed.orchestrators[0], 1).await;
    assert_eq!(bed.orchestrators[0].ai().counters().silent_refusals, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_come_with_their_json_and_are_paid_by_the_inputs_size() {
    let (bed, mut hand) = one(Pipeline::ImageToImage).await;
    let input = png(640, 360, 9);
    let request = json!({"prompt": "a cat", "num_images_per_prompt": 2, "strength": 0.8});
    let work = async {
        let (asked, claim) = hand.next().await;
        let told: Value = serde_json::from_slice(&asked.json).unwrap();
        assert_eq!((&told["prompt"], &told["image"], &told["strength"]), (&json!("a cat"), &Value::Null, &json!(0.8)));
        let body = &asked.file.as_ref().unwrap().body;
        let mut got = Vec::new();
        while let Some(piece) = body.chunk(got.len()).await {
            got.push(piece.unwrap());
        }
        assert_eq!(got.concat(), input);
        let files = vec![
            file(&claim, "0a1b2c3d.png", png(640, 360, 1)).await,
            file(&claim, "4e5f6071.png", png(640, 360, 2)).await,
        ];
        let images = json!({"images": [
            {"url": "0a1b2c3d.png", "seed": 42, "nsfw": false}, {"url": "4e5f6071.png", "seed": 43, "nsfw": true}]});
        assert_eq!(claim.whole(AiResult { files, ..result(images) }).await, AiVerdict::Accepted);
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::ImageToImage, request, Some(input.clone())), work);
    let AiFate::Delivered { json, files, units } = fate else { panic!("{fate:?}") };
    assert_eq!(units, 640 * 360 * 2);
    assert_eq!((&json["images"][0]["seed"], &json["images"][1]["nsfw"]), (&json!(42), &json!(true)));
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["0a1b2c3d.png", "4e5f6071.png"]);
    assert_eq!((&files[0].body, &files[1].body), (&png(640, 360, 1), &png(640, 360, 2)));
    until("counted", || ai_status(&bed).side.results_accepted == 1).await;
    let books = bed.books().await;
    assert_eq!((books.posted, books.pending, books.in_doubt_total), (1, 0, 0));
    let paid: i128 = books.balances.values().map(|wei| wei.parse::<i128>().unwrap()).filter(|wei| *wei > 0).sum();
    assert_eq!(paid, 640 * 360 * 2 * 10, "by the unit: {:?}", books.balances);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_measured_and_its_text_delivered() {
    let (bed, mut hand) = one(Pipeline::AudioToText).await;
    let text = json!({"text": "la la", "chunks": [{"timestamp": [0.0, 2.5], "text": "la la"}]});
    let work = async {
        let (asked, claim) = hand.next().await;
        assert_eq!(asked.file.as_ref().unwrap().len(), wav(3).len() as u64);
        assert_eq!(claim.whole(result(text.clone())).await, AiVerdict::Accepted);
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::AudioToText, json!({}), Some(wav(3))), work);
    assert_eq!(fate, AiFate::Delivered { json: text, files: vec![], units: 3000 });
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_callers_goes_up_without_address_and_percent_sign() {
    let (bed, mut hand) = one(Pipeline::TextToImage).await;
    let work = async {
        let (_, claim) = hand.next().await;
        claim.error("text-to-image container returned 400: 50% of https://pool.example:8935/x is wrong");
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::TextToImage, json!({"prompt": "x"}), None), work);
    assert_eq!(fate, AiFate::Error("text-to-image container returned 400: 50 of (address) is wrong".into()));
    until("counted", || ai_status(&bed).side.errors_sent == 1).await;
    assert_eq!(bed.books().await.posted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_charged_is_refused_before_a_worker_sees_it() {
    let (bed, hand) = one(Pipeline::TextToImage).await;
    let fate = submit(&bed, Pipeline::TextToImage, json!({"prompt": "x", "width": "wide"}), None).await;
    let AiFate::Error(text) = fate else { panic!("{fate:?}") };
    assert!(text.starts_with("AI request validation failed for text-to-image pipeline err=width"), "{text}");
    assert_eq!(bed.orchestrators[0].ai().counters().delivered, 0);
    drop(hand);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_an_orchestrator_that_restarted() {
    let (mut bed, mut hand) = one(Pipeline::TextToImage).await;
    let old = bed.orchestrators.remove(0);
    let mut plan = OrchestratorPlan::new(SECRET, Traffic::None);
    plan.listen = old.address();
    let submitted = old.submit_ai(Pipeline::TextToImage, MODEL, json!({"prompt": "x"}), None);
    let restart = async {
        let (_, claim) = hand.next().await;
        old.stop().await;
        let new = SimOrchestrator::start(plan).await.unwrap();
        registered(&new, 1).await;
        tokio::time::timeout(5 * SECOND, claim.gone().cancelled()).await.expect("the worker is told");
        let name = "0a1b2c3d.png";
        let files = vec![file(&claim, name, png(8, 8, 0)).await];
        let images = json!({"images": [{"url": name, "seed": 1, "nsfw": false}]});
        assert_eq!(claim.whole(AiResult { files, ..result(images) }).await, AiVerdict::Late);
        new
    };
    let (_, new) = tokio::join!(tokio::time::timeout(10 * SECOND, submitted), restart);
    assert_eq!(new.ai().counters().unknown_results, 0);
    bed.orchestrators.push(new);
    let work = async {
        let (_, claim) = hand.next().await;
        let files = vec![file(&claim, "0a1b2c3d.png", png(8, 8, 0)).await];
        let images = json!({"images": [{"url": "0a1b2c3d.png", "seed": 1, "nsfw": false}]});
        claim.whole(AiResult { files, ..result(images) }).await
    };
    let (fate, _) = tokio::join!(submit(&bed, Pipeline::TextToImage, json!({"prompt": "x"}), None), work);
    assert!(matches!(fate, AiFate::Delivered { .. }), "its task has the number of the old one: {fate:?}");
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_does_is_answered_before_the_budget() {
    let bed = hurried().await;
    let mut hand = Hand::of(&bed, Pipeline::TextToImage);
    registered(&bed.orchestrators[0], 1).await;
    let hang = async {
        let (_, claim) = hand.next().await;
        tokio::time::timeout(5 * SECOND, claim.gone().cancelled()).await.expect("the worker is told");
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::TextToImage, json!({"prompt": "x"}), None), hang);
    assert!(matches!(&fate, AiFate::Error(text) if text.starts_with("OpenPoolTimeout")), "{fate:?}");
    let counters = bed.orchestrators[0].ai().counters();
    assert_eq!((counters.registrations_lost, counters.late), (0, 0));
    assert_eq!(ai_status(&bed).side.answered_late, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_models_go_to_their_own_workers() {
    let bed = bed(|_| {}, |_| {}).await;
    let mut talk = Hand::join(&bed, "talk", Road::Worker, &[(Pipeline::Llm, "org/talk", 1)]);
    let mut other = Hand::join(&bed, "other", Road::Worker, &[(Pipeline::Llm, "org/other", 1)]);
    until("both", || offered(&bed.orchestrators[0]).len() == 2).await;
    async fn say(hand: &mut Hand, model: &str) {
        let (asked, claim) = hand.next().await;
        assert_eq!((&*asked.key.model, asked.stream), (model, false));
        let message = json!({"role": "assistant", "content": model});
        let answer = json!({"id": "a", "model": model, "created": 1, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]});
        assert_eq!(claim.whole(result(answer)).await, AiVerdict::Accepted);
    }
    let o = &bed.orchestrators[0];
    let (one, two, (), ()) = tokio::join!(
        o.submit_ai(Pipeline::Llm, "org/talk", llm(false), None),
        o.submit_ai(Pipeline::Llm, "org/other", llm(false), None),
        say(&mut talk, "org/talk"),
        say(&mut other, "org/other"),
    );
    for (fate, model) in [(one, "org/talk"), (two, "org/other")] {
        let AiFate::Delivered { json, units: 64, .. } = fate else { panic!("{fate:?}") };
        assert_eq!(json["choices"][0]["message"]["content"], model);
    }
    assert_eq!(bed.books().await.posted, 2);
}
