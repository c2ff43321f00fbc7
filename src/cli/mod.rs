//! The commands.
pub mod explain;
pub mod ledger;
pub mod table;
pub mod worker;
