//! Whole-process tests: real files, real sockets, peers that keep the stock rules.
mod bed;
mod pool;
mod pool_storm;
mod through;
mod worker_port;
