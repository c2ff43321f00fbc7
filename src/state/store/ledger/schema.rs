//! The ledger's tables, the names of its accounts, and what exactly is hashed.
//!
//! # What is hashed
//! A field is written as `<length in bytes>:<bytes>,` (a netstring). An integer is its decimal
//! text, a text its UTF-8 bytes, a blob its raw bytes. NULL is the single byte `~`.
//! * `segments.digest` = SHA-256 of the fields of `SEGMENT_FIELDS`, in that order.
//! * `entries.hash` = SHA-256 of seq, key, job, at_ms, account, amount, facts, prev, in that order.
//!   `facts` is the digest of the segment that the entry pays for, `prev` the hash of the entry
//!   before; the first entry has 32 zero bytes there. `seq` counts 1, 2, 3 without a gap.
//!
//! So a changed bit in an entry, or in a fact that was paid for, breaks the chain from there on.
use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

/// The only schema that this program reads and writes.
pub const VERSION: i64 = 1;
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

/// All tables. Amounts of wei are decimal texts: they may need 256 bits.
pub const DDL: &str = "
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, what TEXT NOT NULL) STRICT;

-- Every step of every attempt, once, in the order of arrival.
CREATE TABLE steps (
  seq INTEGER PRIMARY KEY,
  job TEXT NOT NULL,
  task INTEGER NOT NULL,
  step TEXT NOT NULL CHECK (step IN ('assigned', 'resulted', 'posted', 'voided', 'in_doubt')),
  at_ms INTEGER NOT NULL,
  why TEXT,
  -- of 'assigned' only
  worker TEXT, address TEXT, orchestrator TEXT, epoch TEXT, session TEXT, upstream_task INTEGER,
  UNIQUE (job, task, step)
) STRICT;
-- A job is paid once, whichever attempt did it.
CREATE UNIQUE INDEX posted_once ON steps (job) WHERE step = 'posted';
CREATE INDEX doubts ON steps (seq) WHERE step = 'in_doubt';

-- The facts of every verified result, written with the step 'resulted'.
CREATE TABLE segments (
  job TEXT NOT NULL,
  task INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  orchestrator TEXT NOT NULL,
  epoch TEXT NOT NULL,
  upstream_task INTEGER NOT NULL,
  session TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  worker TEXT NOT NULL,
  address TEXT,
  profiles TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  response_ms INTEGER NOT NULL,
  -- thousandths: duration / response time
  real_time_milli INTEGER NOT NULL,
  decoded_reported INTEGER NOT NULL,
  decoded_computed INTEGER,
  encoded_reported INTEGER NOT NULL,
  encoded_computed INTEGER,
  encoded_credited INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL,
  -- price_wei for every price_units pixels
  price_wei TEXT NOT NULL,
  price_units TEXT NOT NULL,
  commission_bp INTEGER NOT NULL,
  gross TEXT NOT NULL,
  commission TEXT NOT NULL,
  worker_share TEXT NOT NULL,
  rounding TEXT NOT NULL,
  digest BLOB NOT NULL,
  PRIMARY KEY (job, task)
) STRICT, WITHOUT ROWID;

-- Double entry: the amounts of one posting sum to zero.
CREATE TABLE entries (
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  job TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  account TEXT NOT NULL,
  amount TEXT NOT NULL,
  facts BLOB NOT NULL,
  prev BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;

-- Attempts under way: what a crash leaves open. The one table of which rows go.
CREATE TABLE pending (job TEXT NOT NULL, task INTEGER NOT NULL, PRIMARY KEY (job, task)) STRICT, WITHOUT ROWID;

CREATE TRIGGER steps_update BEFORE UPDATE ON steps BEGIN SELECT RAISE(ABORT, 'steps are append only'); END;
CREATE TRIGGER steps_delete BEFORE DELETE ON steps BEGIN SELECT RAISE(ABORT, 'steps are append only'); END;
CREATE TRIGGER segments_update BEFORE UPDATE ON segments BEGIN SELECT RAISE(ABORT, 'segments are append only'); END;
CREATE TRIGGER segments_delete BEFORE DELETE ON segments BEGIN SELECT RAISE(ABORT, 'segments are append only'); END;
CREATE TRIGGER entries_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append only'); END;
CREATE TRIGGER entries_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append only'); END;
CREATE TRIGGER version_update BEFORE UPDATE ON schema_version BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER version_delete BEFORE DELETE ON schema_version BEGIN SELECT RAISE(ABORT, 'append only'); END;
";

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

/// `segments.digest` of a row given in the order of `SEGMENT_FIELDS`.
pub fn segment_digest(row: &[Value]) -> Hash {
    row.iter().fold(Canon::default(), |canon, field| canon.value(field.into())).done()
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
