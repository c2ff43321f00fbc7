//! A transcoding job as an orchestrator asked for it.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ai::ModelKey;
use super::capability::Need;
use super::ids::{Epoch, JobId, SessionKey};
use super::print::Print;
use super::time::Moment;
use super::work::{Clip, Profile, ladder_cost};

/// What makes service times comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Ladder bucket of a transcode job: floor(log2(ladder cost in 720p30)).
    Ladder(i8),
    /// An AI model: a print of its pipeline and name.
    Model(u64),
}

/// All that the pool needs to know of a segment. Cheap to clone behind an `Arc`.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: JobId,
    pub session: SessionKey,
    pub epoch: Epoch,
    /// The orchestrator's own number; 0 is a real one.
    pub upstream_task: i64,
    pub manifest: Arc<str>,
    pub sequence: i64,
    /// Of the source, as announced; 0 on the wire is read as 2 s.
    pub duration: Duration,
    pub profiles: Arc<[Profile]>,
    pub need: Need,
    pub wants_hash: bool,
    pub clip: Option<Clip>,
    /// The orchestrator's message as received; url and task number are patched in at dispatch.
    pub message: Bytes,
    pub received: Moment,
    pub received_unix_ms: u64,
    /// The answer must be on its way by then: budget less the margin.
    pub answer_by: Moment,
}

// === impl Class ===

impl Class {
    pub fn of_model(key: &ModelKey) -> Class {
        let mut print = Print::default();
        print.feed(key.pipeline.name().as_bytes());
        print.feed(b"/");
        print.feed(key.model.as_bytes());
        Class::Model(print.finish())
    }
}

// === impl Job ===

impl Job {
    pub fn class(&self) -> Class {
        Class::Ladder(ladder_cost(&self.profiles).log2().floor() as i8)
    }

    /// Seconds of source x ladder cost within the bucket (1.0 to 2.0).
    pub fn units(&self) -> f64 {
        let cost = ladder_cost(&self.profiles);
        self.duration.as_secs_f64() * cost / cost.log2().floor().exp2()
    }

    /// Slower than this and the gateway loses patience: max(1.5 s, 0.8 x duration).
    pub fn soft_target(&self) -> f64 {
        (0.8 * self.duration.as_secs_f64()).max(1.5)
    }
}

/// go-livepeer's budget for a segment: max(8 s, 4 x duration).
pub fn budget(duration: Duration) -> Duration {
    Duration::from_secs(8).max(duration * 4)
}
