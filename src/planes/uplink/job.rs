//! One segment from notice to answer. Every task is answered, also when our own code fails.
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;

use super::Uplink;
use super::forward::{Budget, Reply, To};
use crate::domain::job::budget;
use crate::pool::{Answer, Ticket, Upstream};
use crate::telemetry;

/// Works a ticket, forwards its answer, closes its books.
pub(super) async fn run(uplink: Arc<Uplink>, ticket: Ticket, url: String) {
    let job = ticket.job().clone();
    let reply = Reply {
        to: To::Segments,
        task: job.upstream_task,
        epoch: job.epoch.clone(),
        budget: Budget::new(job.received, budget(job.duration)),
    };
    let worked = AssertUnwindSafe(work(&uplink, ticket, &url, &reply)).catch_unwind().await;
    if worked.is_err() {
        telemetry::fault("segment", "a task panicked; this is a bug of ours");
        uplink.send_error(&reply, "the pool failed on this segment").await;
    }
}

async fn work(uplink: &Arc<Uplink>, mut ticket: Ticket, url: &str, reply: &Reply) {
    let job = ticket.job().clone();
    let source = ticket.source();
    let answer = {
        // The worker's download follows the source as it arrives.
        let mut fetch = pin!(uplink.fetch(url, &job, &source));
        let mut work = pin!(ticket.work());
        tokio::select! {
            biased;
            answer = &mut work => answer,
            () = &mut fetch => work.await,
        }
    };
    let upstream = match answer {
        Answer::Result(result, recorded) => uplink.send_result(reply, job.answer_by, result, recorded).await,
        Answer::Error(text) => {
            uplink.send_error(reply, &text).await;
            Upstream::Unsent(text)
        }
        Answer::Gone => Upstream::Unsent("the orchestrator restarted".into()),
    };
    ticket.close(&upstream);
}
