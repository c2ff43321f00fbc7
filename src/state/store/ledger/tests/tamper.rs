//! Somebody at the file: each change is found, and the entry named.
use std::process::Command;

use super::*;

/// Two paid segments and a paid AI job.
fn three_jobs() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "7/10");
    steps.extend(life(2, 2, "b", 101, "7/10"));
    steps.extend(ai_life(3, 3, "c", 103, "7/10"));
    good(&path, steps);
    sound(&path);
    assert!(audited(&path).0);
    (dir, path)
}

/// A copy of the ledger after `change` behind its back.
fn tampered(clean: &Path, change: &str) -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = place();
    std::fs::copy(clean, &path).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let triggers: Vec<(String, String)> = db
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for (name, _) in &triggers {
        db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    assert_ne!(db.execute(change, []).unwrap(), 0, "{change} changed nothing");
    for (_, sql) in &triggers {
        db.execute_batch(sql).unwrap();
    }
    (dir, path)
}

/// Whether the audit in Python, which shares no code with us, is content.
pub(super) fn audited(path: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledger_audit.py");
    let out = Command::new("python3").arg(script).arg(path).output().expect("python3 is needed for the audit");
    assert_ne!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
    (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn every_change_is_found_and_named() {
    let cases = [
        ("UPDATE entries SET amount = '71' WHERE seq = 1", "entry 1 was changed"),
        ("UPDATE entries SET account = 'payable:b' WHERE seq = 2", "entry 2 was changed"),
        ("UPDATE entries SET at_ms = at_ms + 1 WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE entries SET key = key || 'x' WHERE seq = 3", "entry 3 was changed"),
        ("UPDATE entries SET hash = zeroblob(32) WHERE seq = 4", "entry 4 was changed"),
        ("UPDATE entries SET prev = zeroblob(32) WHERE seq = 4", "entry 4 does not follow"),
        ("UPDATE entries SET facts = zeroblob(32) WHERE seq = 4", "entry 4 was changed"),
        ("DELETE FROM entries WHERE seq = 2", "entries 2 to 2 are missing"),
        ("DELETE FROM entries WHERE seq = 1", "entries 1 to 1 are missing"),
        ("DELETE FROM entries WHERE seq >= 4", "is posted, but has no entries"),
        ("UPDATE segments SET encoded_credited = 99 WHERE task = 1", "was changed: its digest does not fit"),
        ("UPDATE segments SET worker = 'b' WHERE task = 1", "entries of job 00000000000000000000000001 (from 1 on)"),
        ("UPDATE segments SET worker_share = '53' WHERE task = 1", "are not what its units and price give"),
        ("UPDATE segments SET response_ms = 1 WHERE task = 1", "was changed: its digest does not fit"),
        ("DELETE FROM segments WHERE task = 1", "of which there is no result"),
        ("UPDATE ai_jobs SET units = 102", "the AI job of job 00000000000000000000000003, task 3 was changed"),
        ("UPDATE ai_jobs SET units = -1", "what it is paid by is no count"),
        ("UPDATE ai_jobs SET gross = '73'", "are not what its units and price give"),
        ("UPDATE ai_jobs SET price_wei = '8'", "are not what its units and price give"),
        ("UPDATE ai_jobs SET worker = 'b'", "entries of job 00000000000000000000000003 (from 9 on)"),
        ("UPDATE ai_jobs SET model = 'org/other'", "was changed: its digest does not fit"),
        ("UPDATE ai_jobs SET made_tokens = 5", "was changed: its digest does not fit"),
        ("UPDATE ai_jobs SET pipeline = 'llm'", "`llm` is not paid by `pixels`"),
        ("DELETE FROM ai_jobs", "is posted without a segment or an AI job"),
        ("DELETE FROM steps WHERE task = 3 AND step = 'resulted'", "has an AI job, but no recorded result"),
        (
            "INSERT INTO segments SELECT job, task, at_ms, orchestrator, epoch, upstream_task, session, 1, worker, \
             address, '', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, '1', '1', 0, '1', '0', '1', '0', digest FROM ai_jobs",
            "is a segment and an AI job",
        ),
        ("DELETE FROM steps WHERE task = 1 AND step = 'posted'", "which was never posted"),
        ("DELETE FROM steps WHERE task = 2 AND step = 'resulted'", "has a segment, but no recorded result"),
    ];
    let (_dir, clean) = three_jobs();
    for (change, wanted) in cases {
        let (_dir, path) = tampered(&clean, change);
        let report = verify(&path).unwrap();
        assert!(!report.balanced, "{change}");
        assert!(report.faults.iter().any(|fault| fault.contains(wanted)), "{change}: {:?}", report.faults);
        let (content, text) = audited(&path);
        assert!(!content && text.contains("FAULT"), "{change}: {text}");
    }
    let (_dir, path) = tampered(&clean, "INSERT INTO pending VALUES ('nothing that matters', 1)");
    assert!(verify(&path).unwrap().balanced && audited(&path).0);
}

/// The shape of the file is looked at, not only its rows.
#[test]
fn a_changed_trigger_or_view_is_found() {
    let cases = [
        ("DROP TRIGGER ai_jobs_delete", "the trigger that refuses delete on ai_jobs is gone"),
        (
            "DROP TRIGGER segments_update; CREATE TRIGGER segments_update BEFORE UPDATE ON segments BEGIN SELECT 1; END",
            "the trigger that refuses update on segments is gone or not as it was made",
        ),
        (
            "DROP VIEW works; CREATE VIEW works AS SELECT * FROM (SELECT job, task, orchestrator, worker, 'x' AS \
             pipeline, '' AS model, '' AS unit, 1 AS units, encoded_reported, encoded_computed, real_time_milli, gross, \
             commission, worker_share, rounding, digest FROM segments)",
            "the view works is gone or not as it was made",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON entries BEGIN SELECT 1; END",
            "the trigger t on entries is not of this program",
        ),
        ("DROP INDEX posted_once", "the index posted_once is gone"),
    ];
    for (change, wanted) in cases {
        let (_dir, path) = three_jobs();
        rusqlite::Connection::open(&path).unwrap().execute_batch(change).unwrap();
        let report = verify(&path).unwrap();
        assert!(report.faults.iter().any(|fault| fault.contains(wanted)), "{change}: {:?}", report.faults);
    }
}

#[test]
fn start_up_refuses_a_broken_tail() {
    let (_dir, path) = place();
    good(&path, life(1, 1, "a", 100, "7/10"));
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("DROP TRIGGER entries_update; UPDATE entries SET amount = '-18' WHERE seq = 3").unwrap();
    let told = Ledger::open(&path, 0).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("broken at entry 3") && told.contains("restore"), "{told}");
    assert!(verify(&path).unwrap().faults.iter().any(|f| f.contains("refuses update on entries is gone")));
}

/// One bit in any byte of an entry, and of its index.
#[test]
fn a_flipped_bit_in_an_entry_is_found() {
    let (_dir, path) = place();
    good(&path, life(1, 1, "a", 100, "7/10"));
    let clean = std::fs::read(&path).unwrap();
    let job = JobId(1).to_string();
    let key = format!("post/{job}/payable");
    let places: Vec<usize> = memchr::memmem::find_iter(&clean, &key).collect();
    assert_eq!(places.len(), 2, "the row and its index");
    for at in places {
        // In the row, job, date (2), account, amount, facts, prev and hash (32 each) follow.
        let is_row = clean[at + key.len()..].starts_with(job.as_bytes());
        let rest = if is_row { job.len() + 2 + "payable:a-52".len() + 3 * 32 } else { 0 };
        for step in 0..key.len() + rest {
            let mut bytes = clean.clone();
            bytes[at + step] ^= 1 << (step % 8);
            std::fs::write(&path, &bytes).unwrap();
            let found = verify(&path).map_or(true, |report| !report.balanced);
            assert!(found, "byte {step} after {at}");
        }
    }
    std::fs::write(&path, &clean).unwrap();
    sound(&path);
}
