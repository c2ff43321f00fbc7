//! The commands.
pub mod check;
pub mod config;
pub mod init;
pub mod table;
mod world;
