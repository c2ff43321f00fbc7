//! What a runner did, and the guard that counts a request while it runs.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::Shared;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::sim::tasks::Tasks;

/// What it did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunnerCounters {
    /// For work of any kind; health and the like are `calls`.
    pub requests: u64,
    /// Requests by the pipeline's name, `byoc` and `app` too.
    pub by_pipeline: BTreeMap<String, u64>,
    pub running: u32,
    pub most_at_once: u32,
    /// Answered well, to the last byte.
    pub answered: u64,
    /// Answered with an error, or with what its behaviour made of it.
    pub failed: u64,
    /// Not sent to the end because the caller hung up.
    pub cancelled: u64,
    /// Refused: what was asked is not as a runner demands it.
    pub refused: u64,
    pub last_refusal: Option<String>,
    pub unauthorized: u64,
    /// Begun while as many ran as its model takes.
    pub over_capacity: u64,
    pub calls: u64,
    pub live_running: u32,
    /// Live jobs that came to an end by themselves.
    pub live_ended: u64,
    /// Segments that were given back.
    pub segments: u64,
    pub events: u64,
    /// On the control channel.
    pub keepalives: u64,
    pub params: u64,
    pub last_params: Option<String>,
    pub streams_started: u64,
    pub streams_stopped: u64,
    pub websockets: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    seen: Mutex<RunnerCounters>,
    by_model: Mutex<HashMap<ModelKey, u32>>,
}

/// One request for work, from its head to the last byte of its answer.
pub(super) struct Running {
    shared: Arc<Shared>,
    /// Of the present start: what ends with it was not cancelled by a caller.
    tasks: Tasks,
    key: Option<ModelKey>,
    fate: Fate,
    over: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Fate {
    Answered,
    Failed,
    Refused,
}

// === impl Counters ===

impl Counters {
    pub(super) fn read(&self) -> RunnerCounters {
        self.seen.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut RunnerCounters)) {
        change(&mut self.seen.lock());
    }

    pub(super) fn refused(&self, words: &str) {
        self.change(|seen| seen.last_refusal = Some(words.to_owned()));
    }
}

// === impl Running ===

impl Running {
    pub(super) fn begin(shared: &Arc<Shared>, tasks: &Tasks, pipeline: Pipeline) -> Running {
        shared.counters.change(|seen| {
            seen.requests += 1;
            *seen.by_pipeline.entry(pipeline.name().to_owned()).or_default() += 1;
            seen.running += 1;
            seen.most_at_once = seen.most_at_once.max(seen.running);
        });
        Running { shared: shared.clone(), tasks: tasks.clone(), key: None, fate: Fate::Answered, over: false }
    }

    /// From now on it takes a place of that model.
    pub(super) fn takes(&mut self, key: &ModelKey) {
        let offered = self.shared.plan.models.iter().find(|offer| offer.key == *key);
        let capacity = offered.map_or(u32::MAX, |offer| offer.capacity);
        let mut by_model = self.shared.counters.by_model.lock();
        let now = by_model.entry(key.clone()).or_default();
        *now += 1;
        if *now > capacity {
            self.shared.counters.change(|seen| seen.over_capacity += 1);
        }
        self.key = Some(key.clone());
    }

    /// What becomes of it when its answer goes out whole.
    pub(super) fn will_be(&mut self, fate: Fate) {
        self.fate = fate;
    }

    /// The last byte is on its way, or none will ever be.
    pub(super) fn over(&mut self) {
        self.over = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let stopped = self.tasks.is_ended();
        self.shared.counters.change(|seen| {
            seen.running = seen.running.saturating_sub(1);
            match self.fate {
                _ if !self.over && stopped => {}
                _ if !self.over => seen.cancelled += 1,
                Fate::Answered => seen.answered += 1,
                Fate::Failed => seen.failed += 1,
                Fate::Refused => seen.refused += 1,
            }
        });
        if let Some(key) = self.key.take()
            && let Some(now) = self.shared.counters.by_model.lock().get_mut(&key)
        {
            *now = now.saturating_sub(1);
        }
    }
}
