//! Kill -9 of a process that writes the ledger, at random instants; what it had acknowledged is
//! then looked for by `ledger_audit.py`, which shares no code with us.
//!
//! `cargo test --test ledger_kill -- --kills 300` for a longer run.
#![allow(clippy::expect_used, reason = "what is not there ends the run, with its name")]
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::domain::ids::{JobId, TaskId};
use openpool_proxy::domain::ledger::{AiDone, AiDoor, Assigned, Resulted, Step, Work, WorkDone};
use openpool_proxy::domain::money::{BasisPoints, Price};
use openpool_proxy::state::store::ledger::Ledger;
use rand::Rng;

const KILLS: usize = 20;
const THREADS: u64 = 8;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, path] = args.as_slice()
        && flag == "--child"
    {
        write_for_ever(Path::new(path));
    }
    let kills = args.iter().position(|arg| arg == "--kills").and_then(|at| args.get(at + 1)?.parse().ok());
    kill_and_audit(kills.unwrap_or(KILLS))
}

// === the parent ===

fn kill_and_audit(kills: usize) -> ExitCode {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (ledger, expect) = (dir.path().join("ledger.db"), dir.path().join("expect.jsonl"));
    let mut lines = std::fs::File::create(&expect).expect("the list of what was acknowledged");
    let mut acknowledged = 0;
    for kill in 0..kills {
        for line in one_life(&ledger) {
            writeln!(lines, "{line}").expect("a line written");
            acknowledged += 1;
        }
        // As it was left, before anybody has repaired it; and again after the next start.
        if !audit(&ledger, &expect) {
            eprintln!("the audit failed after kill {}", kill + 1);
            return ExitCode::FAILURE;
        }
    }
    drop(Ledger::open(&ledger, 1).expect("a last start"));
    let sound = audit(&ledger, &expect);
    println!("{kills} kills, {acknowledged} acknowledgements looked for");
    // A run in which nothing was written proves nothing.
    if sound && acknowledged > kills { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts a writer, kills it after a while, and returns what it had acknowledged.
fn one_life(ledger: &Path) -> Vec<String> {
    let own = std::env::current_exe().expect("the name of this program");
    let mut child = Command::new(own).arg("--child").arg(ledger).stdout(Stdio::piped()).spawn().expect("a child");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let reader = thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
    thread::sleep(Duration::from_millis(rand::rng().random_range(15..150)));
    child.kill().expect("kill -9");
    child.wait().expect("its end");
    let mut told = reader.join().expect("its lines");
    // The last line may have been cut in the middle.
    told.retain(|line| line.ends_with('}'));
    told
}

fn audit(ledger: &Path, expect: &Path) -> bool {
    if !ledger.exists() {
        return true;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/ledger_audit.py");
    let out = Command::new("python3").arg(script).arg(ledger).arg("--expect").arg(expect).output();
    let out = out.expect("python3 is needed for the audit");
    if !out.status.success() {
        println!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    out.status.success()
}

// === the child ===

/// Segments and AI jobs as fast as it goes; a line for each acknowledgement, after it is durable.
fn write_for_ever(path: &Path) -> ! {
    let (ledger, writer) = Ledger::open(path, 1).expect("the ledger opens after any kill");
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            thread::spawn({
                let ledger = ledger.clone();
                move || work(&ledger, n)
            })
        })
        .collect();
    thread::spawn(move || writer.run());
    for thread in threads {
        thread.join().expect("a worker that goes on");
    }
    unreachable!("the workers never end")
}

fn work(ledger: &Ledger, thread: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rng = rand::rng();
    let tell = |line: String| writeln!(std::io::stdout().lock(), "{line}").expect("an open pipe");
    loop {
        let (job, task) = (JobId(rng.random()), TaskId(rng.random_range(1..i64::MAX)));
        let durable =
            |step: Step| runtime.block_on(ledger.append(step).expect("a place in the queue")).expect("durable");
        durable(assigned(job, task, thread));
        durable(resulted(job, task, rng.random(), rng.random_range(0..1 << 30)));
        tell(format!("{{\"job\": \"{job}\", \"task\": {task}}}"));
        match rng.random_range(0..10) {
            0 => durable(Step::Voided { job, task, at_ms: 3, why: "refused".into() }),
            1 => durable(Step::InDoubt { job, task, at_ms: 3, why: "stream lost".into() }),
            _ => {
                durable(Step::Posted { job, task, at_ms: 3 });
                tell(format!("{{\"job\": \"{job}\", \"task\": {task}, \"accepted\": true}}"));
            }
        }
    }
}

fn assigned(job: JobId, task: TaskId, thread: u64) -> Step {
    Step::Assigned(Assigned {
        job,
        task,
        at_ms: 1,
        worker: format!("rig{thread}").as_str().into(),
        address: None,
        orchestrator: "main".into(),
        epoch: "e1".into(),
        session: "s1".into(),
        upstream_task: task.0,
    })
}

fn resulted(job: JobId, task: TaskId, ai: bool, units: u64) -> Step {
    let work = if ai { Work::Ai(ai_job(units)) } else { Work::Segment(segment(units)) };
    Step::Resulted(Resulted {
        job,
        task,
        at_ms: 2,
        work,
        price: Price { wei: 7, units: 10 },
        commission: BasisPoints::QUARTER,
    })
}

fn segment(pixels: u64) -> WorkDone {
    WorkDone {
        sequence: 1,
        profiles: "640x360@30".into(),
        duration_ms: 2_000,
        response_ms: 100,
        decoded_reported: 1,
        decoded_computed: None,
        encoded_reported: pixels,
        encoded_computed: Some(pixels),
        encoded_credited: pixels,
        bytes_in: 1,
        bytes_out: 1,
    }
}

fn ai_job(units: u64) -> AiDone {
    AiDone {
        pipeline: Pipeline::Llm,
        model: "org/model".into(),
        door: AiDoor::RunnerApi,
        units,
        prompt_tokens: None,
        made_tokens: Some(units / 2),
        streamed: true,
        first_byte_ms: 10,
        response_ms: 100,
        bytes_in: 1,
        bytes_out: 1,
    }
}
