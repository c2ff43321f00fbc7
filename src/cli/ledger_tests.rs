//! The two commands on a ledger that was really written.
use super::*;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::{Assigned, Resulted, Step, Work, WorkDone};
use crate::domain::money::BasisPoints;
use crate::state::store::ledger::Ledger;

/// A data folder with one posted job (number 1, by rig1) and one cut off by a crash (2, by rig2).
pub(in crate::cli) fn data_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let mut steps = result_of(1, "rig1");
    steps.push(Step::Posted { job: JobId(1), task: TaskId(1), at_ms: 1_763_900_000_000 });
    steps.extend(result_of(2, "rig2"));
    let (ledger, writer) = Ledger::open(&path, 0).unwrap();
    let thread = std::thread::spawn(move || writer.run());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for step in steps {
        runtime.block_on(ledger.append(step).unwrap()).unwrap();
    }
    drop(ledger);
    thread.join().unwrap();
    drop(Ledger::open(&path, 1_763_900_000_500).unwrap());
    dir
}

fn result_of(number: u128, worker: &str) -> Vec<Step> {
    let (job, task) = (JobId(number), TaskId(number as i64));
    let assigned = Assigned {
        job,
        task,
        at_ms: 1_763_899_999_000,
        worker: worker.into(),
        address: None,
        orchestrator: "main".into(),
        epoch: "e".into(),
        session: "9b2e".into(),
        upstream_task: 0,
    };
    let work = WorkDone {
        sequence: 31,
        profiles: "1280x720@30".into(),
        duration_ms: 2_000,
        response_ms: 184,
        decoded_reported: 124_416_000,
        decoded_computed: None,
        encoded_reported: 93_715_200,
        encoded_computed: Some(93_715_200),
        encoded_credited: 93_715_200,
        bytes_in: 1,
        bytes_out: 1,
    };
    let price = "1200".parse().unwrap();
    let resulted = Resulted {
        job,
        task,
        at_ms: 1_763_899_999_900,
        work: Work::Segment(work),
        price,
        commission: BasisPoints::QUARTER,
    };
    vec![Step::Assigned(assigned), Step::Resulted(resulted)]
}

fn report_text(by: By, from: Option<&str>, to: Option<&str>, output: Output) -> Result<String> {
    let dir = data_folder();
    let mut out = Vec::new();
    let args = ReportArgs { by, from: from.map(Into::into), to: to.map(Into::into), output };
    report(&args, dir.path(), &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn a_report_pays_to_the_wei() {
    let csv = report_text(By::Worker, None, None, Output::Csv).unwrap();
    let row = "rig1,1,0,0,93715200,93715200,93715200,10.869,112458240000,28114560000,84343680000,0";
    assert_eq!(csv.lines().nth(1).unwrap(), row);
    let day = report_text(By::Day, Some("2025-11-23"), Some("2025-11-23"), Output::Json).unwrap();
    assert!(day.contains("\"day\": \"2025-11-23\"") && day.contains("\"worker_wei\": \"84343680000\""), "{day}");
    assert_eq!(report_text(By::Day, Some("2025-11-24"), None, Output::Json).unwrap(), "[]\n");
    assert!(report_text(By::Worker, None, None, Output::Table).unwrap().contains("84,343,680,000"));
}

#[test]
fn a_day_that_is_none_is_refused_in_words() {
    let told = report_text(By::Day, Some("yesterday"), None, Output::Table).unwrap_err().to_string();
    assert!(told.contains("2026-11-23"), "{told}");
    let told = report_text(By::Day, Some("2026-01-02"), Some("2026-01-01"), Output::Table).unwrap_err();
    assert!(told.to_string().contains("swap"));
}

#[test]
fn verify_says_whole_or_names_the_fault() {
    let dir = data_folder();
    let run = |output| {
        let mut out = Vec::new();
        let sound = verify(&VerifyArgs { output }, dir.path(), &mut out).unwrap();
        (sound, String::from_utf8(out).unwrap())
    };
    let (sound, text) = run(Output::Table);
    assert!(sound && text.contains("the ledger is whole") && text.contains("1 in doubt"), "{text}");
    change_a_digit(dir.path());
    for output in [Output::Table, Output::Json, Output::Csv] {
        let (sound, text) = run(output);
        assert!(!sound && text.contains("entry 2 was changed"), "{text}");
    }
}

/// Changes one digit of the worker's entry, in the file itself.
fn change_a_digit(data: &Path) {
    let mut bytes = std::fs::read(data.join(FILE)).unwrap();
    let amount = b"payable:rig1-84343680000";
    let at = memchr::memmem::find(&bytes, amount).unwrap();
    bytes[at + amount.len() - 1] = b'1';
    std::fs::write(data.join(FILE), bytes).unwrap();
}

#[test]
fn no_ledger_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let told = verify(&VerifyArgs { output: Output::Table }, dir.path(), &mut Vec::new()).unwrap_err().to_string();
    assert!(told.contains("there is no such file"), "{told}");
}
