//! Sessions that submit segments: in real time, one after the other, or at a fixed rate.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Shared, Traffic, segment};

/// Segments that wait behind the running one of their session; the next gets `OrchestratorBusy`.
const BUFFER: usize = 4;

pub(super) fn start(shared: &Arc<Shared>, traffic: Traffic) {
    match traffic {
        Traffic::None => {}
        Traffic::Streams(streams) => {
            let mut chance = SmallRng::seed_from_u64(shared.plan.seed);
            for stream in 0..streams {
                let late = shared.plan.segment.mul_f64(chance.random::<f64>());
                shared.traffic.spawn(live(shared.clone(), stream, late));
            }
        }
        Traffic::Closed { sessions } => {
            for session in 0..sessions {
                shared.traffic.spawn(closed(shared.clone(), session));
            }
        }
        Traffic::Open { per_second, sessions } => {
            shared.traffic.spawn(open(shared.clone(), per_second, sessions));
        }
    }
}

/// A session's loop: one segment after the other, until nobody submits any more.
fn session(shared: &Arc<Shared>, name: String, offset: usize) -> mpsc::Sender<i64> {
    let (submit, mut waiting) = mpsc::channel::<i64>(BUFFER);
    let owned = shared.clone();
    shared.traffic.spawn(async move {
        while let Some(sequence) = waiting.recv().await {
            let n = offset.wrapping_add(sequence.unsigned_abs() as usize);
            segment::run(&owned, &name, sequence, n).await;
        }
        segment::end_session(&owned, &name).await;
    });
    submit
}

fn submit(shared: &Shared, session: &mpsc::Sender<i64>, sequence: i64) {
    if session.try_send(sequence).is_err() {
        shared.counters.dropped_by_buffer.fetch_add(1, Relaxed);
    }
}

fn name(shared: &Shared, stream: usize, life: u64) -> String {
    format!("{:04x}{:04x}{stream:04x}{life:04x}", shared.address.port(), shared.plan.seed & 0xffff)
}

/// One stream: a segment every segment duration, sessions renewed as planned.
async fn live(shared: Arc<Shared>, stream: usize, late: Duration) {
    sleep(late).await;
    let mut tick = interval(shared.plan.segment);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let length = shared.plan.session_length.unwrap_or(u64::MAX).max(1);
    let (mut life, mut sequence) = (0, 0);
    let mut running = session(&shared, name(&shared, stream, life), stream);
    loop {
        tokio::select! {
            () = shared.quiet.cancelled() => return,
            _ = tick.tick() => {}
        }
        if u64::try_from(sequence).unwrap_or_default() == length {
            (life, sequence) = (life + 1, 0);
            running = session(&shared, name(&shared, stream, life), stream);
        }
        submit(&shared, &running, sequence);
        sequence += 1;
    }
}

async fn closed(shared: Arc<Shared>, stream: usize) {
    let name = name(&shared, stream, 0);
    let mut sequence = 0;
    while !shared.quiet.is_cancelled() {
        let n = stream.wrapping_add(sequence as usize);
        if segment::run(&shared, &name, sequence, n).await == super::Fate::NoTranscoder {
            sleep(Duration::from_millis(20)).await;
        }
        sequence += 1;
    }
    segment::end_session(&shared, &name).await;
}

async fn open(shared: Arc<Shared>, per_second: f64, sessions: usize) {
    let running: Vec<_> = (0..sessions.max(1)).map(|n| session(&shared, name(&shared, n, 0), n)).collect();
    let mut tick = interval(Duration::from_secs_f64(1.0 / per_second.clamp(0.001, 100_000.0)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for (n, to) in (0i64..).zip(running.iter().cycle()) {
        tokio::select! {
            () = shared.quiet.cancelled() => return,
            _ = tick.tick() => {}
        }
        submit(&shared, to, n);
    }
}
