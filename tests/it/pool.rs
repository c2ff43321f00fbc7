//! The pool alone, with a real ledger file: leases, retries, late and repeated answers.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openpool_proxy::domain::capability::{Bits, Capabilities, Need};
use openpool_proxy::domain::ids::{Epoch, OrchestratorName, SessionKey, TaskId};
use openpool_proxy::domain::outcome::Failure;
use openpool_proxy::domain::work::{Codec, Container, Counted, MediaFacts, Profile};
use openpool_proxy::pool::clock::Clock;
use openpool_proxy::pool::{
    Answer, Claim, Join, Knock, NewJob, Order, Parts, Pool, Refusal, ResultPart, Rules, Seated, Ticket,
    TranscodeResult, Unclaimable, Upstream, Verdict, Worker,
};
use openpool_proxy::state::roster::{self, Invitation, Roster};
use openpool_proxy::state::store::journal::{Journal, Keep};
use openpool_proxy::state::store::ledger::{Ledger, verify};

pub struct Bench {
    pub pool: Pool,
    folder: tempfile::TempDir,
    writer: std::thread::JoinHandle<()>,
}

impl Bench {
    pub fn new(change: impl FnOnce(&mut Rules)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start();
        let (ledger, writer) = Ledger::open(&folder.path().join("ledger.db"), clock.unix_ms()).unwrap();
        let (journal, journal_writer) =
            Journal::open(&folder.path().join("journal.db"), Keep { days: 1, jobs: 1000 }).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        std::thread::spawn(move || journal_writer.run(move || clock.unix_ms()));
        let mut rules = Rules::default();
        rules.join.open = true;
        rules.join.open_capacity = 10;
        change(&mut rules);
        let pool = Pool::new(Parts {
            rules,
            clock,
            ledger,
            journal,
            roster: Roster::open(&folder.path().join("workers.db")).unwrap(),
            shared_secret: Some("pool-secret".into()),
            fallback_version: "0.8.8".into(),
            seed: 7,
        });
        Bench { pool, folder, writer }
    }

    pub fn knock(&self, secret: &str) -> Result<Worker, Refusal> {
        self.pool.login(Knock { secret, named: None, peer: "10.0.0.1".parse().unwrap() })
    }

    fn rig(&self, name: &str) -> (Worker, Seated) {
        let worker = self.knock(&format!("0x{}.{name}", "11".repeat(20))).unwrap();
        let seat = self.pool.join(&worker, join(10)).unwrap();
        (worker, seat)
    }

    fn job(&self, session: &str, task: i64) -> Ticket {
        let ticket = self.pool.submit(new_job(session, task)).unwrap();
        let source = ticket.source();
        source.push(Bytes::from_static(b"source")).unwrap();
        source.end(Ok(MediaFacts::Counted(counted(640, 360, 1))));
        ticket
    }

    /// Closes the pool, waits for the writer, and verifies the file.
    pub fn books(self) -> openpool_proxy::state::store::ledger::VerifyReport {
        let path = self.folder.path().join("ledger.db");
        drop(self.pool);
        self.writer.join().unwrap();
        check(&path)
    }
}

fn check(path: &Path) -> openpool_proxy::state::store::ledger::VerifyReport {
    verify(path).unwrap()
}

pub fn join(capacity: i64) -> Join {
    let caps = Capabilities { bits: Bits(vec![0x0400_5FFF]), version: "0.8.8".into() };
    Join { capacity, caps: Some(caps), peer: "10.0.0.1:4000".parse().unwrap() }
}

fn counted(width: u32, height: u32, salt: u64) -> Counted {
    Counted { width, height, frames: 60, duration_ms: 2000, digest: salt }
}

pub fn new_job(session: &str, task: i64) -> NewJob {
    NewJob {
        session: SessionKey { orchestrator: OrchestratorName::from("o"), session: session.into() },
        epoch: Epoch::from("e1"),
        upstream_task: task,
        manifest: "m".into(),
        sequence: task,
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
        message: Bytes::from_static(b"raw"),
    }
}

async fn next_task(seat: &mut Seated) -> (TaskId, Arc<str>) {
    match tokio::time::timeout(Duration::from_secs(5), seat.next()).await.unwrap().unwrap() {
        Order::Segment { task, key, message } => {
            assert_eq!(message, Bytes::from_static(b"raw"));
            (task, key)
        }
        other => panic!("{other:?}"),
    }
}

pub async fn result(claim: &Claim, pixels: u64, salt: u64) -> TranscodeResult {
    let mut spool = claim.spool();
    spool.push(Bytes::from(vec![salt as u8; 1000])).await.unwrap();
    TranscodeResult {
        decoded_pixels: 640 * 360 * 60,
        parts: vec![ResultPart {
            content_type: "video/mp2t".into(),
            pixels: Some(pixels),
            facts: MediaFacts::Counted(counted(426, 240, 100 + salt)),
            body: spool.finish().await.unwrap(),
        }],
    }
}

pub const TRUE_PIXELS: u64 = 426 * 240 * 60;

async fn answer(pool: &Pool, worker: &Worker, task: TaskId, pixels: u64) -> Verdict {
    let claim = pool.claim(worker, task).unwrap();
    let result = result(&claim, pixels, 1).await;
    claim.result(result).await
}

fn works(mut ticket: Ticket) -> tokio::task::JoinHandle<(Ticket, Answer)> {
    tokio::task::spawn_local(async move {
        let answer = ticket.work().await;
        (ticket, answer)
    })
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn a_true_result_is_posted_once() {
    local(async {
        let bench = Bench::new(|_| {});
        let (worker, mut seat) = bench.rig("a");
        let job = works(bench.job("s", 0));
        let (task, key) = next_task(&mut seat).await;
        let mut reader = bench.pool.source(&key).unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"source"));
        assert_eq!(answer(&bench.pool, &worker, task, TRUE_PIXELS).await, Verdict::Accepted);
        let (ticket, got) = job.await.unwrap();
        assert!(matches!(got, Answer::Result(..)));
        assert!(bench.pool.source(&key).is_none(), "the address ends with the lease");
        ticket.close(&Upstream::Accepted);
        drop(got);
        assert_eq!(bench.pool.view().shelf_bytes, 0, "a lease that is remembered holds no bytes");
        assert_eq!(answer(&bench.pool, &worker, task, TRUE_PIXELS).await, Verdict::Repeated);
        assert_eq!(answer(&bench.pool, &worker, task, TRUE_PIXELS - 1).await, Verdict::Conflict);
        drop(seat);
        let books = bench.books();
        assert!(books.balanced, "{books:?}");
        assert_eq!(books.posted, 1);
    })
    .await;
}

#[tokio::test]
async fn a_lying_result_goes_elsewhere_and_is_not_paid() {
    local(async {
        let bench = Bench::new(|_| {});
        let (liar, mut liars) = bench.rig("liar");
        let job = works(bench.job("s", 1));
        let (task, _) = next_task(&mut liars).await;
        let (good, mut goods) = bench.rig("good");
        let verdict = answer(&bench.pool, &liar, task, 3 * TRUE_PIXELS).await;
        assert!(matches!(&verdict, Verdict::Refused(why) if !why.contains('%') && why.len() <= 200), "{verdict:?}");
        let (task, _) = next_task(&mut goods).await;
        assert_eq!(answer(&bench.pool, &good, task, TRUE_PIXELS).await, Verdict::Accepted);
        let (ticket, got) = job.await.unwrap();
        assert!(matches!(got, Answer::Result(..)));
        ticket.close(&Upstream::Accepted);
        // A liar's speed is nothing to go by.
        let view = bench.pool.view();
        let score = |name: &str| view.workers.iter().find(|seat| seat.worker.ends_with(name)).unwrap().score;
        assert!(score("liar").is_none() && score("good").is_some_and(|score| score > 0.0), "{view:?}");
        drop((liars, goods));
        let books = bench.books();
        assert!(books.balanced, "{books:?}");
        assert_eq!(books.posted, 1);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_vanishes_loses_the_job_at_once() {
    local(async {
        let bench = Bench::new(|_| {});
        let (_, mut first) = bench.rig("first");
        let job = works(bench.job("s", 1));
        next_task(&mut first).await;
        let (second, mut seat) = bench.rig("second");
        let before = bench.pool.clock().now();
        drop(first);
        let (task, _) = next_task(&mut seat).await;
        assert!(bench.pool.clock().now().since(before) < Duration::from_millis(100));
        answer(&bench.pool, &second, task, TRUE_PIXELS).await;
        assert!(matches!(job.await.unwrap().1, Answer::Result(..)));
    })
    .await;
}

#[tokio::test]
async fn a_silent_worker_is_left_for_another_and_answers_too_late() {
    local(async {
        let bench = Bench::new(|rules| {
            rules.retry.least_patience = Duration::from_millis(100);
            rules.retry.patience = 0.1;
        });
        let (slow, mut silent) = bench.rig("silent");
        let job = works(bench.job("s", 1));
        let (late_task, _) = next_task(&mut silent).await;
        let (good, mut seat) = bench.rig("good");
        let (task, _) = next_task(&mut seat).await;
        answer(&bench.pool, &good, task, TRUE_PIXELS).await;
        assert!(matches!(job.await.unwrap().1, Answer::Result(..)));
        assert_eq!(bench.pool.claim(&slow, late_task).err(), Some(Unclaimable::Ended));
    })
    .await;
}

#[tokio::test]
async fn short_memory_lets_no_job_in() {
    let bench = Bench::new(|_| {});
    bench.pool.memory(89);
    assert!(bench.pool.submit(new_job("s", 1)).is_ok());
    assert_eq!(bench.pool.memory(90), 89);
    assert!(matches!(bench.pool.submit(new_job("s", 2)), Err(Failure::Pool(why)) if why.contains("memory_limit")));
    assert_eq!(bench.pool.view().memory_percent, 90);
    bench.pool.memory(10);
    assert!(bench.pool.submit(new_job("s", 3)).is_ok());
}

#[tokio::test]
async fn a_pool_without_workers_answers_before_the_budget() {
    local(async {
        let bench = Bench::new(|rules| rules.retry.answer_margin = Duration::from_millis(6500));
        let ticket = bench.job("s", 1);
        let began = tokio::time::Instant::now();
        let (_, got) = works(ticket).await.unwrap();
        assert!(matches!(got, Answer::Error(text) if !text.is_empty() && !text.contains('%')));
        assert!(began.elapsed() <= Duration::from_millis(1500), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test]
async fn another_workers_task_and_unknown_tasks_are_told_apart() {
    local(async {
        let bench = Bench::new(|_| {});
        let (_, mut seat) = bench.rig("a");
        let job = works(bench.job("s", 1));
        let (task, _) = next_task(&mut seat).await;
        let (other, _other_seat) = bench.rig("b");
        assert_eq!(bench.pool.claim(&other, task).err(), Some(Unclaimable::NotYours));
        assert_eq!(bench.pool.claim(&other, TaskId(99)).err(), Some(Unclaimable::Unknown));
        job.abort();
    })
    .await;
}

#[tokio::test]
async fn a_source_that_cannot_be_had_is_nobodys_fault() {
    local(async {
        let bench = Bench::new(|_| {});
        let (_, mut seat) = bench.rig("a");
        let ticket = bench.pool.submit(new_job("s", 1)).unwrap();
        let source = ticket.source();
        let job = works(ticket);
        next_task(&mut seat).await;
        source.end(Err(Failure::Source("404 Not Found".into())));
        assert!(matches!(job.await.unwrap().1, Answer::Error(_)));
        assert_eq!(bench.pool.view().workers[0].failures, 0);
    })
    .await;
}

#[tokio::test]
async fn a_session_stays_and_its_end_reaches_the_worker() {
    local(async {
        let bench = Bench::new(|_| {});
        let (worker, mut seat) = bench.rig("a");
        for task in 0..3 {
            let job = works(bench.job("s", task));
            let (number, _) = next_task(&mut seat).await;
            answer(&bench.pool, &worker, number, TRUE_PIXELS).await;
            job.await.unwrap().0.close(&Upstream::Accepted);
        }
        assert_eq!(bench.pool.view().sessions, 1);
        let key = SessionKey { orchestrator: OrchestratorName::from("o"), session: "s".into() };
        bench.pool.end_session(&key, Some(Bytes::from_static(b"end")));
        let order = seat.next().await.unwrap();
        assert!(matches!(order, Order::EndSession { message: Some(m), .. } if m == Bytes::from_static(b"end")));
        assert_eq!(bench.pool.view().sessions, 0);
    })
    .await;
}

#[tokio::test]
async fn a_new_epoch_drops_what_was_in_flight_for_the_old_one() {
    local(async {
        let bench = Bench::new(|_| {});
        let (_, mut seat) = bench.rig("a");
        let job = works(bench.job("s", 0));
        next_task(&mut seat).await;
        bench.pool.epoch(&OrchestratorName::from("o"), &Epoch::from("e2"));
        assert!(matches!(job.await.unwrap().1, Answer::Gone));
        assert_eq!(bench.pool.view().workers[0].failures, 0, "not the worker's fault");
    })
    .await;
}

#[tokio::test]
async fn the_door_knows_three_modes() {
    let bench = Bench::new(|rules| rules.join.shared = true);
    assert_eq!(bench.knock("wrong").err(), Some(Refusal::InvalidSecret));
    assert_eq!(bench.knock("pool-secret").unwrap().address, None);
    let address = format!("0x{}", "22".repeat(20));
    let worker = bench.knock(&format!("pool-secret:{address}")).unwrap();
    assert_eq!(worker.address, Some(address.parse().unwrap()));
    assert_eq!(bench.knock(&format!("{address}.rig-1")).unwrap().name.to_string(), format!("{address}.rig-1"));
    assert!(matches!(bench.knock("0x12.rig"), Err(Refusal::TryLater(_))));
    assert!(matches!(bench.knock(&format!("{address}.a b")), Err(Refusal::TryLater(_))));
    let closed = Bench::new(|rules| rules.join.open = false);
    assert_eq!(closed.knock(&address).err(), Some(Refusal::InvalidSecret));
}

#[tokio::test]
async fn two_tokens_live_and_a_revoked_or_expired_one_ends_its_connections() {
    let bench = Bench::new(|_| {});
    let (path, now) = (bench.folder.path().join("workers.db"), bench.pool.clock().unix_ms());
    let mut rng = rand::rng();
    let mut token = |name: &str, expires_ms| {
        let invitation = Invitation { name: name.into(), address: None, expires_ms };
        roster::invite(&path, &invitation, now, &mut rng)
    };
    let (old, new) = (token("a", None).unwrap(), token("a", None).unwrap());
    assert!(token("a", None).is_err(), "never a third");
    let short = token("b", Some(now + 300)).unwrap();
    bench.pool.sweep();
    let seats = [&old, &new, &short].map(|token| bench.pool.join(&bench.knock(token).unwrap(), join(2)).unwrap());
    let [mut by_old, mut by_new, mut by_short] = seats;
    roster::revoke(&path, &old, now).unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    bench.pool.sweep();
    assert!(matches!(by_old.next().await, Some(Order::Revoked)));
    assert!(matches!(by_short.next().await, Some(Order::Goodbye(why)) if why.contains("run out")));
    assert!(tokio::time::timeout(Duration::from_millis(50), by_new.next()).await.is_err(), "the other stays");
    assert_eq!(bench.knock(&old).err(), Some(Refusal::InvalidSecret));
    assert!(matches!(bench.knock(&short), Err(Refusal::TryLater(_))), "not for good: a new token may come");
    assert!(bench.knock(&new).is_ok());
}

#[tokio::test]
async fn too_many_failed_logins_lock_the_address_out() {
    let bench = Bench::new(|rules| rules.join.login_failures = 3);
    let refusals: Vec<_> = (0..6).map(|_| bench.knock("wrong").err().unwrap()).collect();
    assert!(refusals[..3].iter().all(|r| *r == Refusal::InvalidSecret), "{refusals:?}");
    assert!(matches!(&refusals[5], Refusal::TryLater(text) if text.contains("try again in")), "{refusals:?}");
}

#[tokio::test]
async fn zero_capacity_is_refused_and_huge_is_clamped() {
    let bench = Bench::new(|rules| rules.join.most_capacity = 20);
    let worker = bench.knock(&format!("0x{}", "11".repeat(20))).unwrap();
    assert_eq!(bench.pool.join(&worker, join(0)).err(), Some(Refusal::ZeroCapacity));
    let _seat = bench.pool.join(&worker, join(i64::MAX)).unwrap();
    assert_eq!(bench.pool.view().workers[0].declared, 20);
}

/// A crowd that waits is served through few seats before its answers are due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiting_jobs_are_served_one_after_another() {
    let bench = Bench::new(|rules| rules.limits.waiting = 1024);
    let mut jobs = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let mut ticket = bench.job(&format!("s{n}"), n);
        let pool = bench.pool.clone();
        jobs.spawn(async move {
            let answer = ticket.work().await;
            pool.end_session(&ticket.job().session.clone(), None);
            matches!(answer, Answer::Result(..))
        });
    }
    for n in 0..60 {
        let (worker, mut seat) = bench.rig(&format!("w{n}"));
        let pool = bench.pool.clone();
        jobs.spawn(async move {
            let quiet = Duration::from_secs(2);
            while let Ok(Some(order)) = tokio::time::timeout(quiet, seat.next()).await {
                let Order::Segment { task, .. } = order else { continue };
                answer(&pool, &worker, task, TRUE_PIXELS).await;
            }
            true
        });
    }
    let served = jobs.join_all().await.into_iter().filter(|good| *good).count();
    assert_eq!(served, 1060);
}
