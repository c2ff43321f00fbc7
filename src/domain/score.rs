//! The live score: how many seconds a worker takes for a unit of work, by job class and
//! concurrency. Time-decayed sums that fall back to the fleet's prior, never to zero.
//! Reads change nothing; `now` is an argument. (Design: routing 5.1 and 5.2.)
use super::job::Class;
use super::time::Moment;

/// Constants of the estimator, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreParams {
    pub slow_tau: f64,
    pub fast_tau: f64,
    /// Weight of the prior, in samples.
    pub prior_weight: f64,
    /// The prior is this times the fleet's median.
    pub prior_factor: f64,
    /// Seconds a unit where nobody has any data.
    pub default_ratio: f64,
    /// Time constant of the success and failure counts.
    pub outcome_tau: f64,
}

/// Everything known of one seat's speed and honesty.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    // filled in by the scorer: at most 64 classes, the least recently used goes
    classes: Vec<ClassScore>,
}

#[derive(Clone, Debug)]
struct ClassScore {
    class: Class,
}

impl Default for ScoreParams {
    fn default() -> Self {
        ScoreParams {
            slow_tau: 60.0,
            fast_tau: 15.0,
            prior_weight: 1.0,
            prior_factor: 1.25,
            default_ratio: 0.5,
            outcome_tau: 120.0,
        }
    }
}

// === impl Scores ===

impl Scores {
    /// A good, verified, warm attempt took `ratio` seconds a unit at `concurrency`.
    pub fn sample(&mut self, class: Class, concurrency: f64, ratio: f64, now: Moment, params: &ScoreParams) {
        let _ = (class, concurrency, ratio, now, params);
    }
    /// The first segment of a session took `seconds` longer than the score says.
    pub fn init_sample(&mut self, class: Class, seconds: f64, now: Moment) {
        let _ = (class, seconds, now);
    }
    pub fn succeeded(&mut self, class: Class, now: Moment, params: &ScoreParams) {
        let _ = (class, now, params);
    }
    /// `weight` is 1, or 2 for a timeout.
    pub fn failed(&mut self, class: Class, weight: f64, now: Moment, params: &ScoreParams) {
        let _ = (class, weight, now, params);
    }
    /// Seconds a unit at `concurrency`, shrunk towards `prior`. In-flight age is added by the caller.
    pub fn ratio(&self, class: Class, concurrency: f64, prior: f64, now: Moment, params: &ScoreParams) -> f64 {
        let _ = (class, concurrency, now, params);
        prior
    }
    /// Extra seconds of the first segment of a session.
    pub fn init(&self, class: Class) -> f64 {
        let _ = class;
        0.0
    }
    /// The chance that an attempt fails, with a 1 % prior.
    pub fn failure_rate(&self, class: Class, now: Moment, params: &ScoreParams) -> f64 {
        let _ = (class, now, params);
        0.01
    }
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
}
