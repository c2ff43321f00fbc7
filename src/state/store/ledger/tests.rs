//! The ledger on real files: life of a job, crashes, tampering.
use super::*;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::{Assigned, Resulted, WorkDone};
use crate::domain::money::{BasisPoints, Price};

pub(super) fn assigned(job: u128, task: i64, worker: &str) -> Step {
    Step::Assigned(Assigned {
        job: JobId(job),
        task: TaskId(task),
        at_ms: 1_000,
        worker: worker.into(),
        address: None,
        orchestrator: "main".into(),
        epoch: "e1".into(),
        session: "s1".into(),
        upstream_task: 7,
    })
}

pub(super) fn resulted(job: u128, task: i64, pixels: u64, price: &str) -> Step {
    Step::Resulted(Resulted {
        job: JobId(job),
        task: TaskId(task),
        at_ms: 2_000,
        work: WorkDone {
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
        },
        price: price.parse().unwrap(),
        commission: BasisPoints::QUARTER,
    })
}

pub(super) fn posted(job: u128, task: i64) -> Step {
    Step::Posted { job: JobId(job), task: TaskId(task), at_ms: 3_000 }
}

/// Opens, writes all steps, waits for each, closes.
pub(super) fn write(path: &Path, steps: Vec<Step>) -> Vec<Result<(), LedgerDown>> {
    let (ledger, writer) = Ledger::open(path, 9_000).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let waits: Vec<Durable> = steps.into_iter().map(|step| ledger.append(step).unwrap()).collect();
    let told = waits.into_iter().map(|durable| durable.0.blocking_recv().unwrap()).collect();
    drop(ledger);
    thread.join().unwrap();
    told
}

fn one(db: &rusqlite::Connection, sql: &str) -> String {
    db.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0).map(|v| format!("{v:?}"))).unwrap()
}

#[test]
fn a_posted_job_writes_balanced_entries_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let told = write(&path, vec![assigned(1, 1, "rig1"), resulted(1, 1, 101, "7/10"), posted(1, 1), posted(1, 1)]);
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    let db = sqlite::open_to_read(&path).unwrap();
    let rows: Vec<(String, String)> = db
        .prepare("SELECT account, amount FROM entries ORDER BY seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [("receivable:main", "70"), ("payable:rig1", "-52"), ("commission", "-17"), ("rounding", "-1")];
    assert_eq!(rows, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(one(&db, "SELECT count(*) FROM pending"), "Integer(0)");
    let _ = Price { wei: 1, units: 1 };
}
