//! Who may work here: invited workers and their tokens, in memory, re-read when the file changes.
//!
//! A token is `opw_<id>_<secret>_<check>`: a public id of 10 characters, a secret of 52 (260
//! bits), and 6 that tell a typing error from a wrong token. Only SHA-256 of the whole is kept.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rand::{CryptoRng, Rng};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::ids::{Address, WorkerName};
use crate::state::store::roster_db::{self, Change, Table};
use crate::state::store::sqlite::StoreFault;

/// Digits and small letters without i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const PREFIX: &str = "opw";
const ID: usize = 10;
const SECRET: usize = 52;
const CHECK: usize = 6;
/// Live tokens a worker: the one in use and its successor.
pub const LIVE_TOKENS: usize = 2;
const LONGEST_NAME: usize = 64;

/// An invited worker, found by its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRecord {
    pub name: WorkerName,
    /// Where it is paid; nothing that a worker sends changes it.
    pub address: Option<Address>,
    pub token_id: Arc<str>,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("this is not a join token of this pool; copy it again, it starts with opw_")]
    Malformed,
    #[error("this join token has a typing error; copy it again as a whole")]
    BadChecksum,
    #[error("this join token is unknown to this pool; ask the pool for a new one")]
    Unknown,
    #[error("this join token is wrong; copy it again as a whole")]
    Wrong,
    #[error("this join token was revoked; ask the pool for a new one")]
    Revoked,
    #[error("this join token ran out; ask the pool for a new one")]
    Expired,
}

/// A worker to invite. `expires_ms`: Unix milliseconds, none for ever.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub name: String,
    pub address: Option<Address>,
    pub expires_ms: Option<u64>,
}

/// Why an invitation or a revocation was refused.
#[derive(Debug, thiserror::Error)]
pub enum RosterFault {
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error("{0}")]
    Refused(String),
}

/// One token as it is kept.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: Arc<str>,
    pub hash: [u8; 32],
    pub name: WorkerName,
    pub address: Option<Address>,
    pub expires_ms: Option<u64>,
    pub revoked: bool,
}

/// The invited workers.
#[derive(Debug)]
pub struct Roster {
    path: PathBuf,
    table: Mutex<Table>,
    tokens: RwLock<Arc<HashMap<Arc<str>, Token>>>,
}

// === impl Roster ===

impl Roster {
    /// Opens or makes `workers.db` and reads it.
    pub fn open(path: &Path) -> Result<Roster, StoreFault> {
        let mut table = Table::open(path)?;
        let tokens = by_id(table.tokens()?);
        Ok(Roster { path: path.to_owned(), table: Mutex::new(table), tokens: RwLock::new(Arc::new(tokens)) })
    }

    /// Whose token this is. No disk, no wait.
    pub fn find(&self, text: &str, now_ms: u64) -> Result<WorkerRecord, TokenFault> {
        let id = checked_id(text)?;
        let tokens = self.tokens.read().clone();
        let token = tokens.get(id).ok_or(TokenFault::Unknown)?;
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        if !bool::from(hash.ct_eq(&token.hash)) {
            return Err(TokenFault::Wrong);
        }
        token.standing(now_ms)?;
        Ok(WorkerRecord { name: token.name.clone(), address: token.address, token_id: token.id.clone() })
    }

    /// Whether a token that was good still is: for connections that stand.
    pub fn check(&self, token_id: &str, now_ms: u64) -> Result<(), TokenFault> {
        self.tokens.read().get(token_id).ok_or(TokenFault::Unknown)?.standing(now_ms)
    }

    /// Reads the file again when another process wrote to it. To be called twice a second; true
    /// when something changed. On an error the old list stays in force.
    pub fn refresh_if_changed(&self) -> Result<bool, StoreFault> {
        let mut table = self.table.lock();
        if table.changed()? == Change::None {
            return Ok(false);
        }
        let tokens = Arc::new(by_id(table.tokens()?));
        table.seen();
        *self.tokens.write() = tokens;
        Ok(true)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tokens of any standing.
    pub fn len(&self) -> usize {
        self.tokens.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

// === impl Token ===

impl Token {
    pub fn standing(&self, now_ms: u64) -> Result<(), TokenFault> {
        if self.revoked {
            return Err(TokenFault::Revoked);
        }
        if self.expires_ms.is_some_and(|until| until <= now_ms) { Err(TokenFault::Expired) } else { Ok(()) }
    }
}

/// Writes a worker and a token for it, and returns the token: the only time that it is seen.
/// An invited name gets a second token, never a third.
pub fn invite(
    path: &Path,
    invitation: &Invitation,
    now_ms: u64,
    rng: &mut impl CryptoRng,
) -> Result<String, RosterFault> {
    check_name(&invitation.name).map_err(RosterFault::Refused)?;
    if invitation.expires_ms.is_some_and(|until| until <= now_ms) {
        return Err(RosterFault::Refused("the token would have run out already; choose a later day".into()));
    }
    let (id, text) = new_token(rng);
    let hash = Sha256::digest(text.as_bytes()).into();
    roster_db::add(path, invitation, &id, hash, now_ms)?;
    Ok(text)
}

/// Revokes a token by its public id, or by its whole text.
pub fn revoke(path: &Path, id: &str, now_ms: u64) -> Result<WorkerName, RosterFault> {
    let id = id.strip_prefix("opw_").unwrap_or(id);
    roster_db::revoke(path, id.split('_').next().unwrap_or(id), now_ms)
}

/// 1 to 64 of letters, digits, `.`, `_`, `-`; `0x...` is kept for workers that join by address.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
        return Err(format!(
            "`{name}` is not a worker's name; use 1 to {LONGEST_NAME} letters, digits, `.`, `_` or `-`"
        ));
    }
    if name.starts_with("0x") || name.starts_with("0X") {
        return Err(format!(
            "`{name}` looks like an address; such names belong to workers that join without an invitation"
        ));
    }
    Ok(())
}

fn by_id(tokens: Vec<Token>) -> HashMap<Arc<str>, Token> {
    tokens.into_iter().map(|token| (token.id.clone(), token)).collect()
}

/// The public id of a text that is a token by its looks.
fn checked_id(text: &str) -> Result<&str, TokenFault> {
    let mut parts = text.split('_');
    let (Some(PREFIX), Some(id), Some(secret), Some(check), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenFault::Malformed);
    };
    let fits = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| ALPHABET.contains(&b));
    if !fits(id, ID) || !fits(secret, SECRET) || !fits(check, CHECK) {
        return Err(TokenFault::Malformed);
    }
    if checksum(&text[..text.len() - CHECK - 1]) == check { Ok(id) } else { Err(TokenFault::BadChecksum) }
}

fn new_token(rng: &mut impl CryptoRng) -> (String, String) {
    let mut letters = |count: usize| -> String {
        (0..count).map(|_| char::from(ALPHABET[usize::from(rng.random::<u8>() & 31)])).collect()
    };
    let id = letters(ID);
    let body = format!("{PREFIX}_{id}_{}", letters(SECRET));
    let check = checksum(&body);
    (id, format!("{body}_{check}"))
}

fn checksum(body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    hash.iter().take(CHECK).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect()
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
