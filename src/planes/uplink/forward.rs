//! Sends answers to the orchestrator that asked: a result once, an error in its place when the
//! result cannot be there in time. An unanswered task would cost us the registration.
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::registration::Kind;
use super::status::Side;
use super::{Uplink, multipart, post};
use crate::domain::ids::Epoch;
use crate::domain::time::Moment;
use crate::pool::{Recorded, TranscodeResult, Upstream};
use crate::telemetry;
use crate::transport::client::h1::H1;
use crate::transport::client::{Origin, Speak};
use post::{Outcome, Post};

/// A result that is not all out this long before the budget ends is cut off: the orchestrator
/// takes a broken body as an error result, and a late one as a reason to drop us.
const CUT: Duration = Duration::from_millis(100);
/// How long past the budget we wait for the answer to a result that is all out, and how long
/// error results are tried.
const WORD_AFTER: Duration = Duration::from_secs(5);
const ERROR_AFTER: Duration = Duration::from_secs(1);
/// A pause between tries to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// Error texts are short; a gateway reads them.
const MOST_TEXT: usize = 512;

/// The orchestrator's patience with one task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// From then on the task counts as lost there.
    end: Moment,
}

/// To whom an answer goes.
pub(super) struct Reply {
    pub(super) to: To,
    pub(super) task: i64,
    pub(super) epoch: Epoch,
    pub(super) budget: Budget,
}

/// As which kind of worker.
#[derive(Clone, Debug)]
pub(super) enum To {
    Segments,
    /// The orchestrator reads the answer by its pipeline's name.
    Ai {
        pipeline: &'static str,
    },
}

/// Why no connection could be had.
enum NoConn {
    Restarted,
    Unreachable(String),
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(received: Moment, budget: Duration) -> Budget {
        Budget { end: received + budget }
    }

    /// A result must be all out by then.
    pub(super) fn cut(&self) -> Moment {
        self.end.before(CUT)
    }
}

// === impl Reply ===

impl Reply {
    fn kind(&self) -> Kind {
        match self.to {
            To::Segments => Kind::Transcoder,
            To::Ai { .. } => Kind::Ai,
        }
    }
}

// === impl Uplink ===

impl Uplink {
    /// Forwards a segment's result.
    pub(super) async fn send_result(
        &self,
        reply: &Reply,
        answer_by: Moment,
        result: Arc<TranscodeResult>,
        recorded: Recorded,
    ) -> Upstream {
        let writer = multipart::segment_writer(&result);
        let pixels = result.decoded_pixels;
        let content = multipart::Content::Segment(result);
        let post = || {
            let body = multipart::body(content.clone(), writer.clone(), recorded.clone());
            Post::segment(self, reply, pixels, &writer, body)
        };
        self.send(reply, answer_by, &self.result_posts, reply.budget.cut(), post).await
    }

    /// Sends what `post` makes, once, or once more when nothing of it went out: on its way by
    /// `answer_by`, all out by `cut`. Whatever goes wrong, the task is answered.
    pub(super) async fn send(
        &self,
        reply: &Reply,
        answer_by: Moment,
        places: &Semaphore,
        cut: Moment,
        post: impl Fn() -> Post,
    ) -> Upstream {
        let clock = self.pool.clock();
        let due = clock.instant(answer_by);
        let late = || Upstream::Unsent("the result could not be on its way in time".into());
        let Ok(Ok(_place)) = timeout_at(due, places.acquire()).await else {
            self.send_error(reply, "the result came too late").await;
            return late();
        };
        let mut first = true;
        loop {
            let conn = match timeout_at(due, self.connection(reply, first)).await {
                Ok(Ok(conn)) => conn,
                Ok(Err(NoConn::Restarted)) => return Upstream::Unsent("the orchestrator restarted".into()),
                Ok(Err(NoConn::Unreachable(why))) => {
                    self.send_error(reply, "the result could not be sent").await;
                    return Upstream::Unsent(why);
                }
                Err(_) => {
                    self.send_error(reply, "the result came too late").await;
                    return late();
                }
            };
            let outcome = post().send(self, conn, clock.instant(cut), clock.instant(cut + WORD_AFTER)).await;
            if first && matches!(outcome, Outcome::Untouched(_)) {
                first = false;
                continue;
            }
            return self.after_result(reply, outcome).await;
        }
    }

    /// What became of a result, and an error result in its place where the task may still wait.
    async fn after_result(&self, reply: &Reply, outcome: Outcome) -> Upstream {
        let side = self.status.of(reply.kind());
        let upstream = match outcome {
            Outcome::Answered(200, _) => {
                Side::count(&side.results_accepted);
                self.count_late(reply);
                return Upstream::Accepted;
            }
            Outcome::Answered(status, text) => {
                Side::count(&side.results_refused);
                let said = format!("{status} {}", text.trim());
                telemetry::result_refused(self.name(), &said);
                side.note(&format!("a result was refused: {said}"));
                // A 500 is a body that broke on the way: taken as an error result already.
                if status >= 500 {
                    self.count_late(reply);
                    return Upstream::Refused(said);
                }
                Upstream::Refused(said)
            }
            Outcome::Cut => {
                Side::count(&side.errors_sent);
                telemetry::result_cut(self.name());
                return Upstream::Unsent("cut off at the orchestrator's budget".into());
            }
            Outcome::Untouched(why) | Outcome::Partial(why) => Upstream::Unsent(why),
            Outcome::Unsure(why) => Upstream::Unsure(why),
        };
        // If the orchestrator has the first answer, it takes no note of this one.
        self.send_error(reply, "the result was lost on the way").await;
        upstream
    }

    /// Sends an error result, more than once if need be: none at all would be worse.
    pub(super) async fn send_error(&self, reply: &Reply, text: &str) {
        let clock = self.pool.clock();
        let side = self.status.of(reply.kind());
        let end = clock.instant(reply.budget.end + ERROR_AFTER);
        let sent = timeout_at(end, self.try_error(reply, &harmless(text))).await;
        match sent.unwrap_or_else(|_| Err("no connection in time".into())) {
            Ok(()) => {
                Side::count(&side.errors_sent);
                self.count_late(reply);
            }
            Err(why) => {
                Side::count(&side.unanswered);
                telemetry::unanswered(self.name(), &why);
                side.note(&format!("a task could not be answered: {why}"));
            }
        }
    }

    async fn try_error(&self, reply: &Reply, text: &str) -> Result<(), String> {
        let closed = |_| "closing".to_owned();
        let _place = self.error_posts.acquire().await.map_err(closed)?;
        let end = self.pool.clock().instant(reply.budget.end + ERROR_AFTER);
        let mut posts = 0;
        let mut kept = true;
        loop {
            let conn = match self.connection(reply, kept).await {
                Ok(conn) => conn,
                Err(NoConn::Restarted) => return Err("the orchestrator restarted".into()),
                Err(NoConn::Unreachable(why)) => return Err(why),
            };
            let why = match Post::error(self, reply, text).send(self, conn, end, end).await {
                Outcome::Answered(200, _) => return Ok(()),
                Outcome::Answered(status, said) => return Err(format!("{status} {}", said.trim())),
                Outcome::Untouched(why) => why,
                Outcome::Partial(why) | Outcome::Unsure(why) => {
                    // A third answer to one task can hang the orchestrator's handler.
                    posts += 1;
                    why
                }
                Outcome::Cut => "no time left".into(),
            };
            if posts >= 2 {
                return Err(why);
            }
            kept = false;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A kept connection or a fresh one, to the very process that asked.
    async fn connection(&self, reply: &Reply, kept: bool) -> Result<H1, NoConn> {
        if kept && let Some(conn) = self.results.take(&self.origin) {
            return Ok(conn);
        }
        let until = self.pool.clock().instant(reply.budget.end);
        loop {
            let why = match self.fresh(&self.origin).await {
                Ok(conn) => {
                    let now = self.saw(conn.certificate());
                    return if now == reply.epoch { Ok(conn) } else { Err(NoConn::Restarted) };
                }
                Err(why) => why,
            };
            if tokio::time::Instant::now() + PAUSE >= until {
                return Err(NoConn::Unreachable(why));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn fresh(&self, origin: &Origin) -> Result<H1, String> {
        let dialled = self.dialer.dial(origin, Speak::H1).await.map_err(|why| why.to_string())?;
        H1::new(dialled).await.map_err(|why| why.to_string())
    }

    fn count_late(&self, reply: &Reply) {
        if self.pool.clock().now() > reply.budget.end {
            Side::count(&self.status.of(reply.kind()).answered_late);
            telemetry::answered_late(self.name());
        }
    }
}

/// An orchestrator may read the text as a format string, and a header of ours is no place for
/// line ends.
fn harmless(text: &str) -> String {
    let clean = text.chars().filter(|c| *c != '%' && !c.is_control()).take(MOST_TEXT).collect::<String>();
    if clean.is_empty() { "the pool could not do this task".into() } else { clean }
}
