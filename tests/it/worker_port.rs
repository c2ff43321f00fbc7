//! The worker port alone: the real pool behind it, raw HTTP/2 and gRPC bytes before it.
pub mod client;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::capability::{Bits, Capabilities, Need};
use openpool_proxy::domain::ids::{Epoch, OrchestratorName, SessionKey};
use openpool_proxy::domain::work::{Codec, Container, MediaFacts, Profile};
use openpool_proxy::planes::worker::{config::WorkerConfig, serve};
use openpool_proxy::pool::clock::Clock;
use openpool_proxy::pool::{Answer, NewJob, Parts, Pool, Rules, Upstream};
use openpool_proxy::sim::media::{Sample, sample};
use openpool_proxy::state::roster::Roster;
use openpool_proxy::state::store::journal::{Journal, Keep};
use openpool_proxy::state::store::ledger::Ledger;
use openpool_proxy::transport::tls::ServerTls;
use openpool_proxy::transport::{EdgeLimits, Tasks};
use openpool_proxy::wire::media::Probe;
use openpool_proxy::wire::messages::pb;
use prost::Message;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use client::{Client, Notice, Registration, h1};

const SECOND: Duration = Duration::from_secs(1);
const PIXELS: u64 = 426 * 240 * 60;

pub struct Port {
    pub pool: Pool,
    pub address: std::net::SocketAddr,
    pub tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Port {
    async fn new() -> Port {
        Port::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Rules)) -> Port {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let path = |name: &str| folder.path().join(name);
        let (ledger, writer) = Ledger::open(&path("ledger.db"), clock.unix_ms()).unwrap();
        let (journal, journal_writer) = Journal::open(&path("journal.db"), Keep { days: 1, jobs: 1000 }).unwrap();
        std::thread::spawn(move || writer.run());
        std::thread::spawn(move || journal_writer.run(move || clock.unix_ms()));
        let mut rules = Rules::default();
        rules.join.open = true;
        rules.join.login_failures = 1000;
        change(&mut rules);
        let pool = Pool::new(Parts {
            rules,
            clock,
            ledger,
            journal,
            roster: Roster::open(&path("workers.db")).unwrap(),
            shared_secret: None,
            fallback_version: "0.8.8".into(),
            seed: 7,
        });
        let tls = ServerTls::kept_in(folder.path()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = WorkerConfig { listen: address, public_address: None, certificate: None, help_url: None };
        let edge = EdgeLimits { body_gap: Duration::from_millis(400), ..EdgeLimits::default() };
        let tasks = Tasks::new();
        let port = serve(pool.clone(), config, edge, tls, listener, tasks.clone(), Arc::default());
        tasks.spawn("port", port);
        Port { pool, address, tasks, _folder: folder }
    }

    async fn join(&self, name: &str) -> Worker {
        let client = Client::dial(self.address).await;
        let secret = format!("0x{}.{name}", "11".repeat(20));
        let caps = Capabilities { bits: Bits(vec![0x0400_5FFF]), version: "0.8.8".into() };
        let registration = client.register(&secret, 10, Some(&caps)).await;
        Worker { client, registration, secret }
    }

    /// A job with one rendition, being worked.
    fn job(&self, number: i64) -> JoinHandle<Answer> {
        let mut message = pb::NotifySegment {
            url: "https://orchestrator.test/stream/s/0.tempfile".into(),
            task_id: number,
            orch_id: "0xorch".into(),
            ..Default::default()
        }
        .encode_to_vec();
        // A field that nobody knows.
        message.extend([0xFA, 0x3F, 3, b'n', b'e', b'w']);
        let mut ticket = self.pool.submit(new_job(number, message.into())).unwrap();
        let (source, body) = (ticket.source(), sample(0).source);
        let mut probe = Probe::new();
        probe.feed(body);
        source.length(body.len() as u64).unwrap();
        source.push(Bytes::from_static(body)).unwrap();
        source.end(Ok(probe.finish()));
        self.tasks.spawn("job", async move {
            let answer = ticket.work().await;
            ticket.close(&Upstream::Accepted);
            answer
        })
    }
}

struct Worker {
    client: Client,
    registration: Registration,
    secret: String,
}

impl Worker {
    fn headers(&self, notice: &Notice) -> Vec<(&'static str, String)> {
        vec![
            ("authorization", "Livepeer-Transcoder-1.0".into()),
            ("credentials", self.secret.clone()),
            ("taskid", notice.task.to_string()),
            ("pixels", (640 * 360 * 60).to_string()),
            ("content-type", "multipart/mixed; boundary=edge".into()),
        ]
    }
}

pub fn with(
    mut headers: Vec<(&'static str, String)>,
    name: &'static str,
    value: Option<&str>,
) -> Vec<(&'static str, String)> {
    headers.retain(|(n, _)| *n != name);
    headers.extend(value.map(|value| (name, value.to_owned())));
    headers
}

fn new_job(number: i64, message: Bytes) -> NewJob {
    NewJob {
        session: SessionKey { orchestrator: OrchestratorName::from("o"), session: format!("s{number}").into() },
        epoch: Epoch::from("e"),
        upstream_task: number,
        manifest: "m".into(),
        sequence: 0,
        duration: Duration::from_secs(2),
        profiles: vec![Profile {
            name: "p".into(),
            width: 426,
            height: 240,
            fps: 30,
            fps_den: 1,
            codec: Codec::H264,
            container: Container::MpegTs,
        }],
        need: Need::default(),
        wants_hash: false,
        clip: None,
        message,
    }
}

fn rendition() -> &'static [u8] {
    let Sample { renditions, .. } = sample(0);
    renditions[0].2
}

fn body(part: &[u8], pixels: u64) -> Vec<u8> {
    let length = part.len();
    let head = format!("--edge\r\nContent-Length: {length}\r\nContent-Type: video/mp2t\r\nPixels: {pixels}\r\n\r\n");
    [head.as_bytes(), part, b"\r\n--edge--\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_goes_through() {
    let port = Port::new().await;
    let mut worker = port.join("a").await;
    let job = port.job(7);
    let notice = worker.registration.notice().await;
    assert_ne!(notice.task, 7);
    assert_eq!(notice.orch, "0xorch");
    assert!(notice.raw.windows(3).any(|w| w == b"new"), "unknown fields survive");
    let path = notice.url.strip_prefix(&format!("https://{}", port.address)).expect("our own address");
    let (status, source) = h1(port.address, "GET", path, "").await;
    assert!(status == 200 && source == sample(0).source);
    let results = Client::dial(port.address).await;
    let answer = results.post(&worker.headers(&notice), &body(rendition(), PIXELS)).await;
    assert_eq!(answer, (200, "OK".into()));
    let Answer::Result(result, _) = timeout(SECOND, job).await.unwrap().unwrap() else { panic!("no result") };
    assert_eq!((result.parts.len(), result.parts[0].pixels), (1, Some(PIXELS)));
    let MediaFacts::Counted(facts) = &result.parts[0].facts else { panic!("{:?}", result.parts[0].facts) };
    assert_eq!((facts.width, facts.height, facts.frames), (426, 240, 60));
    assert_eq!(h1(port.address, "GET", path, "").await.0, 404);
    assert_eq!(results.post(&worker.headers(&notice), &body(rendition(), PIXELS)).await.0, 200, "again");
    assert_eq!(results.post(&worker.headers(&notice), &body(rendition(), PIXELS - 1)).await.0, 409);
}

/// What a faulty post is answered, and that the job is at another worker at once.
async fn faulty(
    change: impl Fn(Vec<(&'static str, String)>) -> Vec<(&'static str, String)>,
    body: &[u8],
) -> (u16, String) {
    let port = Port::new().await;
    let (mut a, mut b) = (port.join("a").await, port.join("b").await);
    let _job = port.job(1);
    let (first, other, notice) = tokio::select! {
        notice = a.registration.notice() => (&a, &mut b, notice),
        notice = b.registration.notice() => (&b, &mut a, notice),
    };
    let answer = first.client.post(&change(first.headers(&notice)), body).await;
    timeout(2 * SECOND, other.registration.notice()).await.expect("the job did not go elsewhere");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_results_are_answered_and_the_job_goes_elsewhere() {
    let good = body(rendition(), PIXELS);
    let same = |headers| headers;
    let kind = |value: &'static str| move |headers| with(headers, "content-type", Some(value));
    let (status, text) = faulty(same, &body(rendition(), 10 * PIXELS)).await;
    assert!(status == 422 && text.contains("pixels") && text.len() <= 200 && !text.contains('%'), "{text}");
    assert_eq!(faulty(|h| with(h, "pixels", None), &good).await, (400, "Invalid Pixels".into()));
    assert_eq!(faulty(|h| with(h, "content-type", None), &good).await.0, 415);
    assert_eq!(faulty(kind("text/html"), b"<html>").await.0, 415);
    assert_eq!(faulty(kind("multipart/mixed"), &good).await.0, 415);
    let (status, text) = faulty(same, &good[..good.len() - 40]).await;
    assert!(status == 400 && text.starts_with("part 1"), "{status} {text}");
    assert_eq!(faulty(same, b"<html>").await.0, 400);
    assert_eq!(faulty(same, b"").await.0, 400);
    let html = String::from_utf8_lossy(&body(b"<html>", PIXELS)).replace("video/mp2t", "text/html");
    let (status, text) = faulty(same, html.as_bytes()).await;
    assert!(status == 415 && text.starts_with("part 1"), "{status} {text}");
    let none = faulty(same, b"\r\n--edge--\r\n").await;
    assert_eq!(none.0, 422, "{none:?}");
    assert_eq!(faulty(same, &body(sample(0).source, PIXELS)).await.0, 422, "the source echoed");
    assert_eq!(faulty(kind("livepeer/transcoding-error"), b"OutOfMemory").await, (200, "OK".into()));
    assert_eq!(faulty(kind("livepeer/transcoding-error"), &[b'x'; 70_000]).await.0, 413);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_strange_tasks_touch_no_job() {
    let port = Port::new().await;
    let (mut a, mut b) = (port.join("a").await, port.join("b").await);
    let job = port.job(1);
    let (holder, other, notice) = tokio::select! {
        notice = a.registration.notice() => (&a, &b, notice),
        notice = b.registration.notice() => (&b, &a, notice),
    };
    let good = body(rendition(), PIXELS);
    let headers = holder.headers(&notice);
    let table = [
        ("authorization", None, 401),
        ("authorization", Some("Bearer x"), 401),
        ("credentials", None, 401),
        ("credentials", Some("wrong"), 401),
        ("credentials", Some(other.secret.as_str()), 403),
        ("taskid", None, 400),
        ("taskid", Some("abc"), 400),
        ("taskid", Some("-5"), 404),
        ("taskid", Some("9223372036854775808"), 404),
        ("taskid", Some("12345"), 404),
    ];
    for (name, value, status) in table {
        let client = Client::dial(port.address).await;
        let answer = client.post(&with(headers.clone(), name, value), &good).await;
        assert_eq!(answer.0, status, "{name}: {value:?}: {answer:?}");
    }
    assert_eq!(holder.client.post(&headers, &good).await, (200, "OK".into()));
    assert!(matches!(timeout(SECOND, job).await.unwrap().unwrap(), Answer::Result(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stops_or_breaks_off_costs_only_its_worker() {
    for reset in [false, true] {
        let port = Port::new().await;
        let (mut a, mut b) = (port.join("a").await, port.join("b").await);
        let _job = port.job(1);
        let (first, other, notice) = tokio::select! {
            notice = a.registration.notice() => (&a, &mut b, notice),
            notice = b.registration.notice() => (&b, &mut a, notice),
        };
        let all = body(rendition(), PIXELS);
        let part = &all[..all.len() * 99 / 100];
        let status = first.client.post_part(&first.headers(&notice), part, reset).await;
        assert_eq!(status, if reset { None } else { Some(408) });
        timeout(2 * SECOND, other.registration.notice()).await.expect("the job did not go elsewhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registrations_end_by_trailers_with_the_right_words() {
    let port = Port::new().await;
    let refused = |secret: String, capacity: i64, caps: Option<Capabilities>| async move {
        let client = Client::dial(port.address).await;
        let mut registration = client.register(&secret, capacity, caps.as_ref()).await;
        assert!(!registration.trailers_only, "headers come first");
        registration.end().await
    };
    let secret = format!("0x{}.a", "22".repeat(20));
    assert_eq!(refused("wrong".into(), 10, None).await, (2, "invalid secret".into()));
    assert_eq!(refused(secret.clone(), 0, None).await, (2, "zero capacity".into()));
    let many = Capabilities { bits: Bits(vec![1; 64]), version: String::new() };
    assert_eq!(refused(secret.clone(), 1, Some(many)).await.0, 8);
    let (code, text) = refused("0x123".into(), 1, None).await;
    assert!(code == 14 && text.contains("0xADDRESS"), "{code} {text}");
    let huge = Client::dial(port.address).await.grpc("/net.Transcoder/RegisterTranscoder", &[0; 1 << 20]).await;
    assert!(huge.0 == 8 && huge.1.contains("bytes at most"), "{huge:?}");
    let seated: Vec<_> = futures_util::future::join_all((0..8).map(|_| port.join("many"))).await;
    let (code, text) = refused(seated[0].secret.clone(), 1, None).await;
    assert!(code == 14 && text.contains("registrations_per_worker"), "{code} {text}");
    let unknown = Client::dial(port.address).await.grpc("/net.Orchestrator/GetOrchestrator", &[]).await;
    assert_eq!(unknown.0, 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodbye_is_unavailable_and_restart_is_no_cancel() {
    let port = Port::new().await;
    let (mut a, _b) = (port.join("a").await, port.join("b").await);
    port.pool.goodbye("The pool is restarting; come back.");
    assert_eq!(a.registration.end().await, (14, "The pool is restarting; come back.".into()));
    let mut c = port.join("c").await;
    assert!(!port.tasks.close(Duration::from_millis(100)).await);
    assert_ne!(c.registration.end().await.0, 1, "canceled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_may_only_download() {
    let port = Port::new().await;
    let table = [
        ("POST", "/transcodeResults", "Content-Length: 2\r\n", 400),
        ("GET", "/segment/x", "Content-Length: 5\r\n", 400),
        ("GET", "/segment/x", "Transfer-Encoding: chunked\r\n", 400),
        ("GET", "/segment/x", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400),
        ("GET", "/segment/x", "Transfer-Encoding: nonsense\r\n", 400),
        ("GET", "/segment/x", "Connection: upgrade\r\nUpgrade: h2c\r\n", 400),
        ("CONNECT", "host:80", "", 405),
        ("GET", "/segment/x", "", 404),
        ("GET", "/segment/../workers.db", "", 404),
        ("GET", "/segment/%00", "", 404),
        ("GET", "/", "", 404),
        ("HEAD", "/segment/x", "", 404),
    ];
    let all_alike = h1(port.address, "GET", "/segment/y", "").await.1;
    for (method, path, headers, status) in table {
        let (got, text) = h1(port.address, method, path, headers).await;
        assert_eq!(got, status, "{method} {path} {headers}");
        assert!(status != 404 || method == "HEAD" || text == all_alike, "{path}");
    }
}
