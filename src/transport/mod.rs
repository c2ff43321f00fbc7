//! Sockets and TLS; has never heard of a job.
pub mod limits;
pub mod tasks;
