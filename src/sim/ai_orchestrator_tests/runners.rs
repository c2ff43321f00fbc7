//! Runners of `aiModels.json`, well-behaved and not.
use super::ai_client::RunnerEntry;
use super::server::{Body, Seen, answer};
use super::*;

const MODEL: &str = "org/model";
const PIXEL: &str = "data:image/png;base64,";

fn entry(pipeline: Pipeline, server: &Server) -> RunnerEntry {
    let url = format!("{}/prefix", server.url());
    RunnerEntry { pipeline, model: MODEL.into(), url, token: Some("key".into()), capacity: 2 }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let sum = three.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = DIGITS[(sum >> (18 - 6 * n) & 63) as usize] as char;
            text.push(if n > three.len() { '=' } else { digit });
        }
    }
    text
}

/// Ready, and then as told.
async fn runner(then: impl Fn(&Seen) -> http::Response<Body> + Send + Sync + 'static) -> Server {
    Server::start(move |seen| match seen.line.rsplit('/').next().unwrap() {
        "health" => answer(200, "application/json", r#"{"status":"LOADING"}"#),
        "info" => answer(404, "text/plain", ""),
        "version" => {
            answer(200, "application/json", format!(r#"{{"pipeline":"llm","model_id":"{MODEL}","version":"1.2.3"}}"#))
        }
        _ => then(seen),
    })
    .await
}

async fn quick() -> SimOrchestrator {
    orchestrator(|plan| (plan.ready, plan.ready_every) = (Duration::from_millis(300), Duration::from_millis(10))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_asks_in_order_and_can_crash() {
    let orchestrator = quick().await;
    let ai = orchestrator.ai();
    let server = runner(|_| answer(500, "", "")).await;
    let ready = ai.warm(entry(Pipeline::Llm, &server)).await.unwrap();
    assert_eq!((ready.status.as_str(), ready.version.as_str()), ("LOADING", "1.2.3"));
    assert_eq!(server.lines(), ["GET /prefix/health", "GET /prefix/hardware/info", "GET /prefix/version"]);
    assert_eq!(server.seen.lock()[0].headers["authorization"], "Bearer key");
    // Another pipeline's version is not advertised.
    assert_eq!(ai.warm(entry(Pipeline::Upscale, &server)).await.unwrap().version, "");
    let cases = [
        (200, "text/plain", r#"{"status":"OK"}"#, "nil pointer: /health answered 200 without JSON"),
        (200, "application/json", r#"{"status":"ERROR"}"#, "runner is in error state"),
        (503, "application/json", "{}", "timed out waiting for runner: health check failed with status code 503"),
    ];
    for (status, kind, body, wanted) in cases {
        let server = Server::start(move |_| answer(status, kind, body)).await;
        assert_eq!(ai.warm(entry(Pipeline::Llm, &server)).await.unwrap_err(), wanted);
    }
    assert_eq!(ai.counters().panics, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_has_the_file_first_and_all_urls_lead_to_the_last_image() {
    let orchestrator = quick().await;
    let images = [png(1, 1), png(2, 2)].map(|image| json!({"url": format!("{PIXEL}{}", base64(&image)), "seed": 1}));
    let body = json!({ "images": images }).to_string();
    let server = runner(move |_| answer(200, "application/json; charset=utf-8", body.clone())).await;
    let ai = orchestrator.ai();
    ai.warm(entry(Pipeline::ImageToImage, &server)).await.unwrap();
    let asked =
        json!({"seed": 7, "prompt": "a cat", "strength": 0.8, "safety_check": true, "num_images_per_prompt": 2});
    let file = AiFile { name: "cat.bin".into(), body: png(10, 20) };
    let fate = ai.run(Pipeline::ImageToImage, MODEL, asked, Some(file)).await;
    let AiFate::Delivered { files, units, .. } = fate else { panic!("{fate:?}") };
    assert_eq!((units, &files[0].body, &files[1].body), (400, &png(2, 2), &png(2, 2)));
    let seen = server.seen.lock().last().unwrap().clone();
    assert_eq!(seen.line, "POST /prefix/image-to-image");
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string());
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    let at: Vec<_> = [
        "name=\"image\"; filename=\"cat.bin\"\r\nContent-Type: application/octet-stream",
        "name=\"prompt\"\r\n\r\na cat",
        "name=\"model_id\"\r\n\r\norg/model",
        "name=\"strength\"\r\n\r\n0.800000",
        "name=\"safety_check\"\r\n\r\ntrue",
        "name=\"seed\"\r\n\r\n7\r\n",
    ]
    .iter()
    .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in {text}")))
    .collect();
    assert!(at.is_sorted(), "{at:?}");
}

type Case = (Pipeline, u16, &'static str, &'static str, Option<AiFate>);

/// An answer, and what becomes of the job; `None`: a panic.
fn told_and_untold() -> Vec<Case> {
    let json = "application/json";
    let told = |text: &str| AiFate::Error(text.into());
    vec![
        (
            Pipeline::TextToImage,
            400,
            json,
            r#"{"detail":{"msg":"bad"}}"#,
            Some(told("text-to-image container returned 400: bad")),
        ),
        (
            Pipeline::SegmentAnything2,
            500,
            json,
            r#"{"detail":{"msg":"x"}}"#,
            Some(told("segment anything 2 container returned 500: x")),
        ),
        (Pipeline::Llm, 401, json, r#"{"detail":{"msg":"x"}}"#, Some(told("LLM container returned 401: x"))),
        (
            Pipeline::Upscale,
            422,
            json,
            r#"{"detail":[]}"#,
            Some(told("upscale container returned 422: {\"detail\":[]}")),
        ),
        (
            Pipeline::ImageToText,
            413,
            json,
            r#"{"detail":{"msg":""}}"#,
            Some(told("image-to-text container returned 413: file too large; max file size is 50MB")),
        ),
        (Pipeline::ImageToVideo, 503, json, "{}", Some(told("image-to-video container returned no content"))),
        (Pipeline::TextToImage, 503, json, "{}", None),
        (Pipeline::TextToSpeech, 200, "text/plain", "{}", None),
        (Pipeline::Upscale, 413, json, r#"{"detail":{"msg":""}}"#, None),
        (
            Pipeline::Llm,
            422,
            json,
            r#"{"detail":[]}"#,
            Some(AiFate::Delivered { json: Value::Null, files: vec![], units: 9 }),
        ),
        (
            Pipeline::ImageToText,
            200,
            "text/html",
            "<html>",
            Some(AiFate::Delivered { json: Value::Null, files: vec![], units: 4 }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_told_and_all_else_is_an_empty_success() {
    let orchestrator = quick().await;
    let ai = orchestrator.ai();
    for (pipeline, status, kind, body, wanted) in told_and_untold() {
        let server = runner(move |_| answer(status, kind, body)).await;
        ai.warm(entry(pipeline, &server)).await.unwrap();
        let before = (ai.capacity_left(pipeline, MODEL), ai.counters());
        let asked = json!({"max_tokens": 9, "text": "x"});
        let file = pipeline.file_field().map(|name| AiFile { name: name.into(), body: png(2, 2) });
        // The other entries of this model are gone, or the same would be asked at random.
        let fate = ai.run(pipeline, MODEL, asked, file).await;
        ai.forget_runners();
        let after = ai.capacity_left(pipeline, MODEL);
        match wanted {
            Some(wanted) => assert_eq!((fate, after), (wanted, before.0), "{pipeline} {status}"),
            None => {
                assert!(matches!(fate, AiFate::Panicked(_)), "{pipeline} {status}: {fate:?}");
                let seen = ai.counters();
                assert_eq!((after, seen.lost_slots), (before.0 - 1, before.1.lost_slots + 1));
            }
        }
    }
    assert_eq!((ai.counters().panics, ai.counters().null_answers), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_files_and_frames_are_errors() {
    let orchestrator = quick().await;
    let ai = orchestrator.ai();
    let cases = [
        (Pipeline::TextToImage, json!({"images": [{"url": "http://elsewhere/a.png"}]}), "open http"),
        (Pipeline::TextToImage, json!({"images": [{"url": "data:image/png;base64,AAAA"}]}), "open data"),
        (Pipeline::TextToImage, json!({"images": [{"url": "", "seed": 1.0}]}), "json: "),
        (Pipeline::ImageToVideo, json!({"frames": [[], []]}), "unexpected number of image-to-video outputs"),
        (Pipeline::TextToSpeech, json!({"audio": {"url": "a.wav"}}), "invalid data url"),
    ];
    for (pipeline, body, wanted) in cases {
        let server = runner(move |_| answer(200, "application/json", body.to_string())).await;
        ai.warm(entry(pipeline, &server)).await.unwrap();
        let file = pipeline.file_field().map(|name| AiFile { name: name.into(), body: png(2, 2) });
        let fate = ai.run(pipeline, MODEL, json!({"text": "x"}), file).await;
        ai.forget_runners();
        let AiFate::Error(words) = fate else { panic!("{fate:?}") };
        assert!(words.starts_with(wanted), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_at_the_finish_reason() {
    let orchestrator = quick().await;
    let ai = orchestrator.ai();
    let line = |choices: Value| format!("data: {}\n\n", json!({"choices": choices}));
    let delta = json!({"index": 0, "delta": {"content": "x"}});
    let last = json!({"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"});
    let fine = format!(": hi\n{}{}data: [DONE]\n\n", line(json!([delta])), line(json!([last])));
    let open = line(json!([delta]));
    let empty = format!("{open}{}", line(json!([])));
    let asked = json!({"max_tokens": 3, "stream": true});
    for (status, body) in [(200, fine.clone()), (200, open), (200, empty), (503, fine)] {
        let sent = body.clone();
        let server = runner(move |_| answer(status, "text/plain", sent.clone())).await;
        ai.warm(entry(Pipeline::Llm, &server)).await.unwrap();
        match ai.run(Pipeline::Llm, MODEL, asked.clone(), None).await {
            AiFate::Stream { chunks, ended, units } => {
                assert_eq!((units, ended, chunks.len()), (3, body.contains("stop"), if ended { 2 } else { 1 }));
            }
            AiFate::Panicked(_) => assert!(body.contains("[]")),
            AiFate::Error(words) => assert_eq!((status, words.as_str()), (503, "unexpected status code: 503")),
            other => panic!("{other:?}"),
        }
        ai.forget_runners();
    }
    let seen = ai.counters();
    assert_eq!((seen.streams, seen.unfinished_streams, seen.lost_slots, seen.bad_chunks), (3, 1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_video_is_started_and_ends_with_its_input() {
    let orchestrator = quick().await;
    let ai = orchestrator.ai();
    let server = runner(|_| answer(200, "application/json", "{}")).await;
    ai.warm(entry(Pipeline::LiveVideoToVideo, &server)).await.unwrap();
    let job = ai.live_video(MODEL, json!({"prompt": "a cat"})).await.ok().unwrap();
    let body: Value = serde_json::from_slice(&server.seen.lock().last().unwrap().body).unwrap();
    assert_eq!(body["publish_url"], format!("{}/ai/trickle/{}-out", orchestrator.url(), job.id));
    assert_eq!((&body["manifest_id"], &body["params"]["prompt"]), (&json!(job.id), &json!("a cat")));
    assert_eq!(ai.trickle().names().len(), 4);
    job.keep_alive();
    assert!(ai.trickle().close(&job.id), "the gateway ends its input");
    until("all closed", || ai.trickle().names().is_empty()).await;
    assert!(job.output.closed() && job.events.closed() && job.control.closed());
    let full = runner(|_| answer(500, "application/json", r#"{"detail":{"msg":"full"}}"#)).await;
    ai.forget_runners();
    ai.warm(entry(Pipeline::LiveVideoToVideo, &full)).await.unwrap();
    let fate = ai.live_video(MODEL, Value::Null).await.err().unwrap();
    assert_eq!(fate, AiFate::Error("live-video-to-video container returned 500: full".into()));
    assert!(ai.trickle().names().is_empty());
}
