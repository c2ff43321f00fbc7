//! Sessions of apps, and what of them is not accounted yet.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::PriceUnit;
use crate::domain::ids::{OrchestratorName, SessionKey, WorkerName};
use crate::domain::time::Moment;

/// Pixels that a second of `720p` counts as.
const PIXELS: u64 = 1280 * 720 * 30;
const MOST_SESSIONS: usize = 20_000;

/// Every session that made a request here a while ago or later. Cheap to clone.
#[derive(Clone)]
pub(in crate::planes::runner) struct Sessions {
    all: Arc<Mutex<HashMap<SessionKey, Shared>>>,
    idle: Duration,
}

/// Outlives its place in the map: a request may end after its session.
type Shared = Arc<Mutex<Session>>;

struct Session {
    app: Arc<str>,
    runner: Option<WorkerName>,
    first: Moment,
    last: Moment,
    /// Requests under way, and since when there is one.
    running: u32,
    since: Moment,
    /// Time in which one was under way, up to `since`.
    busy: Duration,
    billed: u64,
    stop: CancellationToken,
}

/// One request of a session.
pub(in crate::planes::runner) struct Visit {
    sessions: Sessions,
    session: Shared,
    key: SessionKey,
    app: Arc<str>,
    /// Cancelled when the orchestrator has ended the session.
    pub(in crate::planes::runner) stop: CancellationToken,
    clock: crate::pool::clock::Clock,
}

// === impl Sessions ===

impl Sessions {
    pub(in crate::planes::runner) fn new(idle: Duration) -> Sessions {
        Sessions { all: Arc::default(), idle }
    }

    /// None: too many.
    pub(in crate::planes::runner) fn visit(
        &self,
        key: SessionKey,
        app: &Arc<str>,
        clock: crate::pool::clock::Clock,
    ) -> Option<Visit> {
        let now = clock.now();
        let mut all = self.all.lock();
        if all.len() >= MOST_SESSIONS && !all.contains_key(&key) {
            all.retain(|_, session| {
                let session = session.lock();
                session.running > 0 || now.since(session.last) < self.idle
            });
            if all.len() >= MOST_SESSIONS {
                return None;
            }
        }
        let new = || {
            Arc::new(Mutex::new(Session {
                app: app.clone(),
                runner: None,
                first: now,
                last: now,
                running: 0,
                since: now,
                busy: Duration::ZERO,
                billed: 0,
                stop: CancellationToken::new(),
            }))
        };
        let shared = all.entry(key.clone()).or_insert_with(new).clone();
        drop(all);
        let stop = {
            let mut session = shared.lock();
            session.count(now);
            session.running += 1;
            session.last = now;
            session.stop.clone()
        };
        Some(Visit { sessions: self.clone(), session: shared, key, app: app.clone(), stop, clock })
    }

    /// Sessions of an app at one orchestrator.
    pub(in crate::planes::runner) fn of(&self, app: &str, orchestrator: &OrchestratorName) -> Vec<String> {
        let all = self.all.lock();
        let mine = all.iter().filter(|(key, one)| *one.lock().app == *app && key.orchestrator == *orchestrator);
        mine.map(|(key, _)| key.session.to_string()).collect()
    }

    /// Sessions at one runner.
    pub(in crate::planes::runner) fn at(&self, runner: &WorkerName) -> Vec<String> {
        let all = self.all.lock();
        let there = all.iter().filter(|(_, session)| session.lock().runner.as_ref() == Some(runner));
        there.map(|(key, _)| key.session.to_string()).collect()
    }

    /// Ends those that the orchestrator does not name. One that began after `asked` may be too new
    /// for its answer.
    pub(in crate::planes::runner) fn keep_only(
        &self,
        app: &str,
        orchestrator: &OrchestratorName,
        named: &[String],
        asked: Moment,
    ) -> Vec<SessionKey> {
        let mut all = self.all.lock();
        let gone = |(key, session): &(&SessionKey, &Shared)| {
            let session = session.lock();
            *session.app == *app
                && key.orchestrator == *orchestrator
                && session.first < asked
                && !named.iter().any(|name| **name == *key.session)
        };
        let gone: Vec<SessionKey> = all.iter().filter(gone).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            if let Some(session) = all.remove(key) {
                session.lock().stop.cancel();
            }
        }
        gone
    }

    /// Ends the session of an app that is idle for longest, and for at least `least`.
    pub(in crate::planes::runner) fn oldest_idle(&self, app: &str, least: Duration, now: Moment) -> Option<SessionKey> {
        let mut all = self.all.lock();
        let idle = |(key, session): (&SessionKey, &Shared)| {
            let session = session.lock();
            let idle = *session.app == *app && session.running == 0 && now.since(session.last) >= least;
            idle.then(|| (session.last, key.clone()))
        };
        let (_, key) = all.iter().filter_map(idle).min_by_key(|(last, _)| *last)?;
        all.remove(&key);
        Some(key)
    }
}

// === impl Session ===

impl Session {
    /// Brings `busy` up to now.
    fn count(&mut self, now: Moment) {
        if self.running > 0 {
            self.busy += now.since(self.since);
        }
        self.since = now;
    }

    /// Started seconds, or as the unit says, that nobody was charged for yet.
    fn due(&mut self, unit: PriceUnit, now: Moment) -> u64 {
        self.count(now);
        let seconds = u64::try_from(self.busy.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1);
        let whole = match unit {
            PriceUnit::Hour => seconds,
            PriceUnit::P720 => seconds.saturating_mul(PIXELS),
            PriceUnit::Fixed => 1,
        };
        let due = whole.saturating_sub(self.billed);
        self.billed = whole;
        due
    }
}

// === impl Visit ===

impl Visit {
    pub(in crate::planes::runner) fn key(&self) -> &SessionKey {
        &self.key
    }

    pub(in crate::planes::runner) fn app(&self) -> Arc<str> {
        self.app.clone()
    }

    /// Its runner.
    pub(in crate::planes::runner) fn goes_to(&self, runner: &WorkerName) {
        self.session.lock().runner = Some(runner.clone());
    }

    /// The session is over with this request.
    pub(in crate::planes::runner) fn last(&self) {
        self.sessions.all.lock().remove(&self.key);
    }

    /// Units since the session was charged last; what runs side by side counts once.
    pub(in crate::planes::runner) fn due(&self, unit: PriceUnit) -> u64 {
        let now = self.clock.now();
        self.session.lock().due(unit, now)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut session = self.session.lock();
        session.count(now);
        session.running = session.running.saturating_sub(1);
        session.last = now;
    }
}
