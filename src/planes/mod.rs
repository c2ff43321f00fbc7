//! Planes translate protocols into tickets, leases and receipts; they never meet.
pub mod admin;
pub mod runner;
pub mod uplink;
pub mod worker;
