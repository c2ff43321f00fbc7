//! Which capabilities and apps the pool has now, looked at a few times a second for all who ask.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::time::Moment;
use crate::pool::Pool;
use crate::pool::clock::Clock;
use crate::transport::Tasks;

/// Jobs at once, by capability or app; none has 0.
pub(in crate::planes::runner) type Present = BTreeMap<ModelKey, u32>;

/// Cheap to clone.
#[derive(Clone)]
pub(in crate::planes::runner) struct Presence {
    now: watch::Receiver<Arc<Present>>,
    seen: Arc<Mutex<HashMap<ModelKey, Moment>>>,
    clock: Clock,
}

const LOOK: Duration = Duration::from_millis(250);
/// Names that are remembered after their last runner left.
const REMEMBERED: usize = 10_000;

// === impl Presence ===

impl Presence {
    pub(in crate::planes::runner) fn start(pool: &Pool, tasks: &Tasks) -> Presence {
        let (sender, now) = watch::channel(Arc::new(look(pool)));
        let presence = Presence { now, seen: Arc::default(), clock: pool.clock() };
        let (pool, stop, mine) = (pool.clone(), tasks.token(), presence.clone());
        tasks.spawn("runner presence", async move {
            let mut tick = tokio::time::interval(LOOK);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = tick.tick() => {}
                }
                let present = look(&pool);
                mine.saw(&present);
                sender.send_if_modified(|now| {
                    let changed = **now != present;
                    if changed {
                        *now = Arc::new(present);
                    }
                    changed
                });
            }
        });
        presence
    }

    pub(in crate::planes::runner) fn now(&self) -> Arc<Present> {
        self.now.borrow().clone()
    }

    pub(in crate::planes::runner) fn watch(&self) -> watch::Receiver<Arc<Present>> {
        self.now.clone()
    }

    /// Whether it is here, or was within `grace`.
    pub(in crate::planes::runner) fn lately(&self, key: &ModelKey, grace: Duration) -> bool {
        if self.now.borrow().contains_key(key) {
            return true;
        }
        self.seen.lock().get(key).is_some_and(|seen| self.clock.now().since(*seen) < grace)
    }

    fn saw(&self, present: &Present) {
        let now = self.clock.now();
        let mut seen = self.seen.lock();
        for key in present.keys() {
            if seen.len() < REMEMBERED || seen.contains_key(key) {
                seen.insert(key.clone(), now);
            }
        }
    }
}

fn look(pool: &Pool) -> Present {
    let ours = |pipeline| matches!(pipeline, Pipeline::Byoc | Pipeline::App);
    let offers = pool.ai_models().into_iter().filter(|offer| ours(offer.key.pipeline) && offer.capacity > 0);
    offers.map(|offer| (offer.key, offer.capacity)).collect()
}
