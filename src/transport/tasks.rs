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

    /// Runs a task. One that panics is logged under its name and takes nothing else with it.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.run(async move {
            if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked; this is a bug of ours");
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one home of spawning")]
    fn run<F>(&self, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(future))
    }

    /// Cancelled when the process is to end: finish what is running, take nothing new.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Cancelled when the time for finishing is over: leave everything.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The same, to be kept.
    pub fn token(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Tasks that run now.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Tells all to end, waits `within`, then cuts off the rest. True when none had to be cut.
    pub async fn close(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(within, self.tracker.wait()).await.is_ok() {
            return true;
        }
        self.cut.cancel();
        if tokio::time::timeout(LAST_WORDS, self.tracker.wait()).await.is_err() {
            tracing::warn!(running = self.running(), "tasks still run after the cut");
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
        drop(self.run(async move {
            future.await;
        }));
    }
}
