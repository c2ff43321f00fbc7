//! What an orchestrator sends down a registration: a segment, or the end of a session.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::forward::{Budget, Reply, To};
use super::registration::Kind;
use super::status::Side;
use super::{Uplink, job};
use crate::domain::ids::{Epoch, SessionKey};
use crate::domain::job::budget;
use crate::domain::outcome::Failure;
use crate::pool::NewJob;
use crate::telemetry;
use crate::wire::messages::{BadNotice, Notice, NoticeKind, read_notice};

/// What an orchestrator reads a duration of 0 as.
const ASSUMED: Duration = Duration::from_secs(2);

/// Takes one notice; waits only when thousands of error results wait already.
pub(super) async fn take(uplink: &Arc<Uplink>, raw: Bytes, epoch: &Epoch) {
    match read_notice(&raw) {
        Ok(NoticeKind::Segment(notice)) => segment(uplink, notice, raw, epoch).await,
        Ok(NoticeKind::EndSession { session }) => {
            let key = SessionKey { orchestrator: uplink.name().clone(), session };
            uplink.pool.end_session(&key, Some(raw));
        }
        Err(BadNotice { task: Some(task), text }) => {
            Side::count(&uplink.status.of(Kind::Transcoder).tasks_received);
            telemetry::bad_notice(uplink.name(), text);
            let epoch = current(uplink, Kind::Transcoder, task, epoch);
            segment_error(uplink, task, epoch, text.to_owned(), ASSUMED).await;
        }
        Err(BadNotice { task: None, text }) => telemetry::bad_notice(uplink.name(), text),
    }
}

async fn segment(uplink: &Arc<Uplink>, notice: Notice, raw: Bytes, epoch: &Epoch) {
    Side::count(&uplink.status.of(Kind::Transcoder).tasks_received);
    let epoch = current(uplink, Kind::Transcoder, notice.task, epoch);
    let duration = Duration::from_millis(u64::from(notice.duration_ms.unsigned_abs()));
    let new = NewJob {
        session: SessionKey { orchestrator: uplink.name().clone(), session: notice.session },
        epoch: epoch.clone(),
        upstream_task: notice.task,
        manifest: notice.manifest.into(),
        sequence: notice.sequence,
        duration,
        profiles: notice.profiles,
        need: notice.need,
        wants_hash: notice.wants_hash,
        clip: notice.clip,
        message: raw,
    };
    match uplink.pool.submit(new) {
        Ok(ticket) => {
            uplink.tasks.spawn("segment", job::run(uplink.clone(), ticket, notice.url));
        }
        Err(failure) => {
            telemetry::not_admitted(uplink.name(), &failure);
            segment_error(uplink, notice.task, epoch, refusal(&failure), duration).await;
        }
    }
}

/// In the clear, the numbers of tasks say which life of the orchestrator they are of.
pub(super) fn current(uplink: &Uplink, kind: Kind, task: i64, epoch: &Epoch) -> Epoch {
    if uplink.origin.tls {
        return epoch.clone();
    }
    if let Some(restarted) = uplink.epochs.plain_task(kind, task) {
        uplink.new_epoch(&restarted);
    }
    uplink.epochs.current()
}

async fn segment_error(uplink: &Arc<Uplink>, task: i64, epoch: Epoch, text: String, duration: Duration) {
    let budget = Budget::new(uplink.pool.clock().now(), budget(duration));
    answer_error(uplink, Reply { to: To::Segments, task, epoch, budget }, text).await;
}

/// Answers a task that never became a job.
pub(super) async fn answer_error(uplink: &Arc<Uplink>, reply: Reply, text: String) {
    let Ok(place) = uplink.errors_waiting.clone().acquire_owned().await else { return };
    let uplink_for_task = uplink.clone();
    uplink.tasks.spawn("error result", async move {
        uplink_for_task.send_error(&reply, &text).await;
        drop(place);
    });
}

/// A gateway never sees more of us than this.
fn refusal(failure: &Failure) -> String {
    match failure {
        Failure::InputError(text) => text.clone(),
        Failure::NoWorker(_) => "no transcoders available".into(),
        _ => "the pool cannot take this segment now".into(),
    }
}
