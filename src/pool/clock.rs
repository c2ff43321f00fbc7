//! The only clock: monotonic moments and wall milliseconds.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Moment;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

// === impl Clock ===

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the clock's one home")]
    pub fn start() -> Clock {
        Clock { began: Instant::now() }
    }

    pub fn now(&self) -> Moment {
        Moment::default() + self.began.elapsed()
    }

    /// For timers: the tokio instant of a moment.
    pub fn instant(&self, at: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.began) + Duration::from_micros(at.0)
    }

    pub fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
