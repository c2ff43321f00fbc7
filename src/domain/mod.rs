//! What things are: plain values, no clock, no lock, no chance.
pub mod ai;
pub mod capability;
pub mod decision;
pub mod ids;
pub mod job;
pub mod ledger;
pub mod money;
pub mod outcome;
pub mod print;
pub mod score;
pub mod seat;
pub mod time;
pub mod work;
