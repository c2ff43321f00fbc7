//! What the AI side saw.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

macro_rules! counters {
    ($($(#[$words:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(in crate::sim) struct Counters {
            $(pub(in crate::sim) $name: AtomicU64,)*
            last_error: Mutex<Option<String>>,
        }

        /// A reading.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct AiCounters {
            $($(#[$words])* pub $name: u64,)*
            pub last_error: Option<String>,
        }

        impl Counters {
            pub(in crate::sim) fn read(&self) -> AiCounters {
                AiCounters {
                    $($name: self.$name.load(Relaxed),)*
                    last_error: self.last_error.lock().clone(),
                }
            }
        }
    };
}

counters! {
    registrations,
    /// Wrong secrets.
    refused_registrations,
    /// Ended with OK at once: the version is too low.
    silent_refusals,
    /// Dropped because a job's budget was over.
    registrations_lost,
    /// Jobs sent to remote workers.
    jobs,
    /// Whole answers, of workers and of runners.
    delivered,
    streams,
    chunks,
    errors,
    late,
    no_worker,
    /// Requests whose handler panicked.
    panics,
    /// Slots of an own runner's capacity, or of a capability, that are gone until a restart.
    lost_slots,
    /// Charged, and the gateway got `null`.
    null_answers,
    /// The gateway cannot decode what was delivered.
    unreadable_answers,
    /// A url without a part of that name: an empty file was stored.
    empty_files,
    /// Results for jobs that are not in flight: late or repeated.
    unknown_results,
    /// Results refused before their job was looked at.
    refused_results,
    /// 401 for a wrong `Credentials`, and used all the same.
    wrong_secret_results,
    /// Taken with a 200 and thrown away: an unknown media type.
    thrown_away,
    broken_multiparts,
    /// Lines of a stream that are no chunks.
    bad_chunks,
    /// Chunks after the one with the finish reason: not delivered.
    chunks_after_the_end,
    /// A stream without a finish reason.
    unfinished_streams,
    /// A POST or an answer that is never finished: a stream that goes on after its end, or no `[DONE]`.
    stuck_streams,
    downloads,
    refused_downloads,
    /// Charged units of what was delivered.
    units,
    runner_jobs,
    byoc_registrations,
    refused_capabilities,
    byoc_jobs,
    /// Capabilities dropped for a connection error or a 401.
    dropped_capabilities,
    live_registrations,
    heartbeats,
    refused_heartbeats,
    health_checks,
    failed_health_checks,
    /// Sessions released because a health check failed or a heartbeat was missing.
    lost_sessions,
    proxied,
}

// === impl Counters ===

impl Counters {
    pub(in crate::sim) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(in crate::sim) fn error(&self, text: &str) {
        Counters::add(&self.errors);
        *self.last_error.lock() = Some(text.chars().take(200).collect());
    }

    pub(in crate::sim) fn panicked(&self, why: &str) {
        Counters::add(&self.panics);
        *self.last_error.lock() = Some(format!("panic: {why}"));
    }
}
