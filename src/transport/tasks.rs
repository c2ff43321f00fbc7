//! The one place where tasks are spawned, counted and told to end.
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The process's tasks. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
}

/// How long tasks may take to end after the cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

// === impl Tasks ===

impl Tasks {
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// A set inside this one: stopped and cut with it, and also by itself.
    pub fn child(&self) -> Tasks {
        let (stopping, cut) = (self.stopping.child_token(), self.cut.child_token());
        Tasks { tracker: TaskTracker::new(), stopping, cut }
    }

    /// Runs `task` until it ends by itself; long ones watch [`Tasks::token`]. One that panics is
    /// logged under its name and takes nothing else with it.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.run(async move {
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(output) => output,
                Err(panic) => {
                    tracing::error!(task = name, "a task panicked; this is a bug of ours");
                    std::panic::resume_unwind(panic)
                }
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of spawning")]
    fn run<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(task))
    }

    /// Cancelled when the set shall stop: finish what is running, take nothing new.
    pub fn token(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Cancelled when the time for finishing is over: leave everything.
    pub fn cut(&self) -> CancellationToken {
        self.cut.clone()
    }

    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Tells every task to stop and waits for them, at most `within`; then cuts off the rest.
    /// Whether all ended by themselves.
    pub async fn close(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(within, self.tracker.wait()).await.is_ok() {
            return true;
        }
        self.cut.cancel();
        if tokio::time::timeout(LAST_WORDS, self.tracker.wait()).await.is_err() {
            tracing::warn!(running = self.len(), "tasks still run after the cut");
        }
        false
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.run(future));
    }
}
