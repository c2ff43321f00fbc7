//! The ledger's fields, the names of its accounts, and what exactly is hashed.
//!
//! # What is hashed
//! A field is written as `<length in bytes>:<bytes>,` (a netstring). An integer is its decimal
//! text, a text its UTF-8 bytes, a blob its raw bytes. NULL is the single byte `~`.
//! * `segments.digest` = SHA-256 of the fields of `SEGMENT_FIELDS`, in that order.
//! * `ai_jobs.digest` = SHA-256 of the text `ai_jobs`, then the fields of `AI_FIELDS`, in that order.
//! * `entries.hash` = SHA-256 of seq, key, job, at_ms, account, amount, facts, prev, in that order.
//!   `facts` is the digest of the segment or AI job that the entry pays for, `prev` the hash of the entry
//!   before; the first entry has 32 zero bytes there. `seq` counts 1, 2, 3 without a gap.
//!
//! So a changed bit in an entry, or in a fact that was paid for, breaks the chain from there on.
use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

use super::tables::VERSIONS;

/// The schema that this program writes; it reads the ones before, too.
pub const VERSION: i64 = VERSIONS.len() as i64;
/// What the file says of itself.
pub const WHAT: &str = "ledger";

pub type Hash = [u8; 32];
/// What stands before the first entry.
pub const GENESIS: Hash = [0; 32];

/// Columns of `segments` in the order in which they are stored and hashed.
pub const SEGMENT_FIELDS: [&str; 28] = [
    "job",
    "task",
    "at_ms",
    "orchestrator",
    "epoch",
    "upstream_task",
    "session",
    "sequence",
    "worker",
    "address",
    "profiles",
    "duration_ms",
    "response_ms",
    "real_time_milli",
    "decoded_reported",
    "decoded_computed",
    "encoded_reported",
    "encoded_computed",
    "encoded_credited",
    "bytes_in",
    "bytes_out",
    "price_wei",
    "price_units",
    "commission_bp",
    "gross",
    "commission",
    "worker_share",
    "rounding",
];

/// Columns of `ai_jobs` in the order in which they are stored and hashed.
pub const AI_FIELDS: [&str; 28] = [
    "job",
    "task",
    "at_ms",
    "orchestrator",
    "epoch",
    "upstream_task",
    "session",
    "worker",
    "address",
    "pipeline",
    "model",
    "door",
    "unit",
    "units",
    "prompt_tokens",
    "made_tokens",
    "streamed",
    "first_byte_ms",
    "response_ms",
    "bytes_in",
    "bytes_out",
    "price_wei",
    "price_units",
    "commission_bp",
    "gross",
    "commission",
    "worker_share",
    "rounding",
];

/// The two tables of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Segment,
    Ai,
}

/// What an orchestrator owes the pool.
pub fn receivable(orchestrator: &str) -> String {
    format!("receivable:{orchestrator}")
}

/// What the pool owes a worker.
pub fn payable(worker: &str) -> String {
    format!("payable:{worker}")
}

pub const COMMISSION: &str = "commission";
pub const ROUNDING: &str = "rounding";

/// The unique key of one line of a job's posting.
pub fn posting_key(job: &str, line: &str) -> String {
    format!("post/{job}/{line}")
}

/// Hashes fields by the rules above.
#[derive(Default)]
pub struct Canon(Sha256);

/// One entry as it is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: i64,
    pub key: String,
    pub job: String,
    pub at_ms: i64,
    pub account: String,
    pub amount: String,
    pub facts: Vec<u8>,
    pub prev: Vec<u8>,
}

// === impl Canon ===

impl Canon {
    pub fn bytes(mut self, field: &[u8]) -> Canon {
        self.0.update(field.len().to_string().as_bytes());
        self.0.update(b":");
        self.0.update(field);
        self.0.update(b",");
        self
    }

    pub fn number(self, field: i64) -> Canon {
        self.bytes(field.to_string().as_bytes())
    }

    pub fn value(mut self, field: ValueRef<'_>) -> Canon {
        match field {
            ValueRef::Null => {
                self.0.update(b"~");
                self
            }
            ValueRef::Integer(number) => self.number(number),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => self.bytes(bytes),
            // No column is a float; one that is there is somebody's doing and hashes to something else.
            ValueRef::Real(number) => self.bytes(&number.to_le_bytes()),
        }
    }

    pub fn done(self) -> Hash {
        self.0.finalize().into()
    }
}

// === impl Kind ===

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Segment, Kind::Ai];

    pub fn table(self) -> &'static str {
        match self {
            Kind::Segment => "segments",
            Kind::Ai => "ai_jobs",
        }
    }

    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Kind::Segment => &SEGMENT_FIELDS,
            Kind::Ai => &AI_FIELDS,
        }
    }

    /// The column that the price is multiplied by.
    pub fn units(self) -> &'static str {
        match self {
            Kind::Segment => "encoded_credited",
            Kind::Ai => "units",
        }
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Segment => "segment",
            Kind::Ai => "AI job",
        }
    }

    /// `digest` of a row given in the order of its fields.
    pub fn digest(self, row: &[Value]) -> Hash {
        let start = match self {
            Kind::Segment => Canon::default(),
            Kind::Ai => Canon::default().bytes(b"ai_jobs"),
        };
        row.iter().fold(start, |canon, field| canon.value(field.into())).done()
    }
}

// === impl Entry ===

impl Entry {
    pub fn hash(&self) -> Hash {
        Canon::default()
            .number(self.seq)
            .bytes(self.key.as_bytes())
            .bytes(self.job.as_bytes())
            .number(self.at_ms)
            .bytes(self.account.as_bytes())
            .bytes(self.amount.as_bytes())
            .bytes(&self.facts)
            .bytes(&self.prev)
            .done()
    }
}
