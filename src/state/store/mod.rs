//! Durable memory: the ledger, the roster of workers, the journal of decisions.
