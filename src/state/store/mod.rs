//! Durable memory: the ledger, the roster of workers, the journal of decisions.
pub mod journal;
pub mod ledger;
pub mod roster_db;
pub mod sqlite;
