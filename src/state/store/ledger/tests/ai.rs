//! AI jobs beside segments: recorded, paid once, cut off, reported by their own units.
use super::*;

fn llm() -> AiDone {
    AiDone {
        pipeline: Pipeline::Llm,
        model: "org/llm".into(),
        door: AiDoor::RunnerApi,
        prompt_tokens: Some(12),
        made_tokens: Some(99),
        streamed: true,
        ..ai_job(256)
    }
}

#[test]
fn an_ai_job_is_recorded_whole_and_paid_once() {
    let (_dir, path) = place();
    let mut steps = vec![assigned(1, 1, "a"), ai_result(1, 1, llm(), "7/10"), ai_result(1, 1, ai_job(9), "1")];
    steps.extend([posted(1, 1), posted(1, 1)]);
    steps.extend(ai_life(1, 2, "b", 100, "1"));
    good(&path, steps);
    good(&path, vec![posted(1, 1)]);
    let record = Reader::open(&path).unwrap().job(&JobId(1).to_string()).unwrap();
    let rows: Vec<_> = record.entries.iter().map(|e| (e.account.as_str(), e.amount.as_str())).collect();
    // 256 x 7 / 10 = 179.2
    assert_eq!(rows, [("receivable:main", "179"), ("payable:a", "-134"), ("commission", "-44"), ("rounding", "-1")]);
    assert_eq!(steps_of(&path, 1)[3..], ["2 assigned", "2 resulted", "2 voided"]);
    assert_eq!((record.segments.len(), record.ai_jobs.len()), (0, 2));
    let told = record.ai_jobs[0].json();
    let wanted = serde_json::json!({
        "job": "00000000000000000000000001", "task": 1, "at_ms": 2_000, "orchestrator": "main", "epoch": "e1",
        "upstream_task": 7, "session": "s1", "worker": "a", "address": null, "pipeline": "llm", "model": "org/llm",
        "door": "runner-api", "unit": "tokens", "units": 256, "prompt_tokens": 12, "made_tokens": 99, "streamed": 1,
        "first_byte_ms": 800, "response_ms": 900, "bytes_in": 3, "bytes_out": 4, "price_wei": "7",
        "price_units": "10", "commission_bp": 2_500, "gross": "179", "commission": "44", "worker_share": "134",
        "rounding": "1",
    });
    assert_eq!(told, wanted);
    let report = sound(&path);
    assert_eq!((report.segments, report.ai_jobs, report.posted, report.entries), (0, 2, 1, 4));
}

/// One attempt of a job may be a segment's only by a mistake of ours; it is paid once all the same.
#[test]
fn a_job_is_paid_once_whatever_its_attempts_were() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "1");
    steps.extend(ai_life(1, 2, "b", 100, "1"));
    steps.extend(ai_life(2, 3, "b", 100, "1"));
    steps.extend(life(2, 4, "a", 100, "1"));
    good(&path, steps);
    let report = sound(&path);
    assert_eq!((report.posted, report.entries), (2, 6));
    assert_eq!((report.balances["payable:a"].as_str(), report.balances["payable:b"].as_str()), ("-75", "-75"));
}

#[test]
fn an_error_leaves_no_entry_and_a_doubt_waits() {
    let (_dir, path) = place();
    let mut steps = vec![assigned(1, 1, "a"), voided(1, 1)];
    steps.extend([assigned(2, 2, "a"), ai_result(2, 2, llm(), "1"), voided(2, 2)]);
    steps.extend([assigned(3, 3, "a"), ai_result(3, 3, llm(), "1"), in_doubt(3, 3)]);
    // For nothing: the default price, and no units.
    steps.extend(ai_life(4, 4, "a", 100, "0"));
    steps.extend(ai_life(5, 5, "a", 0, "5"));
    // Cut off: the next start settles them.
    steps.extend([assigned(6, 6, "a"), ai_result(6, 6, llm(), "1"), assigned(7, 7, "a")]);
    good(&path, steps);
    let (again, _writer) = Ledger::open(&path, 9_000).unwrap();
    assert_eq!(again.recovery(), Recovery { in_doubt: 1, voided: 1 });
    let report = sound(&path);
    assert_eq!((report.entries, report.posted, report.ai_jobs, report.in_doubt_total), (0, 2, 5, 2));
    assert_eq!(steps_of(&path, 6), ["6 assigned", "6 resulted", "6 in_doubt"]);
}

#[test]
fn figures_that_do_not_fit_are_refused_and_hurt_nobody_else() {
    let (_dir, path) = place();
    let huge = AiDone { units: u64::MAX, ..ai_job(0) };
    let mut free = result(2, 2, 0, "1");
    free.price = crate::domain::money::Price { wei: 1, units: 0 };
    free.work = Work::Ai(ai_job(5));
    let mut steps = vec![assigned(1, 1, "a"), ai_result(1, 1, huge, "1"), assigned(2, 2, "a"), Step::Resulted(free)];
    steps.push(ai_result(3, 3, ai_job(5), "1"));
    steps.extend(ai_life(4, 4, "a", 100, "340282366920938463463374607431768211455"));
    let told = write(&path, steps);
    let refused: Vec<usize> = (0..told.len()).filter(|i| told[*i].is_err()).collect();
    assert_eq!(refused, [1, 3, 4], "{told:?}");
    assert!(told[4].as_ref().unwrap_err().to_string().contains("never assigned"));
    let report = verify(&path).unwrap();
    assert_eq!(
        (report.posted, report.balances["receivable:main"].as_str()),
        (1, "34028236692093846346337460743176821145500")
    );
}

#[test]
fn a_report_counts_ai_jobs_and_sums_each_pipelines_units() {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "3");
    steps.extend(ai_life(2, 2, "a", 7, "2"));
    steps.extend(ai_life(3, 3, "b", i64::MAX as u64, "1"));
    steps.extend([assigned(4, 4, "b"), ai_result(4, 4, llm(), "1"), posted(4, 4)]);
    steps.extend([
        assigned(5, 5, "b"),
        ai_result(5, 5, AiDone { model: "org/other".into(), ..llm() }, "1"),
        posted(5, 5),
    ]);
    steps.extend([assigned(6, 6, "b"), ai_result(6, 6, llm(), "1"), voided(6, 6)]);
    good(&path, steps);
    let rows = |by| report(&path, by, Range::default()).unwrap();
    let told: Vec<_> = rows(By::Pipeline)
        .into_iter()
        .map(|r| (r.key, r.segments, r.ai_jobs, r.unit, r.units, r.gross.to_string()))
        .collect();
    let line = |key: &str, jobs: (u64, u64), unit: &str, units: u64, gross: &str| {
        (key.to_owned(), jobs.0, jobs.1, unit.to_owned(), units, gross.to_owned())
    };
    assert_eq!(
        told,
        [
            line("llm org/llm", (0, 1), "tokens", 256, "256"),
            line("llm org/other", (0, 1), "tokens", 256, "256"),
            line("text-to-image org/model", (0, 2), "pixels", 9_223_372_036_854_775_814, "9223372036854775821"),
            line("transcoding", (1, 0), "pixels", 100, "300"),
        ]
    );
    let workers = rows(By::Worker);
    let told: Vec<_> =
        workers.iter().map(|r| (r.key.as_str(), r.segments, r.ai_jobs, r.pixels_credited, r.units)).collect();
    assert_eq!(told, [("a", 1, 1, 100, 0), ("b", 0, 3, 0, 0)]);
    assert_eq!((workers[0].gross.to_string(), workers[0].mean_real_time_milli()), ("314".into(), 4_000));
    for by in [By::Orchestrator, By::Day] {
        let all = rows(by);
        assert_eq!((all.len(), all[0].segments, all[0].ai_jobs), (1, 1, 4));
        assert_eq!(all[0].gross, workers[0].plus(&workers[1]).unwrap().gross);
    }
    // Units of two kinds have no sum.
    let all = rows(By::Pipeline).into_iter().reduce(|sum, row| sum.plus(&row).unwrap()).unwrap();
    assert_eq!((all.unit.as_str(), all.units, all.segments, all.ai_jobs), ("", 0, 1, 4));
}

#[test]
fn units_that_do_not_fit_a_sum_are_said_and_never_wrapped() {
    let (_dir, path) = place();
    let steps = (1..=3).flat_map(|n| ai_life(n, n as i64, "a", i64::MAX as u64, "1")).collect();
    good(&path, steps);
    let told = report(&path, By::Pipeline, Range::default()).unwrap_err().to_string();
    assert!(told.contains("cannot be added up"), "{told}");
    assert_eq!(report(&path, By::Worker, Range::default()).unwrap()[0].ai_jobs, 3);
}

/// Millions of jobs stay quick to look up: no table is read whole for each row of another.
#[test]
fn every_lookup_is_by_a_key() {
    let (_dir, path) = place();
    good(&path, vec![]);
    let reader = Reader::open(&path).unwrap();
    let one = "SELECT digest FROM works WHERE job = ?1 AND task = ?2";
    let reads = attempts::CHECKS.iter().map(|(_, read)| *read).chain([one, report::READ, start::OPEN]);
    for read in reads {
        let mut plan = reader.db.prepare(&format!("EXPLAIN QUERY PLAN {read}")).unwrap();
        let figures = rusqlite::params_from_iter(vec![1; plan.parameter_count()]);
        let lines: Vec<String> = plan.query_map(figures, |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        // An index made for one statement means that a whole table is read to make it.
        let slow = |line: &String| ["AUTOMATIC", "MATERIALIZE"].iter().any(|word| line.contains(word));
        assert!(!lines.is_empty() && !lines.iter().any(slow), "{read}: {lines:#?}");
        let whole = |line: &&String| ["SCAN segments", "SCAN ai_jobs"].iter().any(|table| line.starts_with(table));
        assert!(read != one || lines.iter().find(whole).is_none(), "{read}: {lines:#?}");
    }
}
