//! One live video from its first worker to its end: who is lost gets a successor, who served is
//! written down.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::Live;
use super::far::Input;
use super::hire::Hired;
use super::job::Job;
use crate::domain::ids::ConnId;
use crate::domain::outcome::Failure;
use crate::pool::Upstream;
use crate::pool::ai::Passed;
use crate::telemetry;

/// What came of a worker's part.
enum Outcome {
    /// The job is over, since when, and whether its orchestrator knows.
    Over {
        why: &'static str,
        at: Instant,
        known: bool,
    },
    Lost(Failure),
}

/// Pixels of a second, as orchestrators charge it: 720p at 30 frames.
const SECOND: u64 = 1280 * 720 * 30;
const LOOK: Duration = Duration::from_secs(1);
/// Without an open request for so long a worker may have died; without its seat, too.
const IDLE: Duration = Duration::from_millis(500);
const UNSEATED: Duration = Duration::from_secs(3);
/// Between two searches for a successor.
const AGAIN: Duration = Duration::from_millis(500);

// === impl Live ===

impl Live {
    pub(super) async fn watch(self, job: Arc<Job>, mut hired: Hired) {
        self.count(1);
        let mut lost: Vec<ConnId> = Vec::new();
        let mut total = 0;
        let why = loop {
            let outcome = self.attend(&job, &hired).await;
            match outcome {
                Outcome::Over { why, at, known } => {
                    total += settle(&job, hired, at, None);
                    if !known {
                        self.close(&job).await;
                    }
                    break why;
                }
                Outcome::Lost(failure) => {
                    lost.push(hired.attempt.conn());
                    telemetry::live_moved(hired.attempt.worker(), &failure);
                    let hand = hired.listed.hand.clone();
                    hand.replace();
                    total += settle(&job, hired, hand.last(), Some(failure));
                    self.hand_over(&job, &hand.take_broken()).await;
                    match self.succeed(&job, &lost).await {
                        Some(next) => hired = next,
                        None => {
                            self.close(&job).await;
                            break "no worker is left for it";
                        }
                    }
                }
            }
        };
        job.ended.cancel();
        self.count(-1);
        telemetry::live_ended(&job.key.model, total, why);
    }

    /// Until the worker's part is over.
    async fn attend(&self, job: &Job, hired: &Hired) -> Outcome {
        let stop = self.inner.tasks.token();
        let over = |why, known| Outcome::Over { why, at: Instant::now(), known };
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = job.ended.cancelled() => return over("its channels ended", true),
                () = stop.cancelled() => return over("the pool is restarting", false),
                () = job.stir.notified() => {}
                _ = tick.tick() => {}
            }
            let look = async {
                let lost = self.lost(hired).await;
                if lost.is_some() || job.take_doubt() {
                    return (lost, self.input(job).await);
                }
                (None, Input::Lives)
            };
            let (lost, input) = tokio::select! {
                biased;
                () = job.ended.cancelled() => continue,
                () = stop.cancelled() => continue,
                found = look => found,
            };
            match (input, lost) {
                (Input::Over, _) => return over("its input ended", true),
                (Input::Unreachable, _) => {
                    let at = hired.listed.hand.last();
                    return Outcome::Over { why: "its orchestrator is gone", at, known: true };
                }
                (Input::Lives, Some(failure)) => return Outcome::Lost(failure),
                (Input::Lives, None) => {}
            }
        }
    }

    /// Why the worker is taken for lost.
    async fn lost(&self, hired: &Hired) -> Option<Failure> {
        let hand = &hired.listed.hand;
        if hand.has_left() {
            return Some(Failure::WorkerError("it stopped while the video went on".into()));
        }
        let quiet = hand.last().elapsed();
        if quiet > self.inner.limits.quiet {
            return Some(Failure::Timeout);
        }
        if quiet > UNSEATED && !self.inner.shared.pool.ai_seated(hired.attempt.conn()) {
            return Some(Failure::Disconnected);
        }
        // One that lives always has a request open.
        if quiet > IDLE && hand.open() == 0 && !self.answers(&hand.runner).await && hand.open() == 0 {
            return Some(Failure::Disconnected);
        }
        None
    }

    /// The next worker, if there is one in time.
    async fn succeed(&self, job: &Arc<Job>, lost: &[ConnId]) -> Option<Hired> {
        if lost.len() >= self.inner.limits.workers as usize {
            return None;
        }
        let until = Instant::now() + self.inner.limits.succeed_within;
        let stop = self.inner.tasks.token();
        let search = async {
            loop {
                // No wait in the pool: who has just joined is seen only by a new search.
                match self.hire(job, lost, Duration::ZERO).await {
                    Ok(hired) => return Some(hired),
                    Err(Failure::InputError(_)) => return None,
                    Err(_) => sleep(AGAIN).await,
                }
            }
        };
        tokio::select! {
            () = job.ended.cancelled() => None,
            () = stop.cancelled() => None,
            found = timeout_at(until, search) => found.ok().flatten(),
        }
    }

    fn count(&self, change: isize) {
        let before = self.inner.live.fetch_add(change, Ordering::Relaxed);
        telemetry::live_jobs(usize::try_from(before + change).unwrap_or(0));
    }
}

/// Writes down what a worker has served until `end`; its seconds. One from whom no video came has
/// delivered nothing, whatever it said at its start.
fn settle(job: &Job, hired: Hired, end: Instant, failure: Option<Failure>) -> u64 {
    let Hired { listed, mut ticket, attempt, began } = hired;
    let hand = &listed.hand;
    let seconds = job.seconds(end).saturating_sub(job.seconds(began));
    let (sent, made) = (hand.sent.load(Ordering::Relaxed), hand.made.load(Ordering::Relaxed));
    if seconds == 0 || made == 0 {
        let failure = failure.unwrap_or_else(|| Failure::Pool("it ended before any video came out".into()));
        ticket.fail(attempt.lost(failure));
        return 0;
    }
    telemetry::live_served(attempt.worker(), seconds);
    let passed = Passed { usage: None, bytes_in: sent, bytes_out: made, scored: false };
    let conn = attempt.conn();
    ticket.passed(attempt, passed, Some(seconds.saturating_mul(SECOND)));
    if let Some(failure) = failure {
        ticket.blame(conn, &failure);
    }
    ticket.close(&Upstream::Accepted);
    seconds
}
