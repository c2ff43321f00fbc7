//! AI workers on the worker port: the real pool behind it, raw HTTP/2 and gRPC bytes before it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::ai::{ModelKey, ModelOffer, Pipeline};
use openpool_proxy::domain::ids::{Epoch, OrchestratorName};
use openpool_proxy::domain::ledger::AiDoor;
use openpool_proxy::domain::outcome::Failure;
use openpool_proxy::pool::Upstream;
use openpool_proxy::pool::ai::{AiAnswer, AiInput, AiRequest, AiStream, AiTicket, Measure, NewAiJob, Roads, Usage};
use openpool_proxy::wire::messages::{pb, read_ai_notice};
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::worker_port::client::{Client, Registration, Upload, h1};
use crate::worker_port::{Port, with};

const SECOND: Duration = Duration::from_secs(1);
const MODEL: &str = "org/model";
const PATH: &str = "/aiResults";
const LLM: &str = r#"{"model":"org/model","messages":[{"role":"user","content":"hi"}],"max_tokens":10,"stream":true}"#;
const SAID: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#;

struct Worker {
    client: Client,
    registration: Registration,
    secret: String,
    pipeline: Pipeline,
}

struct Job {
    task: i64,
    pipeline: String,
    url: String,
    request: String,
}

/// What became of a job that was worked in the background.
type Worked = JoinHandle<(AiAnswer, AiTicket)>;

impl Worker {
    async fn join(port: &Port, name: &str, pipeline: Pipeline) -> Worker {
        let client = Client::dial(port.address).await;
        let secret = format!("0x{}.{name}", "11".repeat(20));
        let before = port.pool.ai_models().first().map_or(0, |offer| offer.capacity);
        let registration = client.register_ai(&secret, &[offer(pipeline, 1)]).await;
        // The stream says nothing before the first job.
        assert_eq!(port.pool.ai_models()[0].capacity, before + 1);
        Worker { client, registration, secret, pipeline }
    }

    async fn job(&mut self) -> Job {
        let raw = timeout(3 * SECOND, self.registration.message()).await.expect("no job came");
        let notice = read_ai_notice(&raw).unwrap();
        let data: serde_json::Value = serde_json::from_slice(&notice.request_data).unwrap();
        Job {
            task: notice.task,
            pipeline: notice.pipeline,
            url: data["input_url"].as_str().unwrap().into(),
            request: data["request"].to_string(),
        }
    }

    fn headers(&self, job: &Job, kind: &str) -> Vec<(&'static str, String)> {
        vec![
            ("authorization", "Livepeer-AI-Worker-1.0".into()),
            ("credentials", self.secret.clone()),
            ("taskid", job.task.to_string()),
            ("pipeline", self.pipeline.name().into()),
            ("content-type", kind.into()),
            ("poolethereumaddress", format!("0x{}", "99".repeat(20))),
        ]
    }

    async fn post(&self, job: &Job, kind: &str, body: &[u8]) -> (u16, String) {
        self.client.post_to(PATH, &self.headers(job, kind), body).await
    }

    async fn events(&self, job: &Job) -> Upload {
        self.client.open(PATH, &self.headers(job, "text/event-stream")).await
    }
}

fn offer(pipeline: Pipeline, capacity: u32) -> ModelOffer {
    ModelOffer { key: ModelKey::new(pipeline, MODEL), capacity, warm: true, version: "0.0.0".into() }
}

fn new_job(pipeline: Pipeline, stream: bool) -> NewAiJob {
    NewAiJob {
        key: ModelKey::new(pipeline, MODEL),
        door: AiDoor::Grpc,
        orchestrator: OrchestratorName::from("o"),
        epoch: Epoch::from("e"),
        upstream_task: 0,
        session: None,
        roads: Roads::ALL,
        stream,
        files: false,
        min_version: String::new(),
        wait: Duration::from_millis(200),
        endless: false,
    }
}

/// Submits a job and works it in the background.
async fn submit(port: &Port, pipeline: Pipeline, json: &'static str, file: Option<&'static [u8]>) -> Worked {
    let stream = json.contains(r#""stream":true"#);
    let mut ticket = port.pool.submit_ai(new_job(pipeline, stream)).unwrap();
    ticket.measured(Measure { units: 42, effort: 1.0 });
    let file = match file {
        None => None,
        Some(bytes) => {
            let mut spool = ticket.spool();
            spool.push(Bytes::from_static(bytes)).await.unwrap();
            Some(AiInput { name: String::new(), body: spool.finish().await.unwrap() })
        }
    };
    let key = ModelKey::new(pipeline, MODEL);
    let request = Arc::new(AiRequest { key, json: Bytes::from_static(json.as_bytes()), file, stream });
    port.tasks.spawn("job", async move { (ticket.work(request).await, ticket) })
}

async fn answer(worked: Worked) -> (AiAnswer, AiTicket) {
    timeout(3 * SECOND, worked).await.expect("the job has no answer").unwrap()
}

async fn failure(worked: Worked) -> Failure {
    match answer(worked).await.0 {
        AiAnswer::Error(failure) => failure,
        _ => panic!("the job was answered"),
    }
}

async fn stream(worked: Worked) -> (AiStream, AiTicket) {
    match answer(worked).await {
        (AiAnswer::Stream(stream), ticket) => (stream, ticket),
        _ => panic!("no stream"),
    }
}

async fn next(stream: &mut AiStream) -> Option<Result<String, Failure>> {
    let item = timeout(3 * SECOND, stream.next()).await.expect("nothing came");
    item.map(|chunk| chunk.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
}

/// Files, then the JSON, as a stock worker writes them.
fn multipart(files: &[(&str, &str, &[u8])], json: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, bytes) in files {
        let head = format!(
            "--edge\r\nContent-Disposition: attachment; filename={name}\r\nContent-Length: {}\r\nContent-Type: {kind}\r\n\r\n",
            bytes.len()
        );
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    let head = format!("--edge\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n", json.len());
    body.extend([head.as_bytes(), json.as_bytes(), b"\r\n--edge--\r\n"].concat());
    body
}

const MIXED: &str = "multipart/mixed; boundary=edge";
const IMAGES: &str = r#"{"images":[{"url":"0011aabb.png","seed":42,"nsfw":false}]}"#;

fn chunk(text: &str, end: bool) -> String {
    let end = if end { r#""finish_reason":"stop","# } else { "" };
    format!(r#"{{"id":"c","model":"m","created":1,"choices":[{{"index":0,{end}"delta":{{"content":"{text}"}}}}]}}"#)
}

fn event(json: &str) -> Vec<u8> {
    format!("data: {json}\n\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_a_file_goes_through() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Upscale).await;
    let picture: &'static [u8] = vec![7; 200_000].leak();
    let request = r#"{"image":null,"prompt":"p","model_id":"org/model"}"#;
    let worked = submit(&port, Pipeline::Upscale, request, Some(picture)).await;
    let job = worker.job().await;
    assert_eq!((job.pipeline.as_str(), job.request.contains(r#""image":null"#)), ("upscale", true));
    let path = job.url.strip_prefix(&format!("https://{}", port.address)).expect("our own address").to_owned();
    let (status, input) = h1(port.address, "GET", &path, "").await;
    assert!(status == 200 && input == picture, "{status}");
    assert_eq!(h1(port.address, "GET", "/input/0123", "").await.0, 404);
    let body = multipart(&[("0011aabb.png", "image/png", b"png"), ("ffffffff.png", "image/png", b"more")], IMAGES);
    assert_eq!(worker.post(&job, MIXED, &body).await, (200, "OK".into()));
    let (AiAnswer::Whole(result, recorded), ticket) = answer(worked).await else { panic!("not whole") };
    recorded.wait().await.unwrap();
    assert_eq!((&result.json[..], result.files.len()), (IMAGES.as_bytes(), 1), "what nothing names is left out");
    let file = &result.files[0];
    assert_eq!((file.name.as_str(), file.content_type.as_str(), file.body.len()), ("0011aabb.png", "image/png", 3));
    ticket.close(&Upstream::Accepted);
    assert_eq!(h1(port.address, "GET", &path, "").await.0, 404);
    assert_eq!(worker.post(&job, MIXED, &body).await.0, 410, "again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_file_has_no_address() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    let request = r#"{"model":"org/model","messages":[],"max_tokens":7}"#;
    let worked = submit(&port, Pipeline::Llm, request, None).await;
    let job = worker.job().await;
    let sent: serde_json::Value = serde_json::from_str(request).unwrap();
    assert_eq!((job.url.as_str(), job.request), ("", sent.to_string()));
    let job = Job { request: String::new(), ..job };
    assert_eq!(worker.post(&job, MIXED, &multipart(&[], SAID)).await, (200, "OK".into()));
    let (AiAnswer::Whole(result, _), _) = answer(worked).await else { panic!("not whole") };
    assert_eq!(result.usage, Some(Usage { prompt: 3, made: 5 }));
}

/// Posts a fault from one of two workers; its answer, and whether the other is asked.
async fn faulty(
    pipeline: Pipeline,
    json: &'static str,
    kind: &str,
    body: &[u8],
    change: impl Fn(Vec<(&'static str, String)>) -> Vec<(&'static str, String)>,
) -> (u16, String, bool) {
    let port = Port::with(|_| {}).await;
    let mut a = Worker::join(&port, "a", pipeline).await;
    let mut b = Worker::join(&port, "b", pipeline).await;
    let worked = submit(&port, pipeline, json, None).await;
    let (first, other, job) = tokio::select! {
        job = a.job() => (&a, &mut b, job),
        job = b.job() => (&b, &mut a, job),
    };
    let (status, text) = first.client.post_to(PATH, &change(first.headers(&job, kind)), body).await;
    let again = tokio::select! {
        _ = other.job() => true,
        failure = failure(worked) => {
            assert!(matches!(failure, Failure::InputError(_)), "{failure:?}");
            false
        }
    };
    (status, text, again)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_answers_go_elsewhere() {
    let image = r#"{"prompt":"p","model_id":"org/model"}"#;
    let good = multipart(&[("0011aabb.png", "image/png", b"png")], IMAGES);
    let same = |headers| headers;
    let faulty_image = async |kind: &'static str, body: Vec<u8>| {
        let (status, text, again) = faulty(Pipeline::TextToImage, image, kind, &body, same).await;
        assert!(again, "{status} {text}");
        (status, text)
    };
    let other = |headers| with(headers, "pipeline", Some("llm"));
    let wrong = faulty(Pipeline::TextToImage, image, MIXED, &good, other).await;
    assert_eq!(wrong, (400, "Invalid Pipeline".into(), true));
    assert_eq!(faulty_image(MIXED, multipart(&[], IMAGES)).await.0, 422, "a name without a file");
    let (status, text) = faulty_image(MIXED, multipart(&[], r#"{"images":[]}"#)).await;
    assert!(status == 422 && text.contains("no images"), "{status} {text}");
    assert_eq!(faulty_image(MIXED, good[..good.len() - 20].to_vec()).await.0, 400, "cut short");
    assert_eq!(faulty_image(MIXED, b"\r\n--edge--\r\n".to_vec()).await.0, 400, "no JSON");
    assert_eq!(faulty_image(MIXED, multipart(&[("0011aabb.png", "image/png", b"")], IMAGES)).await.0, 400, "empty");
    assert_eq!(faulty_image(MIXED, multipart(&[("0011aabb.png", "text/html", b"x")], IMAGES)).await.0, 415);
    assert_eq!(faulty_image("text/html", b"<html>".to_vec()).await.0, 415);
    assert_eq!(faulty_image("text/event-stream", event(&chunk("a", true))).await.0, 400, "no stream was asked for");
    let llm = r#"{"model":"org/model","messages":[],"max_tokens":7}"#;
    let empty = multipart(&[], r#"{"choices":[]}"#);
    let (status, text, again) = faulty(Pipeline::Llm, llm, MIXED, &empty, same).await;
    assert!(status == 422 && text.contains("no choices") && again, "{status} {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_end_the_job_or_send_it_elsewhere() {
    let image = r#"{"prompt":"p","model_id":"org/model"}"#;
    let table = [
        ("no workers can process job requested", true),
        ("text-to-image container returned 500: out of memory", true),
        ("AI request validation failed for upscale pipeline err=Get \"https://x/input/1\": EOF", true),
        ("text-to-image container returned 400: bad prompt", false),
        ("AI request validation failed for text-to-image pipeline err=no prompt", false),
    ];
    for (text, again) in table {
        let got = faulty(Pipeline::TextToImage, image, "livepeer/ai-worker-error", text.as_bytes(), |h| h).await;
        assert_eq!(got, (200, "OK".into(), again), "{text}");
    }
    let long = vec![b'x'; 70_000];
    assert_eq!(faulty(Pipeline::TextToImage, image, "livepeer/ai-worker-error", &long, |h| h).await.0, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_workers_own_words_are_the_answer() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::TextToImage).await;
    let worked = submit(&port, Pipeline::TextToImage, r#"{"prompt":"p","model_id":"org/model"}"#, None).await;
    let job = worker.job().await;
    worker.post(&job, "livepeer/ai-worker-error", b"text-to-image container returned 500: out of memory").await;
    assert_eq!(
        failure(worked).await,
        Failure::WorkerError("text-to-image container returned 500: out of memory".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_strange_tasks_touch_no_job() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    let worked = submit(&port, Pipeline::Llm, r#"{"model":"org/model","messages":[],"max_tokens":7}"#, None).await;
    let job = worker.job().await;
    let headers = worker.headers(&job, MIXED);
    let foreign = format!("0x{}.b", "22".repeat(20));
    let table = [
        ("authorization", None, 401),
        ("authorization", Some("Livepeer-Transcoder-1.0"), 401),
        ("credentials", None, 401),
        ("credentials", Some("wrong"), 401),
        ("credentials", Some(foreign.as_str()), 403),
        ("taskid", None, 400),
        ("taskid", Some("abc"), 400),
        ("taskid", Some("12345"), 404),
    ];
    for (name, value, status) in table {
        let client = Client::dial(port.address).await;
        let answer = client.post_to(PATH, &with(headers.clone(), name, value), &multipart(&[], SAID)).await;
        assert_eq!(answer.0, status, "{name}: {value:?}: {answer:?}");
    }
    // The type comes before the task.
    let strange = with(with(headers.clone(), "taskid", Some("abc")), "content-type", None);
    assert_eq!(worker.client.post_to(PATH, &strange, b"").await.0, 415);
    assert_eq!(worker.post(&job, MIXED, &multipart(&[], SAID)).await, (200, "OK".into()));
    assert!(matches!(answer(worked).await.0, AiAnswer::Whole(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_end_by_trailers_with_the_right_words() {
    let port = Port::with(|_| {}).await;
    let refused = async |secret: &str, models: &[ModelOffer]| {
        let mut registration = Client::dial(port.address).await.register_ai(secret, models).await;
        assert!(!registration.trailers_only, "headers come first");
        registration.end().await
    };
    let secret = format!("0x{}.a", "11".repeat(20));
    let llm = offer(Pipeline::Llm, 1);
    assert_eq!(refused("wrong", std::slice::from_ref(&llm)).await, (2, "invalid secret".into()));
    for models in [&[][..], &[offer(Pipeline::Llm, 0)], &[offer(Pipeline::LiveVideoToVideo, 1)]] {
        let (code, text) = refused(&secret, models).await;
        assert!(code == 14 && text.contains("no model"), "{code} {text}");
    }
    let nothing = pb::RegisterAiWorkerRequest { secret: secret.clone(), ..Default::default() }.encode_to_vec();
    let (code, _) = Client::dial(port.address).await.grpc("/net.AIWorker/RegisterAIWorker", &nothing).await;
    assert_eq!(code, 14);
    let huge = Client::dial(port.address).await.grpc("/net.AIWorker/RegisterAIWorker", &vec![0; 1 << 20]).await;
    assert!(huge.0 == 8 && huge.1.contains("bytes at most"), "{huge:?}");
    let mut seated = Client::dial(port.address).await.register_ai(&secret, &[offer(Pipeline::Llm, u32::MAX)]).await;
    assert!(port.pool.ai_models()[0].capacity <= 2, "an unproven one");
    port.pool.goodbye("The pool is restarting; come back.");
    assert_eq!(seated.end().await, (14, "The pool is restarting; come back.".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_passed_on_as_they_come_and_the_end_is_recorded() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    let worked = submit(&port, Pipeline::Llm, LLM, None).await;
    let job = worker.job().await;
    let mut upload = worker.events(&job).await;
    upload.send(&event(&chunk("one", false)));
    let (mut answer, ticket) = stream(worked).await;
    assert_eq!(next(&mut answer).await, Some(Ok(chunk("one", false))));
    // In two pieces, with a comment and what no stock program reads.
    let two = event(&chunk("two", false));
    upload.send(&[b": a comment\n\ndata: nonsense\n\n", &two[..20]].concat());
    upload.send(&two[20..]);
    assert_eq!(next(&mut answer).await, Some(Ok(chunk("two", false))));
    upload.send(&event(&chunk("three", true)));
    upload.send(&event(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#));
    let last = next(&mut answer).await.unwrap().unwrap();
    assert!(last.contains("three") && last.contains(r#""completion_tokens":5"#), "{last}");
    assert_eq!(next(&mut answer).await, None);
    upload.end();
    assert_eq!(upload.answer().await, Some((200, "OK".into())));
    ticket.close(&Upstream::Accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_a_count_does_not_wait_for_the_body() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    let worked = submit(&port, Pipeline::Llm, LLM, None).await;
    let job = worker.job().await;
    let mut upload = worker.events(&job).await;
    upload.send(&event(&chunk("all", true)));
    let (mut answer, _ticket) = stream(worked).await;
    assert_eq!(next(&mut answer).await, Some(Ok(chunk("all", true))));
    assert_eq!(next(&mut answer).await, None, "though the body is open");
    drop(answer);
    assert_eq!(upload.answer().await, Some((200, "OK".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_ends_ends_by_its_deadline() {
    let port = Port::with(|rules| {
        rules.ai.deadlines.insert(Pipeline::Llm, SECOND);
        rules.ai.least_deadline = SECOND;
        // Or nobody is taken to be in time.
        rules.ai.score.default_ratio = 0.1;
    })
    .await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    let worked = submit(&port, Pipeline::Llm, LLM, None).await;
    let job = worker.job().await;
    let mut upload = worker.events(&job).await;
    upload.send(&event(&chunk("one", false)));
    let (mut answer, _ticket) = stream(worked).await;
    assert!(matches!(next(&mut answer).await, Some(Ok(_))));
    assert_eq!(next(&mut answer).await, Some(Err(Failure::Timeout)));
    assert_eq!(upload.answer().await.unwrap().0, 408);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_leaves_ends_the_upload_and_frees_the_slot() {
    let port = Port::with(|_| {}).await;
    let mut worker = Worker::join(&port, "a", Pipeline::Llm).await;
    for _ in 0..3 {
        let worked = submit(&port, Pipeline::Llm, LLM, None).await;
        let job = worker.job().await;
        let mut upload = worker.events(&job).await;
        upload.send(&event(&chunk("one", false)));
        let (answer, ticket) = stream(worked).await;
        drop(answer);
        drop(ticket);
        assert_eq!(upload.answer().await.unwrap().0, 410);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_is_asked_before_the_first_chunk_and_never_after() {
    for begun in [false, true] {
        let port = Port::with(|_| {}).await;
        let mut a = Worker::join(&port, "a", Pipeline::Llm).await;
        let mut b = Worker::join(&port, "b", Pipeline::Llm).await;
        let worked = submit(&port, Pipeline::Llm, LLM, None).await;
        let (first, other, job) = tokio::select! {
            job = a.job() => (&a, &mut b, job),
            job = b.job() => (&b, &mut a, job),
        };
        let mut upload = first.events(&job).await;
        if !begun {
            upload.send(b"data: {\"error\":\"no\"}\n\ndata: [DONE]\n\n");
            upload.end();
            assert_eq!(upload.answer().await.unwrap().0, 400);
            let job = other.job().await;
            assert_eq!(other.post(&job, MIXED, &multipart(&[], SAID)).await.0, 200);
            assert!(matches!(answer(worked).await.0, AiAnswer::Whole(..)));
            continue;
        }
        upload.send(&event(&chunk("one", false)));
        let (mut answer, _ticket) = stream(worked).await;
        assert!(matches!(next(&mut answer).await, Some(Ok(_))));
        upload.reset();
        assert_eq!(next(&mut answer).await, Some(Err(Failure::Disconnected)));
        assert!(timeout(SECOND / 2, other.registration.message()).await.is_err(), "asked again after a chunk went out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stops_or_breaks_off_costs_only_its_worker() {
    for reset in [false, true] {
        let port = Port::with(|_| {}).await;
        let mut a = Worker::join(&port, "a", Pipeline::TextToImage).await;
        let mut b = Worker::join(&port, "b", Pipeline::TextToImage).await;
        let _worked = submit(&port, Pipeline::TextToImage, r#"{"prompt":"p","model_id":"org/model"}"#, None).await;
        let (first, other, job) = tokio::select! {
            job = a.job() => (&a, &mut b, job),
            job = b.job() => (&b, &mut a, job),
        };
        let body = multipart(&[("0011aabb.png", "image/png", b"png")], IMAGES);
        let mut upload = first.client.open(PATH, &first.headers(&job, MIXED)).await;
        upload.send(&body[..body.len() - 30]);
        if reset {
            tokio::time::sleep(SECOND / 10).await;
            upload.reset();
        }
        assert_eq!(upload.answer().await.map(|(status, _)| status), if reset { None } else { Some(408) });
        other.job().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_vanishes_loses_its_job_and_one_told_to_go_does_not() {
    let port = Port::with(|_| {}).await;
    let mut a = Worker::join(&port, "a", Pipeline::Llm).await;
    let worked = submit(&port, Pipeline::Llm, LLM, None).await;
    a.job().await;
    let mut b = Worker::join(&port, "b", Pipeline::Llm).await;
    drop(a);
    let job = b.job().await;
    port.pool.goodbye("The pool is restarting; come back.");
    assert_eq!(b.registration.end().await.0, 14);
    let (done, told) = oneshot::channel();
    let results = Client::dial(port.address).await;
    let headers = b.headers(&job, MIXED);
    port.tasks.spawn("late", async move {
        let _ = done.send(results.post_to(PATH, &headers, &multipart(&[], SAID)).await);
    });
    assert!(matches!(answer(worked).await.0, AiAnswer::Whole(..)));
    assert_eq!(told.await.unwrap().0, 200);
}
