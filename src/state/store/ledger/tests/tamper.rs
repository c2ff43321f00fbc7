//! Somebody at the file: each change is found, and the entry named.
use super::*;

/// Two paid jobs, then `change` behind the ledger's back.
fn tampered(change: &str) -> VerifyReport {
    let (_dir, path) = place();
    let mut steps = life(1, 1, "a", 100, "7/10");
    steps.extend(life(2, 2, "b", 101, "7/10"));
    good(&path, steps);
    sound(&path);
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
    drop(db);
    verify(&path).unwrap()
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
        ("UPDATE segments SET worker_share = '53' WHERE task = 1", "are not what its pixels and price give"),
        ("UPDATE segments SET response_ms = 1 WHERE task = 1", "was changed: its digest does not fit"),
        ("DELETE FROM segments WHERE task = 1", "of which there is no segment"),
        ("DELETE FROM steps WHERE task = 1 AND step = 'posted'", "which was never posted"),
        ("DELETE FROM steps WHERE task = 2 AND step = 'resulted'", "has a segment, but no recorded result"),
        ("INSERT INTO pending VALUES ('x', 1)", ""),
    ];
    for (change, wanted) in cases {
        let report = tampered(change);
        if wanted.is_empty() {
            continue;
        }
        assert!(!report.balanced, "{change}");
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

/// One bit anywhere in the file is found, unless nothing reads it.
#[test]
fn a_flipped_bit_in_an_entry_is_found() {
    let (_dir, path) = place();
    good(&path, life(1, 1, "a", 100, "7/10"));
    let clean = std::fs::read(&path).unwrap();
    let key = b"post/00000000000000000000000001/payable";
    let finder = memchr::memmem::Finder::new(key);
    let places: Vec<usize> = finder.find_iter(&clean).collect();
    assert!(places.len() >= 2, "the row and its index");
    for at in places {
        // Key, job, date, account, amount, facts, prev and hash follow one another.
        for step in 0..key.len() + 60 {
            let mut bytes = clean.clone();
            let Some(byte) = bytes.get_mut(at + step) else { continue };
            *byte ^= 1 << (step % 7);
            std::fs::write(&path, &bytes).unwrap();
            let found = verify(&path).map_or(true, |report| !report.balanced);
            let in_row = step < key.len();
            assert!(found || !in_row, "byte {step} after {at}");
        }
    }
}
