//! One notice: download, transcode, post, as a stock transcoder does it or as this one's ways are.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use rand::Rng;
use tokio::time::sleep;

use super::register::Registration;
use super::transcode::{self, Made};
use super::{Behaviour, Shared};
use crate::domain::capability::{Bits, Capabilities};
use crate::sim::body::{Chunks, Upload};
use crate::wire::headers::{
    CREDENTIALS, ERROR_TYPE, INCOMPATIBLE, MPEGTS_TYPE, PIXELS, RESULTS_PATH, TASK_ID, TRANSCODER_AUTHORIZATION,
};
use crate::wire::messages::{Notice, NoticeKind, read_notice};
use crate::wire::multipart::{PartOut, Writer};

/// How much a cheat adds.
const CHEAT: u64 = 4;

/// Counts a job while it runs.
struct Running<'a>(&'a Shared);

/// What arrives on the stream.
pub(super) fn take(shared: &Arc<Shared>, registration: &Arc<Registration>, message: Bytes) {
    let (task, work) = match read_notice(&message) {
        Ok(NoticeKind::EndSession { .. }) => {
            shared.counters.ended_sessions.fetch_add(1, Relaxed);
            return;
        }
        Ok(NoticeKind::Segment(notice)) => (notice.task, Ok(notice)),
        Err(bad) => match bad.task {
            Some(task) => (task, Err(bad.text)),
            None => return,
        },
    };
    let (shared, owned) = (shared.clone(), registration.clone());
    registration.jobs.spawn(async move {
        let running = Running::begin(&shared);
        match work {
            Ok(notice) => work_on(&shared, &owned, &notice).await,
            Err(words) => post_error(&shared, &owned, task, words).await,
        }
        drop(running);
    });
}

async fn work_on(shared: &Arc<Shared>, registration: &Registration, notice: &Notice) {
    let plan = &shared.plan;
    let capabilities = Capabilities { bits: Bits(vec![plan.bits]), version: plan.version.clone() };
    if capabilities.fits(&notice.need).is_err() {
        return post_error(shared, registration, notice.task, INCOMPATIBLE).await;
    }
    let source = match shared.downloads.get(&shared.tasks, &notice.url).await {
        Ok(source) => source,
        Err(words) => return post_error(shared, registration, notice.task, &words).await,
    };
    match plan.behaviour {
        Behaviour::Fails { rate } if shared.rolls(rate) => {
            sleep(time(shared, notice) / 2).await;
            return post_error(shared, registration, notice.task, "simulated: no free encoder").await;
        }
        Behaviour::Hangs { rate } if shared.rolls(rate) => sleep(plan.hang).await,
        Behaviour::Dies { rate } if shared.rolls(rate) => {
            sleep(time(shared, notice) / 2).await;
            registration.connections.end();
            return;
        }
        _ => {}
    }
    let pause = time(shared, notice);
    match transcode::run(shared, &source, notice, pause).await {
        Ok(made) => post_result(shared, registration, notice.task, bent(plan.behaviour, made, &source)).await,
        Err(words) => post_error(shared, registration, notice.task, &words).await,
    }
}

/// How long a job takes now: more than `knee` at once share the speed of `knee`.
fn time(shared: &Shared, notice: &Notice) -> Duration {
    let plan = &shared.plan;
    let running = f64::from(shared.counters.running.load(Relaxed));
    let crowd = (running / f64::from(plan.knee.max(1))).max(1.0);
    let spread = shared.chance.lock().random_range(0.9..1.1);
    let duration = Duration::from_millis(u64::from(notice.duration_ms.unsigned_abs()));
    duration.mul_f64((plan.ratio * crowd * spread).clamp(0.0, 1000.0))
}

/// What this worker makes of honest work.
fn bent(behaviour: Behaviour, mut made: Made, source: &Bytes) -> Made {
    match behaviour {
        Behaviour::Cheats => made.parts.iter_mut().for_each(|part| part.pixels *= CHEAT),
        Behaviour::Echoes => made.parts.iter_mut().for_each(|part| part.bytes = source.clone()),
        _ => {}
    }
    made
}

async fn post_result(shared: &Shared, registration: &Registration, task: i64, made: Made) {
    let heads: Vec<PartOut<'_>> = made
        .parts
        .iter()
        .map(|part| PartOut { content_type: MPEGTS_TYPE, length: part.bytes.len() as u64, pixels: Some(part.pixels) })
        .collect();
    let writer = Writer::new(shared.chance.lock().random(), &heads);
    let pairs = made.parts.into_iter().enumerate().flat_map(|(n, part)| [writer.head(n), part.bytes]);
    let body = Chunks::new(pairs.chain([writer.tail()]));
    let body = if shared.plan.behaviour == Behaviour::Stalls { body.stalling() } else { body };
    post(shared, registration, task, made.decoded, &writer.content_type(), body).await;
}

async fn post_error(shared: &Shared, registration: &Registration, task: i64, words: &str) {
    let body = Chunks::new([Bytes::copy_from_slice(words.as_bytes())]);
    post(shared, registration, task, 0, ERROR_TYPE, body).await;
}

async fn post(shared: &Shared, registration: &Registration, task: i64, pixels: u64, kind: &str, body: Chunks) {
    let request = Request::post(format!("https://{}{RESULTS_PATH}", shared.pool))
        .header(header::AUTHORIZATION, HeaderValue::from_static(TRANSCODER_AUTHORIZATION))
        .header(CREDENTIALS, &shared.plan.secret)
        .header(TASK_ID, task)
        .header(PIXELS, pixels)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, body.length())
        .header(header::USER_AGENT, "Go-http-client/2.0")
        .body(Upload::Whole(body));
    let Ok(request) = request else { return };
    let counters = &shared.counters;
    match registration.results.post(request).await {
        Ok((StatusCode::OK, _)) => {
            counters.taken.fetch_add(1, Relaxed);
        }
        Ok((status, words)) => {
            counters.refused.fetch_add(1, Relaxed);
            counters.words.lock().refusal = Some(format!("{} {words}", status.as_u16()));
        }
        Err(_) => {
            counters.lost.fetch_add(1, Relaxed);
        }
    }
}

// === impl Running ===

impl Running<'_> {
    fn begin(shared: &Shared) -> Running<'_> {
        let counters = &shared.counters;
        counters.jobs.fetch_add(1, Relaxed);
        let now = counters.running.fetch_add(1, Relaxed) + 1;
        counters.most_at_once.fetch_max(now, Relaxed);
        Running(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.counters.running.fetch_sub(1, Relaxed);
    }
}
