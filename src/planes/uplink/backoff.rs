//! Waits between tries: doubling, with chance, so that many do not come back at one moment.
use std::time::Duration;

pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, next: first }
    }

    /// It worked: the next wait is a first one again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// `chance` is from 0 to 1: half of the wait is sure, half by chance.
    pub(super) fn wait(&mut self, chance: f64) -> Duration {
        let wait = self.next.min(self.longest);
        self.next = (self.next * 2).min(self.longest);
        wait.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}
