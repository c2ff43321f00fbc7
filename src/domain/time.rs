//! Time as an argument: a point on the process's monotonic clock.
use std::ops::Add;
use std::time::Duration;

/// Microseconds since the process's clock began. Monotonic; says nothing about the date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

// === impl Moment ===

impl Moment {
    /// Time since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since `earlier`, for the estimator's arithmetic.
    pub fn secs_since(self, earlier: Moment) -> f64 {
        self.since(earlier).as_secs_f64()
    }

    /// The moment `span` before this one, or the clock's beginning.
    pub fn before(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(micros(span)))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(micros(span)))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
