//! What an orchestrator saw.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

/// Samples that are kept.
const MOST_LATENCIES: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) segments_sent: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) errors_returned: AtomicU64,
    pub(super) mismatched: AtomicU64,
    pub(super) answered_late: AtomicU64,
    pub(super) unknown_results: AtomicU64,
    pub(super) refused_results: AtomicU64,
    pub(super) registrations: AtomicU64,
    pub(super) registrations_lost: AtomicU64,
    pub(super) refused_registrations: AtomicU64,
    pub(super) dropped_by_buffer: AtomicU64,
    pub(super) no_transcoder: AtomicU64,
    pub(super) wrong_bytes: AtomicU64,
    pub(super) wrong_pixels: AtomicU64,
    pub(super) pixels: AtomicU64,
    pub(super) duration_us: AtomicU64,
    pub(super) response_us: AtomicU64,
    latencies: Mutex<Vec<u32>>,
    last_error: Mutex<Option<String>>,
}

/// A reading.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OrchestratorCounters {
    pub segments_sent: u64,
    /// Results that a gateway would take.
    pub delivered: u64,
    /// Error results, and results that are as good as one.
    pub errors_returned: u64,
    /// Of these: results with another number of parts than profiles, or with an empty part.
    pub mismatched: u64,
    /// Tasks that had no answer within their budget.
    pub answered_late: u64,
    /// Sent, and neither delivered nor answered by an error: late ones and what is still in flight.
    pub unanswered: u64,
    /// Results for tasks that are not in flight: late or repeated.
    pub unknown_results: u64,
    /// Results refused before their task was looked at.
    pub refused_results: u64,
    pub registrations: u64,
    /// Registrations dropped because a task's budget was over.
    pub registrations_lost: u64,
    pub refused_registrations: u64,
    /// Segments that found their session's buffer full.
    pub dropped_by_buffer: u64,
    /// Segments that found no transcoder.
    pub no_transcoder: u64,
    /// Delivered, but not what the library has.
    pub wrong_bytes: u64,
    /// Delivered with pixels that are not true.
    pub wrong_pixels: u64,
    /// Encoded pixels as reported.
    pub pixels: u64,
    /// Summed response time / summed duration of what was delivered: lower is faster.
    pub real_time_ratio: f64,
    pub last_error: Option<String>,
}

// === impl Counters ===

impl Counters {
    pub(super) fn delivered(&self, duration: Duration, response: Duration) {
        self.delivered.fetch_add(1, Relaxed);
        self.duration_us.fetch_add(micros(duration), Relaxed);
        self.response_us.fetch_add(micros(response), Relaxed);
        let mut latencies = self.latencies.lock();
        if latencies.len() < MOST_LATENCIES {
            latencies.push(u32::try_from(response.as_micros()).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn error(&self, text: &str) {
        self.errors_returned.fetch_add(1, Relaxed);
        *self.last_error.lock() = Some(text.chars().take(200).collect());
    }

    pub(super) fn take_latencies(&self) -> Vec<u32> {
        std::mem::take(&mut *self.latencies.lock())
    }

    pub(super) fn read(&self) -> OrchestratorCounters {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        // Answers first: between the readings more is sent, never less.
        let (delivered, errors_returned) = (get(&self.delivered), get(&self.errors_returned));
        let segments_sent = get(&self.segments_sent);
        OrchestratorCounters {
            segments_sent,
            delivered,
            errors_returned,
            mismatched: get(&self.mismatched),
            answered_late: get(&self.answered_late),
            unanswered: segments_sent.saturating_sub(delivered + errors_returned),
            unknown_results: get(&self.unknown_results),
            refused_results: get(&self.refused_results),
            registrations: get(&self.registrations),
            registrations_lost: get(&self.registrations_lost),
            refused_registrations: get(&self.refused_registrations),
            dropped_by_buffer: get(&self.dropped_by_buffer),
            no_transcoder: get(&self.no_transcoder),
            wrong_bytes: get(&self.wrong_bytes),
            wrong_pixels: get(&self.wrong_pixels),
            pixels: get(&self.pixels),
            real_time_ratio: get(&self.response_us) as f64 / get(&self.duration_us).max(1) as f64,
            last_error: self.last_error.lock().clone(),
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
