//! One segment from notice to fate, and the end of a session.
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::results::{self, Outcome};
use super::rules::Word;
use super::{FILES, Fate, Shared};
use crate::domain::capability::{Bits, Need};
use crate::sim::library::Item;
use crate::wire::messages::pb;

/// H264, MPEGTS, H264 high profile, auth token: what a gateway asks for in every such stream.
const NEEDED: u64 = 1 | 1 << 1 | 1 << 9 | 1 << 12;

/// A file that is kept for its transcoder.
pub(super) fn file(shared: &Shared, session: &str, sequence: i64) -> Option<Bytes> {
    let files = shared.files.lock();
    files.get(session)?.iter().find(|(kept, _)| *kept == sequence).map(|(_, bytes)| bytes.clone())
}

/// Transcodes segment `sequence` of a session, whose bytes are the library's item `n`.
pub(super) async fn run(shared: &Arc<Shared>, session: &str, sequence: i64, n: usize) -> Fate {
    let Some(item) = shared.plan.library.item(n) else { return Fate::NoTranscoder };
    keep(shared, session, sequence, item.source.clone());
    let need = Need { bits: Some(Bits(vec![NEEDED])), min_version: shared.plan.min_version.clone() };
    let counters = &shared.counters;
    loop {
        let Some(picked) = shared.registry.lock().pick(session, &need) else {
            counters.no_transcoder.fetch_add(1, Relaxed);
            return Fate::NoTranscoder;
        };
        let task = shared.next_task.fetch_add(1, Relaxed);
        let (answer, answered) = oneshot::channel();
        shared.pending.lock().insert(task, answer);
        let message = notice(shared, session, sequence, task, &item);
        if picked.orders.send(Word::Notice(message)).await.is_err() {
            // The stream is gone: go-livepeer forgets that transcoder and tries the next.
            shared.pending.lock().remove(&task);
            shared.registry.lock().remove(picked.registration);
            continue;
        }
        drop(picked.orders);
        counters.segments_sent.fetch_add(1, Relaxed);
        let sent = Instant::now();
        let Ok(outcome) = timeout_at(sent + shared.plan.budget(), answered).await else {
            shared.pending.lock().remove(&task);
            counters.answered_late.fetch_add(1, Relaxed);
            if shared.registry.lock().remove(picked.registration) {
                counters.registrations_lost.fetch_add(1, Relaxed);
            }
            return Fate::Late;
        };
        let response = sent.elapsed();
        let outcome = outcome.unwrap_or_else(|_| Outcome::Error("stopped".into()));
        return match results::judge(shared, &item, outcome) {
            Ok(()) => {
                counters.delivered(shared.plan.segment, response);
                Fate::Delivered
            }
            Err(text) => {
                counters.error(&text);
                // An error ends the session's tie without a word.
                shared.registry.lock().untie(session);
                Fate::Error(text)
            }
        };
    }
}

/// The teardown notice: no url, only the session's name.
pub(super) async fn end_session(shared: &Shared, session: &str) {
    shared.files.lock().remove(session);
    let tied = shared.registry.lock().untie(session);
    let Some(orders) = tied else { return };
    let data = pb::SegData {
        auth_token: Some(pb::AuthToken { session_id: session.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let message = pb::NotifySegment { seg_data: Some(data), ..Default::default() };
    let _ = orders.send(Word::Notice(message.encode_to_vec().into())).await;
}

fn keep(shared: &Shared, session: &str, sequence: i64, bytes: Bytes) {
    let mut files = shared.files.lock();
    let kept: &mut VecDeque<(i64, Bytes)> = files.entry(session.to_owned()).or_default();
    if kept.len() == FILES {
        kept.pop_front();
    }
    kept.push_back((sequence, bytes));
}

/// What a stock orchestrator puts into a notice.
fn notice(shared: &Shared, session: &str, sequence: i64, task: i64, item: &Item) -> Bytes {
    let constraints =
        pb::capabilities::Constraints { min_version: shared.plan.min_version.clone(), ..Default::default() };
    let profile = |rendition: &crate::sim::library::Rendition| pb::VideoProfile {
        name: format!("{}p", rendition.height),
        width: i32::try_from(rendition.width).unwrap_or_default(),
        height: i32::try_from(rendition.height).unwrap_or_default(),
        bitrate: 250_000,
        format: pb::video_profile::Format::Mpegts.into(),
        profile: pb::video_profile::Profile::H264High.into(),
        ..Default::default()
    };
    let data = pb::SegData {
        manifest_id: format!("manifest-{session}").into_bytes().into(),
        seq: sequence,
        hash: Bytes::from_static(&[0; 32]),
        profiles: Bytes::from_static(b"invalid"),
        duration: i32::try_from(shared.plan.segment.as_millis()).unwrap_or(i32::MAX),
        capabilities: Some(pb::Capabilities {
            bitstring: vec![NEEDED],
            constraints: Some(constraints),
            ..Default::default()
        }),
        auth_token: Some(pb::AuthToken {
            token: Bytes::from_static(b"simulated"),
            session_id: session.to_owned(),
            expiration: i64::MAX,
        }),
        full_profiles: item.renditions.iter().map(profile).collect(),
        ..Default::default()
    };
    let message = pb::NotifySegment {
        url: format!("https://{}/stream/{session}/{sequence}.tempfile", shared.address),
        seg_data: Some(data),
        task_id: task,
        profiles: Bytes::from_static(b"invalid"),
        orch_id: "offchain".into(),
    };
    message.encode_to_vec().into()
}
