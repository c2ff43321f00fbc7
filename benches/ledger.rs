//! How many results a second the ledger makes durable, and what a caller waits for it.
//!
//! `cargo bench --bench ledger` prints, for several paces, results/s and the wait of p50 and p99.
//! A result is three steps (assigned, resulted, posted); the wait is that of `Resulted`, which
//! stands between a worker and its 200. Every commit is an fsync (`synchronous=FULL`).
#![allow(clippy::expect_used, reason = "what is not there ends the run, with its name")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use openpool_proxy::domain::ids::{JobId, TaskId};
use openpool_proxy::domain::ledger::{Assigned, Resulted, Step, Work, WorkDone};
use openpool_proxy::domain::money::{BasisPoints, Price};
use openpool_proxy::state::store::ledger::{Durable, Ledger};

/// Callers that go on only when their last step is durable.
const TASKS: [usize; 5] = [1, 16, 64, 256, 1024];
const SPAN: Duration = Duration::from_secs(4);

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    println!("{:>8} {:>12} {:>10} {:>10} {:>10}", "callers", "results/s", "p50 ms", "p99 ms", "max ms");
    for tasks in TASKS {
        let path = dir.path().join(format!("ledger{tasks}.db"));
        let (rate, mut waits) = run(&path, tasks);
        waits.sort_unstable();
        let at = |part: usize| {
            waits.get((waits.len() * part / 100).min(waits.len() - 1)).map_or(0.0, |w| w.as_secs_f64() * 1e3)
        };
        println!("{tasks:>8} {rate:>12.0} {:>10.2} {:>10.2} {:>10.2}", at(50), at(99), at(100));
    }
}

/// Results a second, and the waits.
fn run(path: &Path, tasks: usize) -> (f64, Vec<Duration>) {
    let (ledger, writer) = Ledger::open(path, 0).expect("a ledger");
    let thread = thread::spawn(move || writer.run());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let serial = Arc::new(AtomicU64::new(1));
    let start = now();
    let callers = (0..tasks).map(|_| caller(ledger.clone(), serial.clone(), start));
    let waits: Vec<Duration> =
        runtime.block_on(futures_util::future::join_all(callers)).into_iter().flatten().collect();
    let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
    drop(ledger);
    thread.join().expect("the writer's end");
    (rate, waits)
}

async fn caller(ledger: Ledger, serial: Arc<AtomicU64>, start: Instant) -> Vec<Duration> {
    let mut waits = Vec::new();
    while start.elapsed() < SPAN {
        let number = serial.fetch_add(1, Ordering::Relaxed);
        let (job, task) = (JobId::new(number, u128::from(number) * 7_919), TaskId(number as i64));
        let add = |step: Step| -> Durable { ledger.append(step).expect("a place in the queue") };
        let assigned = add(assigned(job, task));
        assigned.await.expect("durable");
        let asked = now();
        add(resulted(job, task)).await.expect("durable");
        waits.push(asked.elapsed());
        add(Step::Posted { job, task, at_ms: 3 }).await.expect("durable");
    }
    waits
}

fn assigned(job: JobId, task: TaskId) -> Step {
    Step::Assigned(Assigned {
        job,
        task,
        at_ms: 1,
        worker: "0x52908400098527886E0F7030069857D2E4169EE7.rig1".into(),
        address: Some("0x52908400098527886e0f7030069857d2e4169ee7".parse().expect("an address")),
        orchestrator: "main".into(),
        epoch: "01JD8QZ9".into(),
        session: "9b2e41aa".into(),
        upstream_task: task.0,
    })
}

fn resulted(job: JobId, task: TaskId) -> Step {
    let work = WorkDone {
        sequence: 31,
        profiles: "1280x720@30 854x480@30 640x360@30".into(),
        duration_ms: 2_000,
        response_ms: 184,
        decoded_reported: 124_416_000,
        decoded_computed: Some(124_416_000),
        encoded_reported: 93_715_200,
        encoded_computed: Some(93_715_200),
        encoded_credited: 93_715_200,
        bytes_in: 1_500_000,
        bytes_out: 1_400_000,
    };
    Step::Resulted(Resulted {
        job,
        task,
        at_ms: 2,
        work: Work::Segment(work),
        price: Price { wei: 1_200, units: 1 },
        commission: BasisPoints::QUARTER,
    })
}
