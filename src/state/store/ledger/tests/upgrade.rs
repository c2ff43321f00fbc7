//! A ledger of schema 1, as its program left it: read as it is, upgraded in place, all or nothing.
use super::*;

/// Written by the program of schema 1; `sqlite3 ledger.db .dump`.
const VERSION_1: &str = include_str!("version1.sql");

fn old() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = place();
    rusqlite::Connection::open(&path).unwrap().execute_batch(VERSION_1).unwrap();
    (dir, path)
}

fn versions(path: &Path) -> Vec<i64> {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut read = db.prepare("SELECT version FROM schema_version ORDER BY version").unwrap();
    read.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// The chain and the facts, to the byte.
fn content(path: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let reads = [
        "SELECT seq || key || at_ms || account || amount || hex(facts) || hex(hash) FROM entries ORDER BY seq",
        "SELECT job || task || worker || gross || hex(digest) FROM segments ORDER BY job, task",
    ];
    let lines = |read: &str| -> Vec<String> {
        db.prepare(read).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    reads.into_iter().flat_map(lines).collect()
}

#[test]
fn an_old_ledger_is_read_without_a_change() {
    let (_dir, path) = old();
    let before = std::fs::read(&path).unwrap();
    let told = sound(&path);
    assert_eq!((told.segments, told.ai_jobs, told.posted, told.pending, told.in_doubt_total), (4, 0, 2, 2, 1));
    assert_eq!(report(&path, By::Worker, Range::default()).unwrap().len(), 2);
    assert_eq!(report(&path, By::Pipeline, Range::default()).unwrap()[0].key, "transcoding");
    let record = Reader::open(&path).unwrap().job(&JobId(1).to_string()).unwrap();
    assert_eq!((record.segments.len(), record.ai_jobs.len(), record.entries.len()), (1, 0, 4));
    assert!(tamper::audited(&path).0);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(versions(&path), [1]);
}

#[test]
fn an_old_ledger_is_upgraded_in_place_and_goes_on() {
    let (_dir, path) = old();
    let before = content(&path);
    assert_eq!(before.len(), 7 + 4);
    let (ledger, writer) = Ledger::open(&path, 9_000).unwrap();
    assert_eq!(ledger.recovery(), Recovery { in_doubt: 1, voided: 1 });
    drop((ledger, writer));
    assert_eq!((versions(&path), content(&path)), (vec![1, 2], before.clone()));
    let mut steps = ai_life(10, 10, "rig1", 100, "7");
    steps.extend(life(11, 11, "rig1", 10, "7"));
    steps.push(posted(3, 4));
    good(&path, steps);
    let told = sound(&path);
    assert_eq!((told.segments, told.ai_jobs, told.posted, told.in_doubt_total), (5, 1, 5, 1));
    assert_eq!(content(&path)[..7], before[..7]);
    assert!(tamper::audited(&path).0);
    assert_eq!(versions(&path), [1, 2]);
}

/// A new file and an upgraded one are the same to the last trigger.
#[test]
fn an_upgraded_ledger_is_made_as_a_new_one() {
    let schema = |path: &Path| -> Vec<(String, String)> {
        let db = rusqlite::Connection::open(path).unwrap();
        let mut read = db.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let ((_one, upgraded), (_two, new)) = (old(), place());
    good(&upgraded, vec![]);
    good(&new, vec![]);
    assert_eq!(schema(&upgraded), schema(&new));
    assert_eq!(versions(&upgraded), versions(&new));
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let (_dir, path) = old();
    // Something of that name is there: the last statement of the upgrade fails.
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE VIEW works AS SELECT 1").unwrap();
    let told = Ledger::open(&path, 0).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("works already exists"), "{told}");
    let db = rusqlite::Connection::open(&path).unwrap();
    let made: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'ai_jobs%'", [], |row| row.get(0)).unwrap();
    assert_eq!((made, versions(&path)), (0, vec![1]));
    db.execute_batch("DROP VIEW works").unwrap();
    drop(db);
    good(&path, vec![]);
    sound(&path);
}

#[test]
fn a_newer_ledger_is_refused_in_words_and_left_alone() {
    let (_dir, path) = old();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("INSERT INTO schema_version VALUES (3, 'ledger')").unwrap();
    drop(db);
    let told = [Ledger::open(&path, 0).map(|_| ()).unwrap_err().to_string(), verify(&path).unwrap_err().to_string()];
    for told in told {
        assert!(told.contains("it has schema 3") && told.contains("up to 2 only"), "{told}");
        assert!(told.contains("run the version of the program that wrote it"), "{told}");
    }
    assert_eq!(versions(&path), [1, 3]);
}
