//! The two commands on a ledger that was really written.
use super::*;
use crate::domain::ai::Pipeline;
use crate::domain::ids::{JobId, TaskId};
use crate::domain::ledger::{AiDone, AiDoor, Assigned, Resulted, Step, Work, WorkDone};
use crate::domain::money::BasisPoints;
use crate::state::store::ledger::Ledger;

/// A data folder with one posted job (number 1, by rig1) and one cut off by a crash (2, by rig2).
pub(in crate::cli) fn data_folder() -> tempfile::TempDir {
    folder_of(segments())
}

/// The same, and an AI job (3, by rig2), which is posted.
pub(in crate::cli) fn mixed_folder() -> tempfile::TempDir {
    let mut steps = segments();
    let lived: [Step; 2] = result_of(3, "rig2").try_into().unwrap();
    let [assigned, Step::Resulted(result)] = lived else { panic!("an assignment and a result") };
    let work = Work::Ai(AiDone {
        pipeline: Pipeline::Llm,
        model: "org/llm".into(),
        door: AiDoor::Grpc,
        units: 256,
        prompt_tokens: Some(12),
        made_tokens: Some(99),
        streamed: true,
        first_byte_ms: 210,
        response_ms: 1_450,
        bytes_in: 1,
        bytes_out: 1,
    });
    let price = "7/10".parse().unwrap();
    steps.extend([assigned, Step::Resulted(Resulted { work, price, ..result }), posted(3)]);
    folder_of(steps)
}

fn segments() -> Vec<Step> {
    let mut steps = result_of(1, "rig1");
    steps.push(posted(1));
    steps.extend(result_of(2, "rig2"));
    steps
}

fn posted(number: u128) -> Step {
    Step::Posted { job: JobId(number), task: TaskId(number as i64), at_ms: 1_763_900_000_000 }
}

fn folder_of(steps: Vec<Step>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
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
    report_of(data_folder(), by, from, to, output)
}

fn report_of(dir: tempfile::TempDir, by: By, from: Option<&str>, to: Option<&str>, output: Output) -> Result<String> {
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
fn ai_jobs_are_reported_by_worker_and_by_pipeline() {
    let told = |by, output| report_of(mixed_folder(), by, None, None, output).unwrap();
    let csv = told(By::Worker, Output::Csv);
    assert!(csv.starts_with("worker,segments,ai_jobs,uncounted,"), "{csv}");
    assert_eq!(csv.lines().nth(2).unwrap(), "rig2,0,1,0,0,0,0,0.0,179,44,134,1");
    let lines = [
        "pipeline,jobs,unit,units,gross_wei,commission_wei,worker_wei,rounding_wei",
        "llm org/llm,1,tokens,256,179,44,134,1",
        "transcoding,1,pixels,93715200,112458240000,28114560000,84343680000,0",
    ];
    assert_eq!(told(By::Pipeline, Output::Csv), lines.join("\n") + "\n");
    let json: serde_json::Value = serde_json::from_str(&told(By::Pipeline, Output::Json)).unwrap();
    assert_eq!((&json[0]["units"], &json[0]["gross_wei"]), (&256.into(), &"179".into()));
    // Tokens and pixels have no sum; wei have.
    let table = told(By::Pipeline, Output::Table);
    let total: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(total[..5], ["total", "2", "-", "-", "112,458,240,179"]);
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
