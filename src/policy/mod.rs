//! Pure verdicts: nothing here awaits, locks, logs, or reads time or chance.
pub mod retry;
pub mod route;
pub mod rules;
pub mod session;
pub mod verify;
