//! A job explained from a journal and a ledger that were really written.
use super::*;
use crate::cli::ledger::tests::{data_folder, mixed_folder};
use crate::domain::decision::Candidate;
use crate::state::store::journal::Keep;

fn explained(job: u128, output: ExplainOutput) -> Result<String> {
    let dir = data_folder();
    let seat = |worker: &str, filter: &str| Candidate {
        worker: worker.into(),
        filter: filter.into(),
        ratio: 0.09,
        time: 0.184,
        effective: 0.186,
        cost: 0.116,
        concurrency: 1.0,
    };
    let attempt = Attempt {
        task: 1,
        worker: "rig1".into(),
        reason: "sticky".into(),
        started_ms_after: 3,
        ended_ms_after: Some(187),
        outcome: "ok".into(),
        candidates: vec![seat("rig1", "passed"), seat("gpu7", "resting")],
        ..Attempt::default()
    };
    let decision = Decision {
        job: JobId(1).to_string(),
        session: "9b2e".into(),
        orchestrator: "main".into(),
        sequence: 31,
        duration_ms: 2_000,
        profiles: "1280x720@30".into(),
        budget_ms: 8_000,
        attempts: vec![attempt],
        answer: Answer::Delivered { after_ms: 190 },
        ..Decision::default()
    };
    let (journal, writer) = Journal::open(&dir.path().join(FILE), Keep { days: 7, jobs: 9 })?;
    journal.record(JobId(1), serde_json::to_string(&decision)?);
    drop(journal);
    writer.run(|| 0);
    let mut out = Vec::new();
    run(&ExplainArgs { job: JobId(job), output }, dir.path(), &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn a_posted_job_shows_candidates_and_wei() {
    let text = explained(1, ExplainOutput::Table).unwrap();
    for wanted in [
        "session 9b2e  seq 31  2.0 s -> 1280x720@30   orchestrator main, budget 8.0 s",
        "x resting",
        "sent after 3 ms, ended after 187 ms: ok",
        "93,715,200 pixels x 1,200 wei = 112,458,240,000 wei   worker 84,343,680,000   pool 28,114,560,000",
        "posted, entries #1 to #3",
        "payable:rig1  -84,343,680,000 wei",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in:\n{text}");
    }
    let json: Value = serde_json::from_str(&explained(1, ExplainOutput::Json).unwrap()).unwrap();
    assert_eq!(json["decision"]["attempts"][0]["candidates"][1]["filter"], "resting");
    assert_eq!(json["ledger"]["entries"][0]["wei"], "112458240000");
    assert_eq!(json["ledger"]["segments"][0]["worker_share"], "84343680000");
}

#[test]
fn a_job_in_doubt_says_so_without_a_journal_record() {
    let text = explained(2, ExplainOutput::Table).unwrap();
    assert!(text.contains("no longer kept") && text.contains("not paid yet: in doubt"), "{text}");
    assert!(text.contains("the proxy stopped before the orchestrator's answer"), "{text}");
}

#[test]
fn an_unknown_job_is_a_clear_error() {
    let told = explained(3, ExplainOutput::Table).unwrap_err().to_string();
    assert!(told.contains("nothing is known of job 00000000000000000000000003"), "{told}");
}

#[test]
fn an_ai_job_shows_its_units_and_wei() {
    let dir = mixed_folder();
    let told = |output| {
        let mut out = Vec::new();
        run(&ExplainArgs { job: JobId(3), output }, dir.path(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = told(ExplainOutput::Table);
    let lines = [
        " result of rig2 in 1,450 ms, first byte after 210 ms   llm org/llm, asked by grpc   tokens made 99 after 12 read",
        " 256 tokens x 7 / 10 wei = 179 wei   worker 134   pool 44   rounding 1   posted, entries #4 to #7",
    ];
    for line in lines {
        assert!(text.lines().any(|told| told == line), "{text}");
    }
    let json: Value = serde_json::from_str(&told(ExplainOutput::Json)).unwrap();
    assert_eq!(json["ledger"]["ai_jobs"][0]["made_tokens"], 99);
    assert_eq!(json["ledger"]["segments"], json!([]));
}
