//! A doorman with a fixed list of runners by path: for tests and measurements, without a pool.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::StatusCode;

use super::answer::Answer;
use super::door::{Ask, Decision, Doorman, End, Failure, Forward, Guard, Passing, Upstream};
use super::route::{Manner, Route};

/// A runner and what it works: paths that begin so.
#[derive(Clone, Debug)]
pub struct FixedRunner {
    pub path: String,
    pub upstream: Arc<Upstream>,
    pub token: Option<Arc<str>>,
}

/// Takes the runners that fit in turn; after a failure the next one.
#[derive(Clone, Debug, Default)]
pub struct FixedDoorman {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    runners: Vec<FixedRunner>,
    turn: AtomicUsize,
    running: AtomicUsize,
    whole: AtomicUsize,
    cut: AtomicUsize,
}

struct FixedGuard {
    shared: Arc<Shared>,
    /// Runners that may still be asked, the next one last.
    left: Vec<usize>,
    manner: Manner,
}

// === impl FixedDoorman ===

impl FixedDoorman {
    pub fn new(runners: Vec<FixedRunner>) -> FixedDoorman {
        FixedDoorman { shared: Arc::new(Shared { runners, ..Shared::default() }) }
    }

    /// Attempts that are under way.
    pub fn running(&self) -> usize {
        self.shared.running.load(Ordering::Relaxed)
    }

    /// Answers that went down whole, and those that did not.
    pub fn ended(&self) -> (usize, usize) {
        (self.shared.whole.load(Ordering::Relaxed), self.shared.cut.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Doorman for FixedDoorman {
    async fn admit(&self, ask: Ask<'_>) -> Decision {
        if let Route::Health { .. } = ask.route {
            return Decision::Answer(Answer::json(StatusCode::OK, r#"{"status":"OK"}"#));
        }
        let path = ask.head.uri.path();
        let runners = &self.shared.runners;
        let mut left: Vec<usize> = (0..runners.len()).filter(|at| path.starts_with(&runners[*at].path)).collect();
        if left.is_empty() {
            let why = "nobody works this";
            return Decision::Answer(Answer::fault(ask.route.manner(), StatusCode::NOT_FOUND, why));
        }
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed) % left.len();
        left.rotate_left(turn);
        left.reverse();
        next(self.shared.clone(), left, ask.route.manner(), "nobody is left")
    }
}

fn next(shared: Arc<Shared>, mut left: Vec<usize>, manner: Manner, why: &str) -> Decision {
    let Some(runner) = left.pop().and_then(|at| shared.runners.get(at)) else {
        return Decision::Answer(Answer::fault(manner, StatusCode::BAD_GATEWAY, why));
    };
    let (upstream, token) = (runner.upstream.clone(), runner.token.clone());
    shared.running.fetch_add(1, Ordering::Relaxed);
    Decision::Forward(Forward {
        upstream,
        path: None,
        token,
        passing: if matches!(manner, Manner::Runner(_)) { Passing::Few } else { Passing::All },
        body: None,
        silence: None,
        guard: Box::new(FixedGuard { shared: shared.clone(), left, manner }),
    })
}

// === impl FixedGuard ===

#[async_trait]
impl Guard for FixedGuard {
    async fn failed(mut self: Box<Self>, why: Failure) -> Decision {
        let left = if why.again { std::mem::take(&mut self.left) } else { Vec::new() };
        next(self.shared.clone(), left, self.manner, &why.text)
    }

    fn finished(self: Box<Self>, end: End) {
        let counter = if end == End::Whole { &self.shared.whole } else { &self.shared.cut };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for FixedGuard {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::Relaxed);
    }
}
