//! AI jobs of an orchestrator that knows us as its AI worker: registrations, results in all three
//! forms, deadlines. The pool's workers are driven by hand.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::config::settings::Settings;
use openpool_proxy::domain::ai::{ModelKey, ModelOffer, Pipeline};
use openpool_proxy::domain::outcome::Failure;
use openpool_proxy::pool::ai::{AiClaim, AiFile, AiJoin, AiRequest, AiResult, AiVerdict, Road};
use openpool_proxy::pool::{Knock, Order, Pool, Seated, Worker};
use openpool_proxy::sim::ai_orchestrator::{AiFate, AiPlan};
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bed::{Bed, SECRET, until};

const MODEL: &str = "org/model";
const SECOND: Duration = Duration::from_secs(1);

/// A worker of the pool, driven by hand.
struct Hand {
    pool: Pool,
    worker: Worker,
    seat: Seated,
}

impl Hand {
    fn join(bed: &Bed, name: &str, road: Road, models: &[(Pipeline, &str, u32)]) -> Hand {
        let pool = bed.app().pool.clone();
        let peer = SocketAddr::from(([10, 0, 0, 1], 4000));
        let secret = format!("0x{}.{name}", "11".repeat(20));
        let worker = pool.login(Knock { secret: &secret, named: None, peer: peer.ip() }).unwrap();
        let one = |(pipeline, model, capacity): &(Pipeline, &str, u32)| ModelOffer {
            key: ModelKey::new(*pipeline, model),
            capacity: *capacity,
            warm: true,
            version: "0.14.1".into(),
        };
        let models = models.iter().map(one).collect();
        let join = AiJoin { models, version: "0.9.1".into(), hardware: vec![hardware(name)], peer, road };
        let seat = pool.join_ai(&worker, join).unwrap();
        Hand { pool, worker, seat }
    }

    fn of(bed: &Bed, pipeline: Pipeline) -> Hand {
        Hand::join(bed, "rig", Road::Worker, &[(pipeline, MODEL, 4)])
    }

    /// The next job, and the right to answer it.
    async fn next(&mut self) -> (Arc<AiRequest>, AiClaim) {
        match tokio::time::timeout(10 * SECOND, self.seat.next()).await.unwrap().unwrap() {
            Order::Ai { request, task, .. } => (request, self.pool.ai_claim(&self.worker, task).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// A `HardwareInformation` with a name in it, and a field that we do not know.
fn hardware(name: &str) -> Bytes {
    let name = name.as_bytes();
    [&[0x0a, name.len() as u8], name, &[0x78, 0x01]].concat().into()
}

fn result(json: Value) -> AiResult {
    AiResult { json: json.to_string().into(), files: Vec::new(), usage: None }
}

async fn file(claim: &AiClaim, name: &str, bytes: Bytes) -> AiFile {
    let mut spool = claim.spool();
    for piece in bytes.chunks(5000) {
        spool.push(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    AiFile { name: name.into(), content_type: "image/png".into(), body: spool.finish().await.unwrap() }
}

fn chunk(content: &str, finish: Option<&str>) -> Bytes {
    let mut choice = json!({"index": 0, "delta": {"role": "assistant", "content": content}});
    if let Some(reason) = finish {
        choice["finish_reason"] = reason.into();
    }
    json!({"id": "c", "model": MODEL, "created": 7, "choices": [choice]}).to_string().into()
}

fn llm(stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 64, "stream": stream})
}

/// The head of a PNG: enough for its size.
fn png(width: u32, height: u32, salt: u8) -> Bytes {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0]);
    bytes.resize(20_000, salt);
    bytes.into()
}

/// Silence: 16 bits, one channel, 8 kHz.
fn wav(seconds: u32) -> Bytes {
    let size = seconds * 16_000;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + size).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(8_000u32.to_le_bytes());
    bytes.extend(16_000u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes.resize(bytes.len() + size as usize, 0);
    bytes.into()
}

async fn bed(plan: impl FnOnce(&mut AiPlan), change: impl FnOnce(&mut Settings)) -> Bed {
    let mut orchestrator = OrchestratorPlan::new(SECRET, Traffic::None);
    orchestrator.ai.version = "0.9.1".into();
    plan(&mut orchestrator.ai);
    Bed::with(vec![orchestrator], change).await
}

/// A bed with a registered worker of one pipeline.
async fn one(pipeline: Pipeline) -> (Bed, Hand) {
    let bed = bed(|_| {}, |_| {}).await;
    let hand = Hand::of(&bed, pipeline);
    registered(&bed.orchestrators[0], 1).await;
    (bed, hand)
}

async fn registered(orchestrator: &SimOrchestrator, count: usize) {
    until("the AI registration stands", || orchestrator.ai().workers().len() == count).await;
}

/// What it stands with, and what is left of it.
fn offered(orchestrator: &SimOrchestrator) -> Vec<(u32, String, i64)> {
    orchestrator.ai().workers().into_iter().flat_map(|worker| worker.models).collect()
}

fn ai_status(bed: &Bed) -> openpool_proxy::planes::uplink::status::AiStatus {
    bed.app().uplinks.status().remove(0).ai
}

async fn submit(bed: &Bed, pipeline: Pipeline, request: Value, file: Option<Bytes>) -> AiFate {
    bed.orchestrators[0].submit_ai(pipeline, MODEL, request, file).await
}

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
async fn a_silent_refusal_that_cannot_be_helped_names_the_remedy() {
    let bed =
        bed(|plan| plan.version = "1.0.0".into(), |settings| settings.uplink.fallback_version = "0.8.8".into()).await;
    let _hand = Hand::of(&bed, Pipeline::TextToImage);
    until("told", || ai_status(&bed).side.state.contains("set uplink.fallback_version to the `Version`")).await;
    assert_eq!(ai_status(&bed).side.registrations, 0);
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
    assert_eq!(paid % (640 * 360 * 2), 0, "by the unit: {:?}", books.balances);
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
    assert_eq!(ai_status(&bed).side.errors_sent, 1);
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
async fn each_chunk_of_a_stream_goes_up_at_once() {
    let (bed, mut hand) = one(Pipeline::Llm).await;
    let work = async {
        let (asked, claim) = hand.next().await;
        assert!(asked.stream);
        let mut feed = claim.stream().unwrap();
        let mut sent = Vec::new();
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            sent.push(Instant::now());
            assert!(feed.chunk(chunk(&format!("w{n} "), (n == 19).then_some("stop"))).await);
            // Nothing may come of a chunk without a choice.
            assert!(feed.chunk(Bytes::from_static(b"{\"choices\":[]}")).await);
        }
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
        sent
    };
    let (fate, sent) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), work);
    let AiFate::Stream { chunks, ended, units } = fate else { panic!("{fate:?}") };
    assert_eq!((chunks.len(), ended, units), (20, true, 64));
    let said: String = chunks.iter().map(|c| c.json["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert!(said.starts_with("w0 w1 ") && said.ends_with("w19 "), "{said}");
    let mut late: Vec<Duration> = chunks.iter().zip(&sent).map(|(c, at)| c.at.duration_since(*at)).collect();
    late.sort();
    // Other tests share the machine: the middle one counts, and that none waited for its successor.
    assert!(late[10] < Duration::from_millis(5), "{late:?}");
    assert!(late[19] < Duration::from_millis(40), "{late:?}");
    until("counted", || ai_status(&bed).side.results_accepted == 1).await;
    let counters = bed.orchestrators[0].ai().counters();
    assert_eq!((counters.chunks_after_the_end, counters.bad_chunks, counters.panics), (0, 0, 0));
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_has_an_end_and_is_not_paid() {
    let (bed, mut hand) = one(Pipeline::Llm).await;
    let work = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("one ", None)).await && feed.chunk(chunk("two ", None)).await);
        feed.failed(Failure::BadUpload("cut".into())).await;
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), work);
    let AiFate::Stream { chunks, ended, .. } = fate else { panic!("{fate:?}") };
    assert!(ended, "{chunks:?}");
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[2].json["choices"][0]["finish_reason"], "length", "and nobody takes it for whole");
    let counters = bed.orchestrators[0].ai().counters();
    assert_eq!((counters.unfinished_streams, counters.panics), (0, 0));
    let books = bed.books().await;
    assert_eq!((books.posted, books.pending), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_chunk_a_broken_stream_goes_to_another_worker() {
    let (bed, mut bad) = one(Pipeline::Llm).await;
    let fails = async {
        let (_, claim) = bad.next().await;
        let mut good = Hand::join(&bed, "good", Road::Worker, &[(Pipeline::Llm, MODEL, 1)]);
        claim.stream().unwrap().failed(Failure::BadUpload("cut".into())).await;
        let (_, claim) = good.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("whole", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
    };
    let (fate, ()) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), fails);
    let AiFate::Stream { chunks, ended: true, .. } = fate else { panic!("{fate:?}") };
    assert_eq!(chunks[0].json["choices"][0]["delta"]["content"], "whole");
    assert_eq!(bed.books().await.posted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streaming_job_beyond_the_capacity_waits_for_its_turn() {
    let bed = bed(|_| {}, |_| {}).await;
    let mut hand = Hand::join(&bed, "rig", Road::Worker, &[(Pipeline::Llm, MODEL, 1)]);
    registered(&bed.orchestrators[0], 1).await;
    let second = async {
        // The orchestrator takes the slot for free as soon as the first stream has begun.
        until("the slot is given back", || offered(&bed.orchestrators[0]) == vec![(33, MODEL.to_owned(), 1)]).await;
        submit(&bed, Pipeline::Llm, llm(true), None).await
    };
    let work = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("first ", None)).await);
        until("the second is there", || ai_status(&bed).side.tasks_received == 2).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(feed.chunk(chunk("last", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        assert!(feed.chunk(chunk("second", Some("stop"))).await);
        assert_eq!(feed.end(None).await, AiVerdict::Accepted);
    };
    let begin = async {
        // The slot is in use until the first chunk.
        let first = submit(&bed, Pipeline::Llm, llm(true), None);
        let later = async {
            until("the first is sent", || offered(&bed.orchestrators[0]) == vec![(33, MODEL.to_owned(), 0)]).await;
            second.await
        };
        tokio::join!(first, later)
    };
    let ((first, second), ()) = tokio::join!(begin, work);
    for fate in [first, second] {
        assert!(matches!(fate, AiFate::Stream { ended: true, .. }), "{fate:?}");
    }
    assert_eq!(bed.books().await.posted, 2);
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

/// Short budgets on both sides.
async fn hurried() -> Bed {
    let plan = |plan: &mut AiPlan| (plan.budget, plan.storage) = (4 * SECOND, 4 * SECOND);
    let change = |settings: &mut Settings| {
        let ai = &mut settings.rules.ai;
        (ai.text_limit, ai.file_limit) = (3 * SECOND, 3 * SECOND);
        (ai.margin, ai.least_deadline) = (SECOND, Duration::from_millis(100));
    };
    bed(plan, change).await
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
async fn a_stream_without_end_ends_before_the_budget() {
    let bed = hurried().await;
    let mut hand = Hand::of(&bed, Pipeline::Llm);
    registered(&bed.orchestrators[0], 1).await;
    let talk = async {
        let (_, claim) = hand.next().await;
        let mut feed = claim.stream().unwrap();
        let mut said = 0;
        while feed.chunk(chunk("and ", None)).await {
            said += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        said
    };
    let began = Instant::now();
    let (fate, said) = tokio::join!(submit(&bed, Pipeline::Llm, llm(true), None), talk);
    let AiFate::Stream { chunks, ended, .. } = fate else { panic!("{fate:?}") };
    assert!(ended && said > 10 && began.elapsed() < 4 * SECOND, "{said} {:?}", began.elapsed());
    assert_eq!(chunks.last().unwrap().json["choices"][0]["finish_reason"], "length");
    assert_eq!(bed.books().await.posted, 0);
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
