//! Whole-process tests: real files, real sockets, peers that keep the stock rules.
mod bed;
mod pool;
mod through;
mod worker_port;
