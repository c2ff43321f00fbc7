//! The tasks of one simulated peer: all end when it stops.
use std::future::Future;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;

use crate::transport::tasks;

/// Cheap to clone; a clone belongs to the same peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    home: tasks::Tasks,
    /// Of this part alone.
    tracker: TaskTracker,
    ended: CancellationToken,
}

// === impl Tasks ===

impl Tasks {
    /// Runs until it is done or the peer stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        let ending = async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = task => {}
            }
        };
        drop(self.home.spawn("a simulated peer", self.tracker.track_future(ending)));
    }

    /// A part of the peer that can be stopped alone; it stops with the whole, too.
    pub(super) fn part(&self) -> Tasks {
        Tasks { home: self.home.clone(), tracker: TaskTracker::new(), ended: self.ended.child_token() }
    }

    /// Ends everything without waiting.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.tracker.close();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }

    /// Waits for what is running to finish by itself.
    pub(super) async fn idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
        self.tracker.reopen();
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(async move {
            task.await;
        });
    }
}
