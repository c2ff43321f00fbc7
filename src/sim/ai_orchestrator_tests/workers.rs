//! Remote AI workers: registration, the three forms of results, budgets.
use super::*;

const MODEL: &str = "org/model";

async fn worker(orchestrator: &SimOrchestrator, models: &[(u32, &str, u32)]) -> (Wire, Registered) {
    let before = orchestrator.ai().workers().len();
    let wire = Wire::dial(orchestrator.address()).await;
    let registered = wire.register(asked(SECRET, "0.9.1", models));
    until("registered", || orchestrator.ai().workers().len() > before).await;
    (wire, registered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_as_the_json_names_them() {
    let orchestrator = orchestrator(|_| {}).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(28, MODEL, 1)]).await;
    let ai = orchestrator.ai().clone();
    let asked = json!({"prompt": "a cat", "num_images_per_prompt": 2});
    let picture = png(30, 20);
    let fate = orchestrator.submit_ai(Pipeline::ImageToImage, MODEL, asked, Some(picture.clone()));
    let work = async {
        let job = registered.job().await;
        assert_eq!(job.pipeline, "image-to-image");
        assert_eq!((&job.data["request"]["model_id"], &job.data["request"]["image"]), (&json!(MODEL), &Value::Null));
        assert_eq!(orchestrator.ai().workers()[0].models[0].2, 0);
        let path = job.data["input_url"].as_str().unwrap().split_once("//").unwrap().1.split_once('/').unwrap().1;
        let get = http::Request::get(format!("/{path}")).body(whole("")).unwrap();
        let (status, _, input) = send(orchestrator.address(), get).await;
        assert_eq!((status.as_u16(), input), (200, picture.clone()));
        let images = json!({"images": [{"url": "a.png", "seed": 1, "nsfw": false, "extra": 1}, {"url": "gone.png"}]});
        let (kind, body) = multipart(&[("a.png", "image/png", b"picture")], &images);
        let posted = result(job.task, "image-to-image", &kind).body(body).unwrap();
        let (status, _, reply) = send(orchestrator.address(), posted).await;
        assert_eq!((status.as_u16(), &reply[..]), (200, &b"OK"[..]));
    };
    let (fate, ()) = tokio::join!(fate, work);
    let AiFate::Delivered { json, files, units } = fate else { panic!("{fate:?}") };
    assert_eq!(units, 30 * 20 * 2);
    assert_eq!((&files[0].body[..], files[1].body.len()), (&b"picture"[..], 0));
    assert!(json["images"][0]["url"].as_str().unwrap().ends_with("/a.png"));
    assert_eq!((json["images"][0].get("extra"), &json["images"][1]["seed"]), (None, &json!(0)));
    let seen = ai.counters();
    assert_eq!((seen.delivered, seen.empty_files, seen.downloads, seen.units), (1, 1, 1, 1200));
    assert_eq!(ai.workers()[0].models[0].2, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_goes_back_by_connection() {
    let orchestrator = orchestrator(|_| {}).await;
    let (wire, mut first) = worker(&orchestrator, &[(33, MODEL, 1)]).await;
    let _second = wire.register(asked(SECRET, "0.9.2", &[(33, MODEL, 1)]));
    until("registered twice", || orchestrator.ai().workers().len() == 2).await;
    let ai = orchestrator.ai();
    let work = async {
        let job = first.job().await;
        let posted = result(job.task, "llm", "livepeer/ai-worker-error").body(whole("no 100%")).unwrap();
        send(orchestrator.address(), posted).await
    };
    let (fate, _) = tokio::join!(ai.submit(Pipeline::Llm, MODEL, json!({"max_tokens": 5}), None), work);
    assert_eq!(fate, AiFate::Error("no 100%".into()));
    // One job done, two registrations on one connection: both are given a slot back.
    let left: Vec<_> = ai.workers().iter().map(|worker| worker.models[0].2).collect();
    assert_eq!(left, [1, 2]);
    assert_eq!(ai.submit(Pipeline::Llm, "other", json!({"max_tokens": 5}), None).await, AiFate::NoWorker);
    let refused = ai.submit(Pipeline::Llm, MODEL, json!({}), None).await;
    assert_eq!(refused, AiFate::Error("MaxTokens not specified".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_are_refused_loudly_and_silently() {
    let orchestrator = orchestrator(|_| {}).await;
    let wire = Wire::dial(orchestrator.address()).await;
    let wrong = wire.register(asked("wrong", "0.9.1", &[])).jobs.recv().await.unwrap();
    let status = wrong.err().unwrap();
    assert_eq!((status.code(), status.message()), (tonic::Code::Unknown, "invalid secret"));
    // An OK end without a word.
    for old in ["0.9.0", "", "undefined"] {
        assert!(wire.register(asked(SECRET, old, &[])).jobs.recv().await.is_none(), "{old}");
    }
    let seen = orchestrator.ai().counters();
    assert_eq!((seen.refused_registrations, seen.silent_refusals, seen.registrations), (1, 3, 0));
}

fn chunk(text: &str, finish: Option<&str>) -> String {
    let mut choice = json!({"index": 0, "delta": {"role": "assistant", "content": text}});
    if let Some(reason) = finish {
        choice["finish_reason"] = reason.into();
    }
    format!("data: {}\n\n", json!({"id": "1", "model": MODEL, "created": 1, "choices": [choice]}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_frees_its_slot_at_the_start() {
    let orchestrator = orchestrator(|_| {}).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(33, MODEL, 1)]).await;
    let ai = orchestrator.ai();
    let work = async {
        let job = registered.job().await;
        let (lines, body) = streamed();
        let post = result(job.task, "llm", "text/event-stream").body(body).unwrap();
        let write = async {
            lines.send(chunk("one", None)).await.unwrap();
            until("given back", || ai.workers()[0].models[0].2 == 1).await;
            lines.send(": a comment\nevent: x\ndata: no json\n".into()).await.unwrap();
            lines.send(chunk("two", Some("stop"))).await.unwrap();
            lines.send(chunk("three", None)).await.unwrap();
            drop(lines);
        };
        tokio::join!(send(orchestrator.address(), post), write).0
    };
    let (fate, (status, ..)) = tokio::join!(ai.submit(Pipeline::Llm, MODEL, json!({"max_tokens": 7}), None), work);
    let AiFate::Stream { chunks, ended, units } = fate else { panic!("{fate:?}") };
    assert_eq!((chunks.len(), ended, units, status.as_u16()), (2, true, 7, 200));
    assert_eq!(chunks[0].json["usage"]["total_tokens"], 0);
    let seen = ai.counters();
    assert_eq!((seen.bad_chunks, seen.streams, seen.panics), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_choices_panic_and_long_lines_end_a_stream() {
    let orchestrator = orchestrator(|_| {}).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(33, MODEL, 1)]).await;
    let ai = orchestrator.ai();
    let long = format!("{}data: {}\n\n", chunk("one", None), "x".repeat(70_000));
    for (body, status) in [("data: {\"choices\":[]}\n\n".to_owned(), 200), (chunk("one", None), 200), (long, 500)] {
        let work = async {
            let job = registered.job().await;
            let post = result(job.task, "llm", "text/event-stream").body(whole(body.clone())).unwrap();
            send(orchestrator.address(), post).await.0
        };
        let (fate, answered) = tokio::join!(ai.submit(Pipeline::Llm, MODEL, json!({"max_tokens": 7}), None), work);
        assert_eq!(answered.as_u16(), status);
        match fate {
            AiFate::Panicked(_) => assert!(body.contains("[]")),
            AiFate::Stream { ended, chunks, .. } => assert_eq!((ended, chunks.len()), (false, 1)),
            other => panic!("{other:?}"),
        }
    }
    let seen = ai.counters();
    assert_eq!((seen.panics, seen.unfinished_streams, seen.stuck_streams), (1, 2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_thrown_away_times_out_and_costs_the_worker() {
    let orchestrator = orchestrator(|plan| plan.budget = Duration::from_millis(300)).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(36, MODEL, 2)]).await;
    let ai = orchestrator.ai();
    let work = async {
        let job = registered.job().await;
        let posted = result(job.task, "text-to-speech", "application/json").body(whole("{}")).unwrap();
        let (status, _, _) = send(orchestrator.address(), posted).await;
        (job, status)
    };
    let speech = json!({"text": "äöü"});
    let (fate, (job, status)) = tokio::join!(ai.submit(Pipeline::TextToSpeech, MODEL, speech, None), work);
    assert_eq!((fate, status.as_u16()), (AiFate::Late, 200));
    assert!(ai.workers().is_empty());
    assert!(registered.jobs.recv().await.is_none(), "its stream ends with OK");
    let late = result(job.task, "llm", "livepeer/ai-worker-error").body(whole("late")).unwrap();
    assert_eq!(send(orchestrator.address(), late).await.0.as_u16(), 200);
    let seen = ai.counters();
    assert_eq!((seen.late, seen.registrations_lost, seen.thrown_away, seen.unknown_results), (1, 1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_judged_in_order() {
    let orchestrator = orchestrator(|_| {}).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(31, MODEL, 9)]).await;
    let ai = orchestrator.ai();
    let work = async {
        let job = registered.job().await;
        let address = orchestrator.address();
        let with = |name: &'static str, value: &'static str| {
            let mut request =
                result(job.task, "audio-to-text", "multipart/mixed; boundary=xyz").body(whole("")).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
            request
        };
        for (name, value, status) in
            [("authorization", "x", 401), ("content-type", "", 415), ("content-type", "a/", 415), ("taskid", "x", 400)]
        {
            assert_eq!(send(address, with(name, value)).await.0.as_u16(), status, "{name}");
        }
        // A wrong secret is told so, and the result is used.
        let (kind, body) =
            multipart(&[], &json!({"text": "words", "chunks": [{"timestamp": [0.0, 1.5], "text": "w"}]}));
        let mut request = result(job.task, "audio-to-text", &kind).body(body).unwrap();
        request.headers_mut().insert("credentials", "wrong".parse().unwrap());
        assert_eq!(send(address, request).await.0.as_u16(), 401);
    };
    let (fate, ()) = tokio::join!(ai.submit(Pipeline::AudioToText, MODEL, json!({}), Some(wav(3))), work);
    assert!(matches!(fate, AiFate::Delivered { units: 3000, .. }), "{fate:?}");
    let seen = ai.counters();
    assert_eq!((seen.refused_results, seen.wrong_secret_results, seen.unreadable_answers), (4, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_names_how_a_result_is_read() {
    let orchestrator = orchestrator(|_| {}).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(34, MODEL, 9)]).await;
    let ai = orchestrator.ai();
    let fine = json!({"text": "a cat"});
    let cut = "--xyz\r\nContent-Type: application/json\r\n\r\n{\"text\":";
    let cases = [
        ("text-to-image", None, "unreadable"),
        ("nonsense", None, "null"),
        ("image-to-text", Some(cut), "unexpected EOF"),
        ("image-to-text", Some("--xyz\r\nContent-Ty"), "null"),
        ("text-to-speech", Some("--xyz\r\nContent-Type: application/json\r\n\r\n{\"audio\":1}\r\n--xyz--"), "json: "),
    ];
    for (pipeline, body, wanted) in cases {
        let before = ai.counters();
        let work = async {
            let job = registered.job().await;
            let (kind, made) = multipart(&[], &fine);
            let body = body.map_or(made, whole);
            send(orchestrator.address(), result(job.task, pipeline, &kind).body(body).unwrap()).await.0
        };
        let (fate, status) = tokio::join!(ai.submit(Pipeline::ImageToText, MODEL, json!({}), Some(png(2, 3))), work);
        assert_eq!(status.as_u16(), 200, "a broken one too");
        let seen = ai.counters();
        match (fate, wanted) {
            (AiFate::Delivered { json, .. }, "null") => {
                assert_eq!((json, seen.null_answers), (Value::Null, before.null_answers + 1));
            }
            (AiFate::Delivered { json, .. }, "unreadable") => assert_eq!(json, json!({"images": null})),
            (AiFate::Error(words), wanted) => assert!(words.starts_with(wanted), "{words}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_closes_before_the_budget() {
    let orchestrator = orchestrator(|plan| plan.storage = Duration::from_millis(100)).await;
    let (_wire, mut registered) = worker(&orchestrator, &[(30, MODEL, 1)]).await;
    let ai = orchestrator.ai();
    let work = async {
        let job = registered.job().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let url: http::Uri = job.data["input_url"].as_str().unwrap().parse().unwrap();
        let get = http::Request::get(url.path()).body(whole("")).unwrap();
        assert_eq!(send(orchestrator.address(), get).await.0.as_u16(), 404);
        let (kind, body) = multipart(&[("a.png", "image/png", b"p")], &json!({"images": [{"url": "a.png"}]}));
        send(orchestrator.address(), result(job.task, "upscale", &kind).body(body).unwrap()).await
    };
    let (fate, _) = tokio::join!(ai.submit(Pipeline::Upscale, MODEL, json!({}), Some(png(2, 2))), work);
    assert_eq!(fate, AiFate::Error("Session ended".into()));
}
