//! We look like one large worker: register at orchestrators, fetch sources, forward results.
pub mod config;
