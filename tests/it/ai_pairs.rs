//! The pairs of AI work: both doors of an orchestrator, both kinds of workers, every pipeline, and
//! what becomes of failures in each.
mod bed;
mod failures;
mod jobs;
mod leave;
mod load;
mod pairs;
mod raw;
