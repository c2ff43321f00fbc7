//! AI jobs in the pool, with a real ledger: permits, claims, streams, sessions, roads.
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::ids::TaskId;
use crate::domain::ledger::AiDoor;
use crate::pool::api::{Knock, Order, Refusal, Unclaimable, Upstream, Worker};
use crate::pool::clock::Clock;
use crate::pool::{Parts, Pool, Rules, Seated};
use crate::state::roster::Roster;
use crate::state::store::journal::{Journal, Keep};
use crate::state::store::ledger::{Ledger, VerifyReport, verify};

struct Bench {
    pool: Pool,
    folder: tempfile::TempDir,
    writer: std::thread::JoinHandle<()>,
}

/// A worker on its seat.
struct Rig {
    worker: Worker,
    seat: Seated,
}

// === impl Bench ===

impl Bench {
    fn new(change: impl FnOnce(&mut Rules)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let clock = Clock::start();
        let (ledger, writer) = Ledger::open(&path("ledger.db"), clock.unix_ms()).unwrap();
        let (journal, journal_writer) = Journal::open(&path("journal.db"), Keep { days: 1, jobs: 1000 }).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        std::thread::spawn(move || journal_writer.run(move || clock.unix_ms()));
        let mut rules = Rules::default();
        rules.join.open = true;
        rules.join.open_capacity = 100;
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
        Bench { pool, folder, writer }
    }

    fn join(&self, name: &str, road: Road, models: Vec<ModelOffer>) -> Result<Rig, Refusal> {
        let secret = format!("0x{}.{name}", "11".repeat(20));
        let worker = self.pool.login(Knock { secret: &secret, named: None, peer: [10, 0, 0, 1].into() })?;
        let (version, hardware, peer) = ("0.8.8".into(), Vec::new(), ([10, 0, 0, 1], 1).into());
        let seat = self.pool.join_ai(&worker, AiJoin { models, version, hardware, peer, road })?;
        Ok(Rig { worker, seat })
    }

    fn llm(&self, name: &str, capacity: u32) -> Rig {
        self.join(name, Road::Worker, vec![offer(Pipeline::Llm, capacity)]).unwrap()
    }

    fn submit(&self, change: impl FnOnce(&mut NewAiJob)) -> AiTicket {
        let mut new = NewAiJob {
            key: key(Pipeline::Llm),
            door: AiDoor::Grpc,
            orchestrator: OrchestratorName::from("o"),
            epoch: Epoch::from("e"),
            upstream_task: 0,
            session: None,
            roads: Roads::ALL,
            stream: true,
            files: false,
            min_version: String::new(),
            wait: Duration::ZERO,
            endless: false,
        };
        change(&mut new);
        let mut ticket = self.pool.submit_ai(new).unwrap();
        ticket.measured(Measure { units: 42, effort: 1.0 });
        ticket
    }

    fn running(&self) -> usize {
        self.pool.inner.ai_table.lock().fleet.seats.iter().map(|seat| seat.running.len()).sum()
    }

    /// Closes the pool, waits for the writer, and verifies the file.
    fn books(self) -> VerifyReport {
        let path = self.folder.path().join("ledger.db");
        drop(self.pool);
        self.writer.join().unwrap();
        let books = verify(&path).unwrap();
        assert!(books.balanced && books.pending == 0, "{books:?}");
        books
    }
}

impl Rig {
    async fn task(&mut self) -> TaskId {
        match tokio::time::timeout(Duration::from_secs(3), self.seat.next()).await {
            Ok(Some(Order::Ai { task, .. })) => task,
            other => panic!("no job came: {other:?}"),
        }
    }

    fn claim(&self, bench: &Bench, task: TaskId) -> Result<AiClaim, Unclaimable> {
        bench.pool.ai_claim(&self.worker, task)
    }
}

fn key(pipeline: Pipeline) -> ModelKey {
    ModelKey::new(pipeline, "m")
}

fn offer(pipeline: Pipeline, capacity: u32) -> ModelOffer {
    ModelOffer { key: key(pipeline), capacity, warm: true, version: String::new() }
}

fn request() -> Arc<AiRequest> {
    Arc::new(AiRequest { key: key(Pipeline::Llm), json: Bytes::from_static(b"{}"), file: None, stream: true })
}

fn said() -> AiResult {
    AiResult { json: Bytes::from_static(b"{}"), files: Vec::new(), usage: Some(Usage { prompt: 1, made: 2 }) }
}

fn chunk(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The job and its worker, side by side.
async fn both<A, B>(job: impl Future<Output = A>, worker: impl Future<Output = B>) -> (A, B) {
    let both = async { tokio::join!(job, worker) };
    tokio::time::timeout(Duration::from_secs(5), both).await.expect("neither came to an end")
}

#[tokio::test]
async fn a_whole_answer_is_recorded_and_paid_once() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let (answer, verdict) = both(ticket.work(request()), async {
        let task = rig.task().await;
        let claim = rig.claim(&bench, task).unwrap();
        assert_eq!(rig.claim(&bench, task).err(), Some(Unclaimable::Busy));
        (claim.whole(said()).await, task)
    })
    .await;
    assert_eq!(verdict.0, AiVerdict::Accepted);
    let AiAnswer::Whole(_, recorded) = answer else { panic!("not whole") };
    recorded.wait().await.unwrap();
    assert_eq!(rig.claim(&bench, verdict.1).err(), Some(Unclaimable::Ended));
    ticket.close(&Upstream::Accepted);
    assert_eq!(bench.running(), 0);
    drop(rig);
    let books = bench.books();
    assert_eq!(books.posted, 1);
}

#[tokio::test]
async fn a_stream_ends_when_it_is_recorded() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let (answer, mut feed) = both(ticket.work(request()), async {
        let task = rig.task().await;
        let mut feed = rig.claim(&bench, task).unwrap().stream().unwrap();
        assert!(feed.chunk(chunk("1")).await);
        feed
    })
    .await;
    let AiAnswer::Stream(mut stream) = answer else { panic!("no stream") };
    assert_eq!(stream.next().await, Some(Ok(chunk("1"))));
    assert!(feed.chunk(chunk("2")).await);
    assert_eq!(stream.next().await, Some(Ok(chunk("2"))));
    let (verdict, end) = both(feed.end(None), stream.next()).await;
    assert_eq!((verdict, end), (AiVerdict::Accepted, None));
    ticket.close(&Upstream::Accepted);
    assert_eq!(bench.running(), 0);
    drop((rig, stream));
    assert_eq!(bench.books().posted, 1);
}

#[tokio::test]
async fn a_slow_reader_does_not_hold_up_the_end() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let (answer, mut feed) = both(ticket.work(request()), async {
        let task = rig.task().await;
        let mut feed = rig.claim(&bench, task).unwrap().stream().unwrap();
        assert!(feed.chunk(chunk("first")).await);
        feed
    })
    .await;
    let AiAnswer::Stream(mut stream) = answer else { panic!("no stream") };
    for _ in 0..64 {
        assert!(feed.chunk(chunk("more")).await);
    }
    let full = tokio::time::timeout(Duration::from_millis(50), feed.chunk(chunk("too many"))).await;
    assert!(full.is_err(), "what waits for a reader is bounded");
    let ended = tokio::time::timeout(Duration::from_secs(3), feed.end(None)).await;
    assert_eq!(ended.expect("the end waits for the reader"), AiVerdict::Accepted);
    let mut count = 0;
    while let Some(chunk) = stream.next().await {
        chunk.unwrap();
        count += 1;
    }
    assert_eq!(count, 65);
    ticket.close(&Upstream::Accepted);
}

#[tokio::test]
async fn a_reader_that_leaves_voids_the_job_and_frees_the_slot() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let (answer, mut feed) = both(ticket.work(request()), async {
        let task = rig.task().await;
        let mut feed = rig.claim(&bench, task).unwrap().stream().unwrap();
        assert!(feed.chunk(chunk("1")).await);
        feed
    })
    .await;
    let gone = feed.gone();
    drop(answer);
    assert!(gone.is_cancelled() && !feed.chunk(chunk("2")).await);
    assert_eq!(bench.running(), 1, "the worker is still at it");
    assert_eq!(feed.end(None).await, AiVerdict::Late);
    assert_eq!(bench.running(), 0, "and now it is not");
    drop((ticket, rig));
    assert_eq!(bench.books().posted, 0);
}

#[tokio::test]
async fn a_feed_that_comes_too_late_frees_the_slot() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let job = tokio::time::timeout(Duration::from_millis(100), ticket.work(request()));
    let (_, claim) = both(job, async {
        let task = rig.task().await;
        rig.claim(&bench, task).unwrap()
    })
    .await;
    assert_eq!(bench.running(), 1);
    assert!(claim.gone().is_cancelled() && claim.stream().is_none());
    assert_eq!(bench.running(), 0);
}

#[tokio::test]
async fn an_answer_later_than_the_memory_of_segments_still_frees_the_slot() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let job = tokio::time::timeout(Duration::from_millis(100), ticket.work(request()));
    let (_, task) = both(job, rig.task()).await;
    let after = |minutes: u64| bench.pool.clock().now() + Duration::from_secs(60 * minutes);
    bench.pool.sweep_at(after(10));
    assert_eq!(bench.running(), 1);
    assert_eq!(rig.claim(&bench, task).err(), Some(Unclaimable::Ended));
    assert_eq!(bench.running(), 0);
    bench.pool.sweep_at(after(40));
    assert_eq!(rig.claim(&bench, task).err(), Some(Unclaimable::Unknown));
}

#[tokio::test]
async fn each_try_is_another_worker_until_the_tries_are_over() {
    let bench = Bench::new(|_| {});
    let mut rigs: Vec<Rig> = (0..5).map(|n| bench.llm(&format!("w{n}"), 1)).collect();
    let mut ticket = bench.submit(|_| {});
    let mut asked = 0;
    let (answer, ()) = both(ticket.work(request()), async {
        for _ in 0..3 {
            let (task, index) = {
                let tasks = rigs.iter_mut().map(|rig| Box::pin(rig.task()));
                let (task, index, _) = futures_util::future::select_all(tasks).await;
                (task, index)
            };
            asked += 1 << (8 * index);
            rigs[index].claim(&bench, task).unwrap().broken("cut short");
        }
    })
    .await;
    assert!(matches!(answer, AiAnswer::Error(Failure::BadUpload(_))));
    assert!((0..5).all(|index| (asked >> (8 * index)) & 0xFF <= 1_u64), "one was asked twice: {asked:x}");
    assert_eq!(bench.running(), 0);
}

#[tokio::test]
async fn the_last_try_is_not_given_up() {
    let bench = Bench::new(|rules| {
        rules.retry.attempts = 2;
        rules.ai.least_patience = Duration::from_millis(50);
        rules.ai.patience = 0.0;
    });
    let mut rigs: Vec<Rig> = (0..3).map(|n| bench.llm(&format!("w{n}"), 1)).collect();
    let mut ticket = bench.submit(|_| {});
    let (answer, ()) = both(ticket.work(request()), async {
        let mut held = Vec::new();
        for _ in 0..2 {
            let tasks = rigs.iter_mut().map(|rig| Box::pin(rig.task()));
            let (task, index, _) = futures_util::future::select_all(tasks).await;
            held.push((index, task));
        }
        // Long past the patience, with a third worker free.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (index, task) = held[1];
        rigs[index].claim(&bench, task).unwrap().whole(said()).await;
    })
    .await;
    assert!(matches!(answer, AiAnswer::Whole(..)), "given up for nobody");
}

#[tokio::test]
async fn nobody_there_full_and_not_able_are_told_apart() {
    let bench = Bench::new(|_| {});
    let error = |answer: AiAnswer| match answer {
        AiAnswer::Error(failure) => failure,
        _ => panic!("answered"),
    };
    let nobody = bench.submit(|_| {}).work(request()).await;
    assert!(matches!(error(nobody), Failure::NoWorker(_)));
    let _rig = bench.llm("a", 1);
    let mut holder = bench.submit(|_| {});
    let _held = holder.lease().await.unwrap();
    assert_eq!(error(bench.submit(|_| {}).work(request()).await), Failure::Busy);
    let other = bench.submit(|new| new.key = key(Pipeline::TextToImage)).work(request()).await;
    assert!(matches!(error(other), Failure::NoWorker(_)));
    let newer = bench.submit(|new| new.min_version = "0.9.0".into()).work(request()).await;
    assert!(matches!(error(newer), Failure::NoWorker(_)));
    let runner = bench.submit(|new| new.roads = Roads { worker: false, runner: true }).work(request()).await;
    assert!(matches!(error(runner), Failure::NoWorker(_)));
}

#[tokio::test]
async fn a_job_waits_for_a_slot_as_long_as_it_may() {
    let bench = Bench::new(|_| {});
    let _rig = bench.llm("a", 1);
    let (mut first, mut second) = (bench.submit(|_| {}), bench.submit(|new| new.wait = Duration::from_secs(3)));
    let held = first.lease().await.unwrap();
    let (lease, freed) = both(second.lease(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(bench.running(), 1);
        drop(first.passed(held, Passed::default(), None));
        bench.pool.clock().now()
    })
    .await;
    lease.expect("a slot came free");
    assert!(bench.pool.clock().now().since(freed) < Duration::from_millis(400), "told, not found by looking again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn capacities_are_exact_under_a_crowd() {
    let bench = Arc::new(Bench::new(|_| {}));
    let models = |llm, image| vec![offer(Pipeline::Llm, llm), offer(Pipeline::TextToImage, image)];
    let _rigs =
        [bench.join("a", Road::Worker, models(3, 1)).unwrap(), bench.join("b", Road::Runner, models(2, 4)).unwrap()];
    for pipeline in [Pipeline::Llm, Pipeline::TextToImage] {
        let mut crowd = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let bench = bench.clone();
            crowd.spawn(async move {
                let mut ticket = bench.submit(|new| new.key = key(pipeline));
                let lease = ticket.lease().await;
                (ticket, lease)
            });
        }
        let all: Vec<_> = crowd.join_all().await;
        let held = all.iter().filter(|(_, lease)| lease.is_ok()).count();
        assert_eq!(held, 5, "{pipeline}");
        assert!(all.iter().all(|(_, lease)| !matches!(lease, Err(failure) if *failure != Failure::Busy)));
        assert_eq!(bench.running(), 5);
        drop(all);
        // A worker cannot be told, a runner can: its slots are free at once.
        bench.pool.sweep_at(bench.pool.clock().now() + Duration::from_secs(901));
        assert_eq!(bench.running(), 0);
    }
}

#[tokio::test]
async fn a_session_stays_on_its_runner_however_long_its_jobs_are() {
    // Whatever takes longer than a moment is overdue.
    let bench = Bench::new(|rules| rules.ai.score.default_ratio = 0.001);
    let app = || vec![offer(Pipeline::App, 4)];
    let _rigs = ["a", "b", "c"].map(|name| bench.join(name, Road::Runner, app()).unwrap());
    let ask = |session: &str| {
        bench.submit(|new| {
            new.key = key(Pipeline::App);
            new.session = Some(session.into());
            new.endless = true;
        })
    };
    let mut long = ask("s");
    let first = long.lease().await.unwrap();
    let home = first.conn();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..10 {
        let mut ticket = ask("s");
        let lease = ticket.lease().await.unwrap();
        assert_eq!(lease.conn(), home);
        ticket.passed(lease, Passed::default(), Some(3)).wait().await.unwrap();
        ticket.close(&Upstream::Accepted);
    }
    let mut other = ask("another");
    assert_ne!(other.lease().await.unwrap().conn(), home, "a new one goes where there is less to do");
}

#[tokio::test]
async fn a_pass_through_is_paid_by_the_units_that_it_came_to() {
    let bench = Bench::new(|_| {});
    let rig = bench.join("a", Road::Runner, vec![offer(Pipeline::Byoc, 1)]).unwrap();
    let byoc = || bench.submit(|new| new.key = key(Pipeline::Byoc));
    let mut ticket = byoc();
    let lease = ticket.lease().await.unwrap();
    let task = lease.task();
    assert!(ticket.again(task, &lease.lost(Failure::Disconnected)));
    assert!(matches!(ticket.lease().await, Err(Failure::NoWorker(_))), "the same one again");
    drop(ticket);
    let mut ticket = byoc();
    let lease = ticket.lease().await.unwrap();
    ticket.passed(lease, Passed { bytes_out: 9, scored: true, ..Passed::default() }, Some(17)).wait().await.unwrap();
    ticket.close(&Upstream::Accepted);
    assert_eq!(bench.running(), 0);
    drop(rig);
    assert_eq!(bench.books().posted, 1);
}

#[tokio::test]
async fn offers_sum_what_can_be_used() {
    let bench = Bench::new(|rules| rules.join.most_capacity = 10);
    let none = |models| bench.join("x", Road::Worker, models).err();
    assert!(matches!(none(vec![]), Some(Refusal::TryLater(_))));
    assert!(matches!(none(vec![offer(Pipeline::Llm, 0)]), Some(Refusal::TryLater(_))));
    assert!(matches!(none(vec![offer(Pipeline::LiveVideoToVideo, 1)]), Some(Refusal::TryLater(_))));
    let twice = vec![offer(Pipeline::Llm, 2), offer(Pipeline::Llm, 1), offer(Pipeline::Llm, 0)];
    let _a = bench.join("a", Road::Worker, twice).unwrap();
    let greedy = vec![offer(Pipeline::Llm, u32::MAX), offer(Pipeline::ImageToVideo, 1)];
    let b = bench.join("b", Road::Runner, greedy).unwrap();
    let offered = bench.pool.ai_offer().borrow().models.clone();
    assert_eq!(offered, vec![offer(Pipeline::Llm, 13)], "frames are no film");
    assert_eq!(bench.pool.ai_models().len(), 2);
    drop(b);
    assert_eq!(bench.pool.ai_offer().borrow().models, vec![offer(Pipeline::Llm, 3)]);
}

#[tokio::test]
async fn another_process_at_the_orchestrator_ends_its_jobs() {
    let bench = Bench::new(|_| {});
    let mut rig = bench.llm("a", 1);
    let mut ticket = bench.submit(|_| {});
    let (answer, claim) = both(ticket.work(request()), async {
        let task = rig.task().await;
        bench.pool.epoch(&OrchestratorName::from("o"), &Epoch::from("another"));
        rig.claim(&bench, task)
    })
    .await;
    assert!(matches!(answer, AiAnswer::Gone));
    if let Ok(claim) = claim {
        assert_eq!(claim.whole(said()).await, AiVerdict::Late);
    }
    assert_eq!(bench.running(), 0);
}
