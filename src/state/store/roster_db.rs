//! `workers.db`: workers, tokens' hashes; written by commands while `serve` reads.
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::sqlite::{self, StoreFault, Sync};
use crate::domain::ids::{Address, WorkerName};
use crate::state::roster::{Invitation, LIVE_TOKENS, RosterFault, Token};

const WHAT: &str = "roster of workers";

const DDL: &str = "
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, what TEXT NOT NULL) STRICT;
CREATE TABLE workers (
  name TEXT PRIMARY KEY COLLATE NOCASE,
  address TEXT,
  created_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  worker TEXT NOT NULL COLLATE NOCASE REFERENCES workers (name),
  hash BLOB NOT NULL,
  created_ms INTEGER NOT NULL,
  expires_ms INTEGER,
  revoked_ms INTEGER
) STRICT;
CREATE INDEX tokens_of ON tokens (worker);
";

/// Whether another connection wrote since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    Some,
}

/// The reading side.
#[derive(Debug)]
pub struct Table {
    db: Connection,
    path: PathBuf,
    /// `data_version` of the list in force, and of the last look.
    in_force: i64,
    looked: i64,
}

// === impl Table ===

impl Table {
    pub fn open(path: &Path) -> Result<Table, StoreFault> {
        let db = open(path)?;
        let mut table = Table { db, path: path.to_owned(), in_force: 0, looked: 0 };
        table.changed()?;
        table.seen();
        Ok(table)
    }

    pub fn changed(&mut self) -> Result<Change, StoreFault> {
        let version = self.db.query_row("PRAGMA data_version", [], |row| row.get(0));
        self.looked = version.map_err(|e| StoreFault::from_sqlite(&self.path, &e))?;
        Ok(if self.looked == self.in_force { Change::None } else { Change::Some })
    }

    /// What was last looked at is in force.
    pub fn seen(&mut self) {
        self.in_force = self.looked;
    }

    pub fn tokens(&mut self) -> Result<Vec<Token>, StoreFault> {
        let read = "SELECT t.id, t.hash, w.name, w.address, t.expires_ms, t.revoked_ms \
                    FROM tokens t JOIN workers w ON w.name = t.worker";
        let list = |db: &Connection| db.prepare(read)?.query_map([], token)?.collect::<rusqlite::Result<Vec<_>>>();
        list(&self.db).map_err(|e| StoreFault::from_sqlite(&self.path, &e))
    }
}

/// Adds a token, and the worker when the name is new.
pub fn add(path: &Path, wish: &Invitation, id: &str, hash: [u8; 32], now_ms: u64) -> Result<(), RosterFault> {
    let mut db = open(path)?;
    let fault = |e: rusqlite::Error| RosterFault::Store(StoreFault::from_sqlite(path, &e));
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault)?;
    if let Some(why) = refusal(&tx, wish, now_ms).map_err(fault)? {
        return Err(RosterFault::Refused(why));
    }
    let write = || -> rusqlite::Result<()> {
        let address = wish.address.map(|a| a.to_string());
        let worker = "INSERT INTO workers (name, address, created_ms) VALUES (?1, ?2, ?3) \
                      ON CONFLICT (name) DO UPDATE SET address = coalesce(address, excluded.address)";
        tx.execute(worker, (&wish.name, address, millis(now_ms)))?;
        let token = "INSERT INTO tokens (id, worker, hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
        tx.execute(token, (id, &wish.name, hash, millis(now_ms), wish.expires_ms.map(millis)))?;
        Ok(())
    };
    write().map_err(fault)?;
    tx.commit().map_err(fault)
}

pub fn revoke(path: &Path, id: &str, now_ms: u64) -> Result<WorkerName, RosterFault> {
    let db = open(path)?;
    let fault = |e: rusqlite::Error| RosterFault::Store(StoreFault::from_sqlite(path, &e));
    let write = "UPDATE tokens SET revoked_ms = coalesce(revoked_ms, ?2) WHERE id = ?1 RETURNING worker";
    let name = db.query_row(write, (id, millis(now_ms)), |row| row.get::<_, String>(0)).optional().map_err(fault)?;
    match name {
        Some(name) => Ok(name.as_str().into()),
        None => Err(RosterFault::Refused(format!(
            "there is no token opw_{id}; its ids are in what `worker invite` printed"
        ))),
    }
}

/// Why the wish cannot be granted, in words.
fn refusal(tx: &Transaction<'_>, wish: &Invitation, now_ms: u64) -> rusqlite::Result<Option<String>> {
    let read = "SELECT name, address FROM workers WHERE name = ?1";
    let there: Option<(String, Option<String>)> =
        tx.query_row(read, [&wish.name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((name, address)) = there else { return Ok(None) };
    if name != wish.name {
        return Ok(Some(format!(
            "`{}` differs from the worker `{name}` in its capitals only; choose another",
            wish.name
        )));
    }
    let wished = wish.address.map(|a| a.to_string());
    if let (Some(old), Some(new)) = (&address, &wished)
        && old != new
    {
        return Ok(Some(format!(
            "{name} is paid to {old}, not to {new}; leave the address out, or invite another name"
        )));
    }
    let read = "SELECT id FROM tokens WHERE worker = ?1 AND revoked_ms IS NULL \
                AND (expires_ms IS NULL OR expires_ms > ?2) ORDER BY created_ms";
    let live: Vec<String> =
        tx.prepare(read)?.query_map((&name, millis(now_ms)), |row| row.get(0))?.collect::<Result<_, _>>()?;
    if live.len() < LIVE_TOKENS {
        return Ok(None);
    }
    let ids: Vec<String> = live.iter().map(|id| format!("opw_{id}")).collect();
    Ok(Some(format!("{name} has {LIVE_TOKENS} live tokens, which is the most; revoke one of {}", ids.join(", "))))
}

fn open(path: &Path) -> Result<Connection, StoreFault> {
    let mut db = sqlite::open_to_write(path, Sync::Full)?;
    sqlite::settle_schema(&mut db, path, WHAT, &[DDL])?;
    Ok(db)
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    let (id, name): (String, String) = (row.get(0)?, row.get(2)?);
    let address: Option<String> = row.get(3)?;
    let expires: Option<i64> = row.get(4)?;
    let revoked: Option<i64> = row.get(5)?;
    Ok(Token {
        id: id.as_str().into(),
        hash: row.get(1)?,
        name: name.as_str().into(),
        address: address
            .as_deref()
            .map(str::parse::<Address>)
            .transpose()
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, Box::new(e)))?,
        expires_ms: expires.and_then(|ms| u64::try_from(ms).ok()),
        revoked: revoked.is_some(),
    })
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
