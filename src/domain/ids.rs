//! Names and numbers by which things are told apart.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha3::{Digest, Keccak256};

/// One job: a segment that an orchestrator asked for once. 128 bits, ordered by
/// time, written as 26 Crockford base32 characters (a ULID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

/// The number by which one attempt is known to one worker: random, 63 bits, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub i64);

/// One registration stream of a worker, unique for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A worker's own name in the ledger: the invited name, or `0xADDRESS.rig`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(pub Arc<str>);

/// An orchestrator's name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrchestratorName(pub Arc<str>);

/// One life of an orchestrator's process: its task numbers mean nothing in another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub Arc<str>);

/// A transcoding session, as one orchestrator names it (`auth_token.session_id`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub orchestrator: OrchestratorName,
    pub session: Arc<str>,
}

/// An Ethereum address; shown with the checksum of EIP-55.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

/// Why a text is not an address or a job's number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    #[error("`{0}` is not an address: 0x and 40 hex digits")]
    Address(String),
    #[error("`{0}` is mixed case and its EIP-55 checksum does not fit; copy it again, or write it in lower case")]
    Checksum(String),
    #[error("`{0}` is not a job: 26 letters and digits, as `tap`, logs and reports print it")]
    Job(String),
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// === impl JobId ===

impl JobId {
    /// 48 bits of Unix milliseconds, then 80 bits of chance.
    pub fn new(unix_ms: u64, chance: u128) -> JobId {
        JobId((u128::from(unix_ms) << 80) | (chance & ((1 << 80) - 1)))
    }

    /// Unix milliseconds at which the job was made.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; 26];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = CROCKFORD[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for JobId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<JobId, BadId> {
        let bad = || BadId::Job(text.to_owned());
        if text.len() != 26 {
            return Err(bad());
        }
        let mut value: u128 = 0;
        for letter in text.bytes().map(|b| b.to_ascii_uppercase()) {
            let digit = CROCKFORD.iter().position(|c| *c == letter).ok_or_else(bad)?;
            if value >> 123 != 0 {
                return Err(bad());
            }
            value = (value << 5) | digit as u128;
        }
        Ok(JobId(value))
    }
}

// === impl Address ===

impl Address {
    /// The address of nobody: all zero. Never payable.
    pub const ZERO: Address = Address([0; 20]);

    pub fn is_zero(self) -> bool {
        self == Address::ZERO
    }

    /// From the fork's `ethereum_address`: 20 bytes that are not all zero.
    pub fn from_wire(bytes: &[u8]) -> Option<Address> {
        let address = Address(bytes.try_into().ok()?);
        (!address.is_zero()).then_some(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        let hash = Keccak256::digest(plain.as_bytes());
        f.write_str("0x")?;
        for (i, letter) in plain.chars().enumerate() {
            let nibble = (hash[i / 2] >> (4 * (1 - i % 2))) & 15;
            let shown = if nibble >= 8 { letter.to_ascii_uppercase() } else { letter };
            write!(f, "{shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Address {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Address, BadId> {
        let bad = || BadId::Address(text.to_owned());
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).ok_or_else(bad)?;
        if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bytes = [0u8; 20];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        let address = Address(bytes);
        let mixed = digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
        if mixed && address.to_string()[2..] != *digits {
            return Err(BadId::Checksum(text.to_owned()));
        }
        Ok(address)
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> $name { $name(text.into()) }
        }
    )*};
}
shown_as_text!(WorkerName, OrchestratorName, Epoch);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
