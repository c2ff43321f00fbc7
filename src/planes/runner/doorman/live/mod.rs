//! live-video-to-video: a worker gets addresses of ours, behind which are the orchestrator's
//! channels, and another worker goes on where one is lost.
mod far;
mod guard;
mod hand;
mod hire;
mod job;
mod trickle;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::AtomicIsize;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::hand::Hand;
use self::job::Job;
use super::{Shared, pipeline, refusal};
use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure;
use crate::planes::runner::answer::Answer;
use crate::planes::runner::body::Prelude;
use crate::planes::runner::config::LiveLimits;
use crate::planes::runner::door::Decision;
use crate::planes::runner::route::Manner;
use crate::transport::Tasks;
use crate::transport::client::Dialer;
use crate::wire::ai;

/// What live videos need besides the rest of the doorman.
pub struct VideoParts {
    pub limits: LiveLimits,
    /// To orchestrators, whose certificates are their own.
    pub dialer: Dialer,
    /// They end with these.
    pub tasks: Tasks,
}

/// Every live video of the port. Cheap to clone.
#[derive(Clone)]
pub(super) struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    limits: LiveLimits,
    dialer: Dialer,
    tasks: Tasks,
    /// Where they were started.
    runtime: Handle,
    /// How workers reach the port.
    base: OnceLock<String>,
    /// By what their addresses begin with.
    hands: RwLock<HashMap<Box<str>, Arc<Hand>>>,
    room: Arc<Semaphore>,
    live: AtomicIsize,
}

const PIPELINE: Pipeline = Pipeline::LiveVideoToVideo;

// === impl Live ===

impl Live {
    /// Inside the runtime in which `config.tasks` run.
    pub(super) fn new(shared: Arc<Shared>, config: VideoParts) -> Live {
        let VideoParts { limits, dialer, tasks } = config;
        let room = Arc::new(Semaphore::new(limits.jobs.min(Semaphore::MAX_PERMITS)));
        let (runtime, base, hands) = (Handle::current(), OnceLock::new(), RwLock::default());
        let live = AtomicIsize::new(0);
        Live { inner: Arc::new(Inner { shared, limits, dialer, tasks, runtime, base, hands, room, live }) }
    }

    pub(super) fn reached_at(&self, base: &str) {
        let _ = self.inner.base.set(base.trim_end_matches('/').to_owned());
    }

    fn base(&self) -> &str {
        self.inner.base.get().map_or("", String::as_str)
    }

    /// Has a worker begin, and tells the orchestrator so; all else goes by the channels.
    pub(super) async fn admit(&self, prefix: &str, body: Prelude) -> Decision {
        let Prelude::Whole(request) = body else {
            return refusal::failure(PIPELINE, &Failure::Pool("the request was not read".into()));
        };
        let Ok(room) = self.inner.room.clone().try_acquire_owned() else {
            let why = format!("{} live videos are at work here, and no more are taken", self.inner.limits.jobs);
            let manner = Manner::Runner(PIPELINE);
            return Decision::Answer(Answer::fault(manner, StatusCode::INTERNAL_SERVER_ERROR, &why));
        };
        let key = ai::check_request(PIPELINE, &request).and_then(|facts| pipeline::model(prefix, PIPELINE, &facts));
        let job = match key {
            Ok(key) => Job::of(key, &request, &self.inner.shared.config.limits, room).await,
            Err(bad) => Err(bad),
        };
        let job = match job {
            Ok(job) => Arc::new(job),
            Err(bad) => return refusal::bad_request(&bad),
        };
        let hired = match self.hire(&job, &[], self.inner.shared.config.wait).await {
            Ok(hired) => hired,
            Err(failure) => return refusal::failure(PIPELINE, &failure),
        };
        job.begin(hired.began);
        {
            // The port's threads end before its videos are written down.
            let _runtime = self.inner.runtime.enter();
            self.inner.tasks.spawn("live video", self.clone().watch(job, hired));
        }
        // Any object will do; the runner's own would show our addresses.
        Decision::Answer(Answer::json(StatusCode::OK, Bytes::from_static(b"{}")))
    }
}
