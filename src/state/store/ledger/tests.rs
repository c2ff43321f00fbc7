//! The ledger on real files: the life of a job, crashes, refusals.
mod ai;
mod props;
mod tamper;
mod upgrade;

use std::path::Path;

use super::*;
use crate::domain::ai::Pipeline;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::{AiDone, AiDoor, Assigned, Resulted, Work, WorkDone};
use crate::domain::money::BasisPoints;

const MAIN: &str = "main";

fn assigned(job: u128, task: i64, worker: &str) -> Step {
    Step::Assigned(Assigned {
        job: JobId(job),
        task: TaskId(task),
        at_ms: 1_000,
        worker: worker.into(),
        address: None,
        orchestrator: MAIN.into(),
        epoch: "e1".into(),
        session: "s1".into(),
        upstream_task: 7,
    })
}

fn resulted(job: u128, task: i64, pixels: u64, price: &str) -> Step {
    Step::Resulted(result(job, task, pixels, price))
}

fn result(job: u128, task: i64, pixels: u64, price: &str) -> Resulted {
    Resulted {
        job: JobId(job),
        task: TaskId(task),
        at_ms: 2_000,
        work: Work::Segment(segment(pixels)),
        price: price.parse().unwrap(),
        commission: BasisPoints::QUARTER,
    }
}

fn segment(pixels: u64) -> WorkDone {
    WorkDone {
        sequence: 3,
        profiles: "640x360@30".into(),
        duration_ms: 2_000,
        response_ms: 500,
        decoded_reported: 10,
        decoded_computed: None,
        encoded_reported: pixels,
        encoded_computed: Some(pixels),
        encoded_credited: pixels,
        bytes_in: 1,
        bytes_out: 2,
    }
}

/// Text to image unless said otherwise.
fn ai_job(units: u64) -> AiDone {
    AiDone {
        pipeline: Pipeline::TextToImage,
        model: "org/model".into(),
        door: AiDoor::Grpc,
        units,
        prompt_tokens: None,
        made_tokens: None,
        streamed: false,
        first_byte_ms: 800,
        response_ms: 900,
        bytes_in: 3,
        bytes_out: 4,
    }
}

fn ai_result(job: u128, task: i64, done: AiDone, price: &str) -> Step {
    Step::Resulted(Resulted { work: Work::Ai(done), ..result(job, task, 0, price) })
}

/// The whole good life of one AI job.
fn ai_life(job: u128, task: i64, worker: &str, units: u64, price: &str) -> Vec<Step> {
    vec![assigned(job, task, worker), ai_result(job, task, ai_job(units), price), posted(job, task)]
}

fn posted(job: u128, task: i64) -> Step {
    Step::Posted { job: JobId(job), task: TaskId(task), at_ms: 3_000 }
}

fn voided(job: u128, task: i64) -> Step {
    Step::Voided { job: JobId(job), task: TaskId(task), at_ms: 3_000, why: "refused".into() }
}

fn in_doubt(job: u128, task: i64) -> Step {
    Step::InDoubt { job: JobId(job), task: TaskId(task), at_ms: 3_000, why: "stream lost".into() }
}

/// The whole good life of one job.
fn life(job: u128, task: i64, worker: &str, pixels: u64, price: &str) -> Vec<Step> {
    vec![assigned(job, task, worker), resulted(job, task, pixels, price), posted(job, task)]
}

/// Opens, writes all steps, waits for each, closes.
fn write(path: &Path, steps: Vec<Step>) -> Vec<Result<(), LedgerDown>> {
    let (ledger, writer) = Ledger::open(path, 9_000).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let waits: Vec<Durable> = steps.into_iter().map(|step| ledger.append(step).unwrap()).collect();
    let told = waits.into_iter().map(|durable| durable.0.blocking_recv().unwrap()).collect();
    drop(ledger);
    thread.join().unwrap();
    told
}

fn good(path: &Path, steps: Vec<Step>) {
    let told = write(path, steps);
    assert!(told.iter().all(Result::is_ok), "{told:?}");
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    (dir, path)
}

/// The steps of a job, in words.
fn steps_of(path: &Path, job: u128) -> Vec<String> {
    let record = Reader::open(path).unwrap().job(&JobId(job).to_string()).unwrap();
    record.steps.iter().map(|s| format!("{} {}", s.task, s.step)).collect()
}

fn sound(path: &Path) -> VerifyReport {
    let report = verify(path).unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert!(report.balanced);
    report
}

#[test]
fn a_posted_job_writes_balanced_entries_once() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "rig1", 101, "7/10");
    steps.extend([posted(1, 1), posted(1, 1)]);
    good(&path, steps);
    good(&path, vec![posted(1, 1)]);
    let record = Reader::open(&path).unwrap().job(&JobId(1).to_string()).unwrap();
    let rows: Vec<_> = record.entries.iter().map(|e| (e.account.as_str(), e.amount.as_str())).collect();
    assert_eq!(rows, [("receivable:main", "70"), ("payable:rig1", "-52"), ("commission", "-17"), ("rounding", "-1")]);
    let report = sound(&path);
    assert_eq!((report.posted, report.entries, report.pending), (1, 4, 0));
    assert_eq!(report.balances["receivable:main"], "70");
}

#[test]
fn only_posting_moves_money() {
    let (_dir, path) = place();
    let mut steps = vec![assigned(1, 1, "a"), voided(1, 1)];
    steps.extend([assigned(1, 2, "b"), resulted(1, 2, 50, "3"), voided(1, 2)]);
    steps.extend([assigned(2, 3, "c"), resulted(2, 3, 50, "3"), in_doubt(2, 3)]);
    steps.extend(life(3, 4, "d", 0, "3"));
    good(&path, steps);
    let report = sound(&path);
    assert_eq!((report.entries, report.posted, report.segments), (0, 1, 3));
    assert_eq!(report.in_doubt[0].worker.as_deref(), Some("c"));
    // A person found out: it was taken after all.
    good(&path, vec![posted(2, 3)]);
    let report = sound(&path);
    assert_eq!((report.in_doubt_total, report.balances["payable:c"].as_str()), (0, "-112"));
}

#[test]
fn steps_that_make_no_sense_are_refused_or_in_doubt_and_hurt_nobody_else() {
    let (_dir, path) = place();
    let mut lying = result(5, 5, 10, "1");
    lying.work = Work::Segment(WorkDone { encoded_credited: 11, ..segment(10) });
    let mut huge = result(6, 6, 10, "1");
    huge.work = Work::Segment(WorkDone { bytes_in: u64::MAX, ..segment(10) });
    let mut steps = vec![resulted(1, 1, 5, "1")];
    steps.extend([assigned(5, 5, "a"), Step::Resulted(lying), assigned(6, 6, "a"), Step::Resulted(huge)]);
    steps.extend(life(2, 2, "a", 100, "1"));
    steps.extend([voided(2, 2), assigned(3, 3, "a"), posted(3, 3), assigned(4, 4, "a"), resulted(4, 4, 9, "1")]);
    steps.extend([voided(4, 4), posted(4, 4)]);
    let told = write(&path, steps);
    let refused: Vec<usize> = (0..told.len()).filter(|i| told[*i].is_err()).collect();
    assert_eq!(refused, [0, 2, 4, 8], "{told:?}");
    assert!(told[0].as_ref().unwrap_err().to_string().contains("never assigned"));
    assert_eq!(steps_of(&path, 3), ["3 assigned", "3 in_doubt"]);
    assert_eq!(steps_of(&path, 4), ["4 assigned", "4 resulted", "4 voided", "4 in_doubt"]);
    let report = verify(&path).unwrap();
    assert_eq!((report.balanced, report.in_doubt_total, report.entries), (true, 2, 3), "{report:?}");
}

#[test]
fn a_job_is_paid_once_over_all_its_attempts() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "1");
    steps.extend(life(1, 2, "b", 100, "1"));
    good(&path, steps);
    assert_eq!(steps_of(&path, 1)[3..], ["2 assigned", "2 resulted", "2 voided"]);
    assert_eq!(sound(&path).balances.get("payable:b"), None);
}

#[test]
fn a_crash_leaves_results_in_doubt_and_assignments_voided() {
    let (dir, path) = place();
    let (ledger, writer) = Ledger::open(&path, 9_000).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let mut steps = vec![assigned(1, 1, "a"), assigned(2, 2, "b"), resulted(2, 2, 5, "1")];
    steps.extend(life(3, 3, "c", 10, "1"));
    for step in steps {
        ledger.append(step).unwrap().0.blocking_recv().unwrap().unwrap();
    }
    // What a killed process leaves: the files as they are, no checkpoint.
    let copy = dir.path().join("after").join("ledger.db");
    std::fs::create_dir(copy.parent().unwrap()).unwrap();
    for ending in ["", "-wal"] {
        let name = |p: &Path| PathBuf::from(format!("{}{ending}", p.display()));
        std::fs::copy(name(&path), name(&copy)).unwrap();
    }
    assert_eq!(verify(&copy).unwrap().pending, 2);
    let (again, _writer) = Ledger::open(&copy, 9_000).unwrap();
    assert_eq!(again.recovery(), Recovery { in_doubt: 1, voided: 1 });
    let report = sound(&copy);
    assert_eq!((report.pending, report.in_doubt_total, report.posted), (0, 1, 1));
    assert_eq!(steps_of(&copy, 1), ["1 assigned", "1 voided"]);
    assert_eq!(steps_of(&copy, 2), ["2 assigned", "2 resulted", "2 in_doubt"]);
    drop(ledger);
    thread.join().unwrap();
}

#[test]
fn a_ledger_that_cannot_be_used_says_why_and_what_to_do() {
    let (dir, path) = place();
    let why = |path: &Path| Ledger::open(path, 0).map(|_| ()).unwrap_err().to_string();
    assert!(why(&dir.path().join("none/ledger.db")).contains("does not exist; make it"));
    assert!(why(dir.path()).contains("is a folder"));
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "no database at all".repeat(100)).unwrap();
    assert!(why(&garbage).contains("not a database"), "{}", why(&garbage));
    let other = dir.path().join("other.db");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(why(&other).contains("not a ledger of this program"), "{}", why(&other));
    let (first, writer) = Ledger::open(&path, 0).unwrap();
    assert!(why(&path).contains("another proxy is running"), "{}", why(&path));
    drop((first, writer));
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("INSERT INTO schema_version VALUES (3, 'ledger')").unwrap();
    assert!(why(&path).contains("schema 3") && why(&path).contains("restore a backup"), "{}", why(&path));
    assert!(verify(&dir.path().join("nowhere.db")).unwrap_err().to_string().contains("no such file"));
}

#[test]
fn a_failed_write_fails_closed() {
    let (_dir, path) = place();
    let (ledger, writer) = Ledger::open(&path, 0).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("DROP TABLE pending").unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let durable = ledger.append(assigned(1, 1, "a")).unwrap();
    let told = durable.0.blocking_recv().unwrap().unwrap_err();
    assert!(told.to_string().contains("cannot be written"), "{told}");
    assert!(ledger.health().is_err());
    assert_eq!(ledger.append(assigned(2, 2, "a")).unwrap_err(), told);
    drop(ledger);
    thread.join().unwrap();
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_acknowledged() {
    let (_dir, path) = place();
    good(&path, life(1, 1, "a", 100, "1"));
    let (ledger, writer) = Ledger::open(&path, 0).unwrap();
    writer.db.execute_batch("PRAGMA max_page_count = 1").unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let waits: Vec<_> = (2..600).filter_map(|n| ledger.append(assigned(n, 1, "a")).ok()).collect();
    let told: Vec<_> = waits.into_iter().map(|durable| durable.0.blocking_recv().unwrap()).collect();
    let kept = told.iter().filter(|told| told.is_ok()).count();
    assert!(told.last().unwrap().as_ref().unwrap_err().to_string().contains("the disk is full; free some space"));
    assert!(ledger.health().is_err());
    drop(ledger);
    thread.join().unwrap();
    assert_eq!(sound(&path).pending, kept as u64);
}

#[test]
fn a_full_queue_is_said_at_once_and_an_ended_writer_too() {
    let (_dir, path) = place();
    let (ledger, writer) = Ledger::open(&path, 0).unwrap();
    let waits: Vec<_> = (0..QUEUE as u128).map(|n| ledger.append(assigned(n, 1, "a")).unwrap()).collect();
    assert!(ledger.append(assigned(0, 2, "a")).unwrap_err().to_string().contains("queue is full"));
    drop(writer);
    assert!(waits.into_iter().next().unwrap().0.blocking_recv().is_err());
    assert!(ledger.append(assigned(0, 2, "a")).unwrap_err().to_string().contains("ended"));
}

#[test]
fn the_tables_refuse_changes() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "1");
    steps.extend(ai_life(2, 2, "a", 100, "1"));
    good(&path, steps);
    let db = rusqlite::Connection::open(&path).unwrap();
    for table in ["steps", "segments", "ai_jobs", "entries"] {
        for change in [format!("UPDATE {table} SET at_ms = 1"), format!("DELETE FROM {table}")] {
            let told = db.execute(&change, []).unwrap_err().to_string();
            assert!(told.contains("append only"), "{change}: {told}");
        }
    }
    let reader = sqlite::open_to_read(&path).unwrap();
    assert!(reader.execute("DELETE FROM pending", []).is_err());
}

#[test]
fn a_report_sums_by_worker_orchestrator_and_day() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "b", 100, "3/2");
    steps.extend(life(2, 2, "a", 7, "1"));
    steps.extend([assigned(3, 3, "b"), resulted(3, 3, 1, "340282366920938463463374607431768211455")]);
    steps.push(Step::Posted { job: JobId(3), task: TaskId(3), at_ms: 86_400_000 });
    steps.extend([assigned(4, 4, "b"), resulted(4, 4, 9, "1"), voided(4, 4)]);
    good(&path, steps);
    let rows = |by, range| report(&path, by, range).unwrap();
    let workers = rows(By::Worker, Range::default());
    assert_eq!(workers.iter().map(|r| (r.key.as_str(), r.segments)).collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
    assert_eq!(workers[1].gross.to_string(), "340282366920938463463374607431768211605");
    assert_eq!((workers[0].pixels_credited, workers[0].mean_real_time_milli()), (7, 4_000));
    let days = rows(By::Day, Range::default());
    assert_eq!(days.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["1970-01-01", "1970-01-02"]);
    let first = rows(By::Orchestrator, Range { from_ms: Some(3_000), before_ms: Some(86_400_000) });
    assert_eq!((first.len(), first[0].segments, first[0].gross.to_string()), (1, 2, "157".into()));
    let all = workers[0].clone().plus(&workers[1]).unwrap();
    assert_eq!((all.segments, all.gross), (3, rows(By::Orchestrator, Range::default())[0].gross));
}
