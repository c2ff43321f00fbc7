//! One AI job from notice to answer. Every job is answered, also when our own code fails.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::input;
use super::text::upstream_text;
use crate::domain::outcome::Failure;
use crate::planes::uplink::Uplink;
use crate::planes::uplink::forward::Reply;
use crate::pool::Upstream;
use crate::pool::ai::{AiAnswer, AiTicket};
use crate::telemetry;
use crate::wire::ai::JobData;

/// Works a ticket, forwards its answer, closes its books.
pub(super) async fn run(uplink: Arc<Uplink>, ticket: AiTicket, data: JobData, reply: Reply) {
    let worked = AssertUnwindSafe(work(&uplink, ticket, data, &reply)).catch_unwind().await;
    if worked.is_err() {
        telemetry::fault("AI job", "a task panicked; this is a bug of ours");
        uplink.send_error(&reply, "the pool failed on this job").await;
    }
}

async fn work(uplink: &Arc<Uplink>, mut ticket: AiTicket, data: JobData, reply: &Reply) {
    let job = ticket.job().clone();
    let gone = ticket.gone();
    let prepared = tokio::select! {
        prepared = input::prepare(uplink, &mut ticket, data) => Some(prepared),
        () = gone.cancelled() => None,
    };
    let answer = match prepared {
        Some(Ok(request)) => ticket.work(request).await,
        Some(Err(failure)) => ticket.fail(failure),
        None => AiAnswer::Gone,
    };
    let upstream = match answer {
        AiAnswer::Whole(result, recorded) => uplink.send_answer(reply, &job, result, recorded).await,
        AiAnswer::Stream(stream) => uplink.send_stream(reply, &job, stream, gone).await,
        AiAnswer::Error(failure) => refuse(uplink, reply, &failure).await,
        AiAnswer::Gone => Upstream::Unsent("the orchestrator restarted".into()),
    };
    ticket.close(&upstream);
}

pub(super) async fn refuse(uplink: &Uplink, reply: &Reply, failure: &Failure) -> Upstream {
    let text = upstream_text(failure);
    uplink.send_error(reply, &text).await;
    Upstream::Unsent(text)
}
