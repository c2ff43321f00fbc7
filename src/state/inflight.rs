//! Leases by their two names: the task number that the worker answers with, and the secret key
//! of its download. An ended lease stays a while, so that a late answer can be told what it is.
use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::ids::TaskId;
use crate::domain::time::Moment;

#[derive(Debug)]
pub struct Inflight<L> {
    tasks: DashMap<TaskId, Arc<L>>,
    keys: DashMap<Arc<str>, TaskId>,
}

// === impl Inflight ===

impl<L> Default for Inflight<L> {
    fn default() -> Self {
        Inflight { tasks: DashMap::new(), keys: DashMap::new() }
    }
}

impl<L> Inflight<L> {
    pub fn insert(&self, task: TaskId, key: Arc<str>, lease: Arc<L>) {
        self.tasks.insert(task, lease);
        self.keys.insert(key, task);
    }

    pub fn task(&self, task: TaskId) -> Option<Arc<L>> {
        self.tasks.get(&task).map(|lease| lease.clone())
    }

    pub fn key(&self, key: &str) -> Option<Arc<L>> {
        let task = *self.keys.get(key)?;
        self.task(task)
    }

    /// The download is over; answers are still told apart.
    pub fn close_key(&self, key: &str) {
        self.keys.remove(key);
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Every lease for which `pick` says so.
    pub fn select(&self, pick: impl Fn(&L) -> bool) -> Vec<Arc<L>> {
        self.tasks.iter().filter(|entry| pick(entry.value())).map(|entry| entry.value().clone()).collect()
    }

    /// Drops what ended before `horizon`, as `ended` tells.
    pub fn sweep(&self, horizon: Moment, ended: impl Fn(&L) -> Option<Moment>) {
        self.tasks.retain(|_, lease| ended(lease).is_none_or(|at| at > horizon));
        self.keys.retain(|_, task| self.tasks.contains_key(task));
    }
}
