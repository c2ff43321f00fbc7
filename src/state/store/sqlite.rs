//! Opening SQLite files; every refusal names the file, the cause and a remedy.
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a statement waits for another process's write.
const BUSY: Duration = Duration::from_secs(5);

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {cause}; {remedy}", .file.display())]
pub struct StoreFault {
    pub file: PathBuf,
    pub cause: String,
    pub remedy: String,
}

/// How much a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// On the disk when it returns: survives a power cut.
    Full,
    /// Survives a crash of the process; a power cut may take the last ones.
    Normal,
}

// === impl StoreFault ===

impl StoreFault {
    pub fn new(file: &Path, cause: impl Into<String>, remedy: impl Into<String>) -> StoreFault {
        StoreFault { file: file.to_owned(), cause: cause.into(), remedy: remedy.into() }
    }

    /// A failed statement in words.
    pub fn from_sqlite(file: &Path, error: &rusqlite::Error) -> StoreFault {
        let (cause, remedy) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => ("the disk is full".into(), "free some space and start again"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                ("it cannot be written".into(), "give this user the right to write the file and its folder")
            }
            Some(ErrorCode::CannotOpen) => (
                "it cannot be opened".into(),
                "look at the rights of the file and its folder, and at the open-files limit",
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                ("another program holds it locked".into(), "end that program (an open sqlite3 shell?) and start again")
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                ("its pages are damaged".into(), "keep the file, restore the last backup, and look at the disk")
            }
            Some(ErrorCode::NotADatabase) => {
                ("it is not a database".into(), "move it away, or point `data` at the right folder")
            }
            Some(ErrorCode::SystemIoFailure) => {
                (format!("reading or writing it failed ({error})"), "look at the disk and start again")
            }
            _ => (format!("the database says: {error}"), "look at the file with `ledger verify`, or restore a backup"),
        };
        StoreFault::new(file, cause, remedy)
    }
}

/// Pages of 4 KiB in the WAL before it is copied back. A checkpoint holds commits up, and with
/// them the last byte of results: seldom, then, and 64 MB on disk at the most.
const CHECKPOINT_PAGES: u32 = 16_000;

/// Opens for writing, makes the file when it is missing, sets WAL.
pub fn open_to_write(path: &Path, sync: Sync) -> Result<Connection, StoreFault> {
    look_at_folder(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let db = Connection::open_with_flags(path, flags).map_err(fault)?;
    if db.is_readonly("main").map_err(fault)? {
        let remedy = "give this user the right to write the file and its folder";
        return Err(StoreFault::new(path, "it cannot be written", remedy));
    }
    db.busy_timeout(BUSY).map_err(fault)?;
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(fault)?;
    if mode != "wal" {
        let remedy = "keep the data folder on a local disk; network folders often cannot do it";
        return Err(StoreFault::new(path, format!("the journal stays in mode `{mode}`, `wal` is needed"), remedy));
    }
    let level = if sync == Sync::Full { "FULL" } else { "NORMAL" };
    let pragmas = format!(
        "PRAGMA synchronous = {level}; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    );
    db.execute_batch(&pragmas).map_err(fault)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// Opens for reading only; may be done while `serve` writes.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreFault> {
    look_at_folder(path)?;
    if !path.exists() {
        let remedy = "name the data folder of a proxy that has run, or start it once";
        return Err(StoreFault::new(path, "there is no such file", remedy));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let db = Connection::open_with_flags(path, flags).map_err(fault)?;
    db.busy_timeout(BUSY).map_err(fault)?;
    db.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;").map_err(fault)?;
    Ok(db)
}

/// Makes the schema in an empty file, or gives an older file what it lacks, all or nothing.
/// `versions` holds what each version adds, from 1 on; the first one's text makes the table
/// `schema_version`, which gets a row for each version that a file has been given.
pub fn settle_schema(db: &mut Connection, path: &Path, what: &str, versions: &[&str]) -> Result<(), StoreFault> {
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let newest = i64::try_from(versions.len()).unwrap_or(i64::MAX);
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fault)?;
    let found = if tables > 0 { check_schema(&tx, path, what, newest)? } else { 0 };
    for (version, added) in (1..=newest).zip(versions).filter(|(version, _)| *version > found) {
        tx.execute_batch(added).map_err(fault)?;
        tx.execute("INSERT INTO schema_version (version, what) VALUES (?1, ?2)", (version, what)).map_err(fault)?;
    }
    tx.commit().map_err(fault)
}

/// The version of the schema that a file has. Refuses a file of another kind, and one of a
/// version that this program does not know.
pub fn check_schema(db: &Connection, path: &Path, what: &str, newest: i64) -> Result<i64, StoreFault> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'";
    let fault = |error: rusqlite::Error| StoreFault::from_sqlite(path, &error);
    let known: i64 = db.query_row(known, [], |row| row.get(0)).map_err(fault)?;
    let other =
        || StoreFault::new(path, format!("it is not a {what} of this program"), "point `data` at the right folder");
    if known == 0 {
        return Err(other());
    }
    let read = "SELECT version, what FROM schema_version ORDER BY version DESC LIMIT 1";
    let (found, kind): (i64, String) =
        db.query_row(read, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(|_| other())?;
    if kind != what || found < 1 {
        return Err(other());
    }
    if found > newest {
        let cause = format!("it has schema {found}, and this program knows schemas up to {newest} only");
        return Err(StoreFault::new(path, cause, "run the version of the program that wrote it, or restore a backup"));
    }
    Ok(found)
}

fn look_at_folder(path: &Path) -> Result<(), StoreFault> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let cause = format!("the folder {} does not exist", folder.display());
        return Err(StoreFault::new(path, cause, "make it, or point `data` at one that is there"));
    }
    if path.is_dir() {
        return Err(StoreFault::new(path, "it is a folder, not a file", "point `data` at the folder above it"));
    }
    Ok(())
}
