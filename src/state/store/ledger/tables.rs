//! The ledger's tables, version after version: a new file gets all, an older one what it lacks.
//!
//! Amounts of wei are decimal texts: they may need 256 bits. Nothing here is ever edited, only
//! added to: files that it made are out there, and `ledger verify` compares their tables with it.

/// What each version of the schema adds to the one before; the first one's number is 1.
pub const VERSIONS: [&str; 2] = [SEGMENTS, AI_JOBS];

const SEGMENTS: &str = "
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

const AI_JOBS: &str = "
-- The facts of every delivered AI job, written with the step 'resulted'.
CREATE TABLE ai_jobs (
  job TEXT NOT NULL,
  task INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  orchestrator TEXT NOT NULL,
  epoch TEXT NOT NULL,
  upstream_task INTEGER NOT NULL,
  session TEXT NOT NULL,
  worker TEXT NOT NULL,
  address TEXT,
  pipeline TEXT NOT NULL,
  model TEXT NOT NULL,
  door TEXT NOT NULL,
  -- what is charged
  unit TEXT NOT NULL,
  units INTEGER NOT NULL,
  -- as the answer told, for the record
  prompt_tokens INTEGER,
  made_tokens INTEGER,
  streamed INTEGER NOT NULL,
  first_byte_ms INTEGER NOT NULL,
  response_ms INTEGER NOT NULL,
  bytes_in INTEGER NOT NULL,
  bytes_out INTEGER NOT NULL,
  -- price_wei for every price_units units
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

CREATE TRIGGER ai_jobs_update BEFORE UPDATE ON ai_jobs BEGIN SELECT RAISE(ABORT, 'ai_jobs are append only'); END;
CREATE TRIGGER ai_jobs_delete BEFORE DELETE ON ai_jobs BEGIN SELECT RAISE(ABORT, 'ai_jobs are append only'); END;

-- Whatever may be paid, of either kind.
CREATE VIEW works AS
  SELECT job, task, orchestrator, worker, 'transcoding' AS pipeline, '' AS model, 'pixels' AS unit,
    encoded_credited AS units, encoded_reported, encoded_computed, real_time_milli,
    gross, commission, worker_share, rounding, digest FROM segments
  UNION ALL
  SELECT job, task, orchestrator, worker, pipeline, model, unit, units, NULL, NULL, NULL,
    gross, commission, worker_share, rounding, digest FROM ai_jobs;
";
