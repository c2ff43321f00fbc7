//! Every metric name and log event, one typed function each.
//!
//! Names of go-livepeer where the meaning is the same, `livepeer_pool_*` for what is new. Labels
//! are bounded: a worker's name, a failure's code.
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use tracing::{debug, error, info, warn};

use crate::domain::ai::{AiJob, ModelKey};
use crate::domain::ids::{OrchestratorName, WorkerName};
use crate::domain::job::Job;
use crate::domain::outcome::Failure;

// --- workers ---

pub fn login_failed() {
    counter!("livepeer_pool_login_failures_total").increment(1);
}

pub fn worker_joined(worker: &WorkerName, peer: SocketAddr, capacity: u32) {
    counter!("livepeer_pool_registrations_total").increment(1);
    info!(%worker, %peer, capacity, "worker joined");
}

pub fn worker_left(worker: &WorkerName, stayed: Duration) {
    info!(%worker, stayed_seconds = stayed.as_secs(), "worker left");
}

pub fn result_not_theirs(worker: &WorkerName, holder: &WorkerName) {
    counter!("livepeer_pool_foreign_results_total", "worker" => worker.to_string()).increment(1);
    warn!(%worker, %holder, "a worker answered another worker's task");
}

// --- segments ---

pub fn segment_done(worker: &WorkerName, wall: f64, duration: f64) {
    counter!("livepeer_segment_transcoded_total").increment(1);
    histogram!("livepeer_transcode_time_seconds").record(wall);
    if wall > 0.0 {
        histogram!("livepeer_transcode_score").record(duration / wall);
    }
    counter!("livepeer_pool_segments_total", "worker" => worker.to_string()).increment(1);
}

/// Encoded pixels of a result, as credited; go-livepeer's own counter is in millions.
pub fn pixels_processed(pixels: u64) {
    static PIXELS: AtomicU64 = AtomicU64::new(0);
    let all = PIXELS.fetch_add(pixels, Ordering::Relaxed).saturating_add(pixels);
    counter!("livepeer_mil_pixels_processed").absolute(all / 1_000_000);
}

pub fn attempt_failed(worker: &WorkerName, failure: &Failure) {
    counter!("livepeer_pool_attempts_failed_total", "worker" => worker.to_string(), "code" => failure.code())
        .increment(1);
    info!(%worker, code = failure.code(), why = %failure, "attempt failed");
}

pub fn retried(failure: &Failure) {
    counter!("livepeer_pool_retries_total", "code" => failure.code()).increment(1);
}

pub fn saved_elsewhere() {
    counter!("livepeer_pool_saved_elsewhere_total").increment(1);
}

pub fn job_failed(job: &Job, failure: &Failure) {
    counter!("livepeer_segment_transcode_failed_total", "error_code" => failure.code()).increment(1);
    warn!(job = %job.id, session = %job.session.session, code = failure.code(), why = %failure, "segment failed");
}

pub fn deadline_guard() {
    counter!("livepeer_pool_deadline_guard_total").increment(1);
}

pub fn session_ended() {
    counter!("livepeer_pool_sessions_ended_total").increment(1);
}

// --- AI jobs ---

pub fn ai_done(worker: &WorkerName, key: &ModelKey, wall: f64) {
    counter!("livepeer_pool_ai_jobs_total", "worker" => worker.to_string(), "pipeline" => key.pipeline.name())
        .increment(1);
    histogram!("livepeer_pool_ai_time_seconds", "pipeline" => key.pipeline.name()).record(wall);
}

pub fn ai_attempt_failed(worker: &WorkerName, key: &ModelKey, failure: &Failure) {
    counter!("livepeer_pool_ai_attempts_failed_total", "pipeline" => key.pipeline.name(), "code" => failure.code())
        .increment(1);
    info!(%worker, %key, code = failure.code(), why = %failure, "AI attempt failed");
}

pub fn ai_failed(job: &AiJob, failure: &Failure) {
    counter!("livepeer_pool_ai_jobs_failed_total", "pipeline" => job.key.pipeline.name(), "code" => failure.code())
        .increment(1);
    warn!(job = %job.id, key = %job.key, code = failure.code(), why = %failure, "AI job failed");
}

/// Nobody could take a job: `no_model`, `full`, `resting`, `slow`, `none`.
pub fn ai_no_seat(key: &ModelKey, why: &'static str) {
    counter!("livepeer_pool_ai_no_worker_total", "pipeline" => key.pipeline.name(), "why" => why).increment(1);
}

/// Live videos at work now.
pub fn live_jobs(count: usize) {
    gauge!("livepeer_pool_live_jobs").set(count as f64);
}

/// One worker's part of a live video is over.
pub fn live_served(worker: &WorkerName, seconds: u64) {
    counter!("livepeer_pool_live_seconds_total", "worker" => worker.to_string()).increment(seconds);
}

pub fn live_moved(worker: &WorkerName, failure: &Failure) {
    counter!("livepeer_pool_live_moves_total", "code" => failure.code()).increment(1);
    warn!(%worker, code = failure.code(), why = %failure, "a live video lost its worker");
}

pub fn live_ended(model: &str, seconds: u64, why: &str) {
    info!(model, seconds, why, "live video ended");
}

pub fn runner_unwell(runner: &WorkerName, why: &str) {
    counter!("livepeer_pool_runners_unwell_total", "worker" => runner.to_string()).increment(1);
    warn!(%runner, why, "this runner is out until it is well again");
}

// --- orchestrators ---

pub fn capability_registered(orchestrator: &OrchestratorName, name: &str, capacity: u32) {
    info!(%orchestrator, name, capacity, "capability registered");
}

pub fn capability_unregistered(orchestrator: &OrchestratorName, name: &str) {
    info!(%orchestrator, name, "capability unregistered");
}

/// Capabilities or live runners cannot be told to an orchestrator.
pub fn capability_trouble(orchestrator: &OrchestratorName, why: &str, wait: Duration) {
    counter!("livepeer_pool_capability_trouble_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, why, ?wait, "cannot register there; trying again");
}

/// A stream or an app's session was ended by us, and why.
pub fn runner_session_ended(what: &'static str, why: &'static str) {
    counter!("livepeer_pool_runner_sessions_ended_total", "what" => what, "why" => why).increment(1);
}

pub fn uplink_impossible(orchestrator: &OrchestratorName, why: &str) {
    error!(%orchestrator, why, "this orchestrator cannot be used");
}

pub fn registered(orchestrator: &OrchestratorName, capacity: u32) {
    info!(%orchestrator, capacity, "registered");
}

pub fn ai_registered(orchestrator: &OrchestratorName, capacity: u32) {
    info!(%orchestrator, capacity, "registered as AI worker");
}

pub fn version_raised(orchestrator: &OrchestratorName) {
    info!(%orchestrator, "an AI registration was dropped, as if its version were too low; a higher one is stated now");
}

pub fn reregistered(orchestrator: &OrchestratorName, fresh: usize, capacity: u32) {
    counter!("livepeer_pool_reregistrations_total", "orchestrator" => orchestrator.to_string()).increment(1);
    info!(%orchestrator, fresh, capacity, "registrations follow the pool's capacity");
}

pub fn registration_lost(orchestrator: &OrchestratorName) {
    counter!("livepeer_pool_registrations_lost_total", "orchestrator" => orchestrator.to_string()).increment(1);
}

pub fn registration_trouble(orchestrator: &OrchestratorName, why: &str, wait: Duration) {
    error!(%orchestrator, why, again_in_ms = wait.as_millis() as u64, "not registered; workers stay connected");
}

pub fn orchestrator_restarted(orchestrator: &OrchestratorName) {
    counter!("livepeer_pool_orchestrator_restarts_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, "another process answers there now; its earlier tasks are dropped");
}

pub fn bad_notice(orchestrator: &OrchestratorName, why: &str) {
    counter!("livepeer_pool_bad_tasks_total", "orchestrator" => orchestrator.to_string()).increment(1);
    info!(%orchestrator, why, "a task that cannot be done");
}

pub fn not_admitted(orchestrator: &OrchestratorName, failure: &Failure) {
    counter!("livepeer_pool_not_admitted_total", "code" => failure.code()).increment(1);
    info!(%orchestrator, code = failure.code(), why = %failure, "segment not admitted");
}

pub fn ai_not_admitted(orchestrator: &OrchestratorName, failure: &Failure) {
    counter!("livepeer_pool_not_admitted_total", "code" => failure.code()).increment(1);
    info!(%orchestrator, code = failure.code(), why = %failure, "AI job not admitted");
}

pub fn source_failed(orchestrator: &OrchestratorName, failure: &Failure) {
    counter!("livepeer_pool_sources_failed_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, why = %failure, "a source could not be fetched");
}

pub fn result_refused(orchestrator: &OrchestratorName, said: &str) {
    counter!("livepeer_pool_results_refused_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, said, "the orchestrator did not take a result");
}

pub fn result_cut(orchestrator: &OrchestratorName) {
    counter!("livepeer_pool_results_cut_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, "a result was cut off at the orchestrator's budget; its line is too slow");
}

pub fn answered_late(orchestrator: &OrchestratorName) {
    counter!("livepeer_pool_answered_late_total", "orchestrator" => orchestrator.to_string()).increment(1);
    warn!(%orchestrator, "an answer came after the orchestrator's budget");
}

pub fn unanswered(orchestrator: &OrchestratorName, why: &str) {
    counter!("livepeer_pool_unanswered_total", "orchestrator" => orchestrator.to_string()).increment(1);
    error!(%orchestrator, why, "a task could not be answered");
}

// --- the worker port ---

/// What the edge let in, refused or cut: `accepted`, `full`, `bad_handshake`, `flood`, ...
pub fn edge(event: &'static str) {
    counter!("livepeer_pool_edge_connections_total", "event" => event).increment(1);
}

/// Connections of the worker port that are open now.
pub fn edge_open(open: u64) {
    gauge!("livepeer_pool_edge_open_connections").set(open as f64);
}

pub fn accept_failed(why: &impl Display) {
    debug!(%why, "accept failed; a pause");
}

pub fn connection_ended(peer: SocketAddr, why: &impl Display) {
    debug!(%peer, %why, "connection ended");
}

pub fn flooded(peer: SocketAddr) {
    debug!(%peer, "a flood of HTTP/2 frames; connection closed");
}

/// A bug of ours that was caught where it would have cost a worker its registration.
pub fn panicked(place: &'static str) {
    counter!("livepeer_pool_panics_total", "place" => place).increment(1);
    error!(place, "a panic was caught; this is a bug of ours");
}

pub fn no_room_for_result(why: &impl Display) {
    counter!("livepeer_pool_results_without_room_total").increment(1);
    warn!(%why, "no room for a result");
}

// --- storage ---

pub fn ledger_down(why: &str) {
    counter!("livepeer_pool_ledger_faults_total").increment(1);
    error!(why, "the ledger does not take writes; no new segments until it does");
}

pub fn journal_fault(why: &str) {
    counter!("livepeer_pool_journal_faults_total").increment(1);
    warn!(why, "decisions are not kept for `explain`");
}

pub fn roster_fault(why: &str) {
    counter!("livepeer_pool_roster_faults_total").increment(1);
    warn!(why, "the list of workers could not be read; the one in memory stays");
}

// --- the whole ---

/// Sizes of the pool, once a second.
pub fn pool_gauges(workers: usize, capacity: u32, sessions: usize, jobs: usize, shelf_bytes: u64) {
    gauge!("livepeer_transcoders_number").set(workers as f64);
    gauge!("livepeer_transcoders_capacity").set(f64::from(capacity));
    gauge!("livepeer_current_sessions_total").set(sessions as f64);
    gauge!("livepeer_transcoders_load").set(sessions as f64);
    gauge!("livepeer_pool_jobs_in_flight").set(jobs as f64);
    gauge!("livepeer_pool_shelf_bytes").set(shelf_bytes as f64);
}

/// Our memory, twice a second, and in how many percent of the limit it was before.
pub fn memory(resident: u64, limit: u64, percent: u8, before: u8) {
    gauge!("livepeer_pool_memory_bytes").set(resident as f64);
    gauge!("livepeer_pool_memory_limit_bytes").set(limit as f64);
    let level = |percent: u8| [80, 90, 95].into_iter().filter(|from| percent >= *from).count();
    if level(percent) > level(before) {
        counter!("livepeer_pool_memory_sheds_total").increment(1);
        warn!(percent, resident, limit, "memory runs short; from 80 no connections, from 90 no segments are taken");
    }
}

/// A fault that nobody else reports: where, and what.
pub fn fault(place: &'static str, why: impl Display) {
    counter!("livepeer_pool_faults_total", "place" => place).increment(1);
    warn!(place, %why, "fault");
}
