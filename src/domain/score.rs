//! The live score: how many seconds a worker takes for a unit of work, by job class and
//! concurrency. Time-decayed sums that fall back to the fleet's prior, never to zero.
//! Reads change nothing; `now` is an argument. (Design: routing 5.1 and 5.2.)
use super::job::Class;
use super::time::Moment;

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// At most `MOST_CLASSES`; the least recently used goes. A linear search: most have one or two.
    classes: Vec<ClassScore>,
}

/// Classes that one seat remembers.
pub const MOST_CLASSES: usize = 64;

/// Concurrency 1, 2, 3-4, 5-8, 9-16, 17 and more.
const BUCKETS: usize = 6;
/// The concurrency that stands for a bucket when one is guessed from another.
const MIDDLE: [f64; BUCKETS] = [1.0, 2.0, 3.5, 6.5, 12.5, 24.0];
/// How service time grows with concurrency where nothing was measured.
const GROWTH: f64 = 0.7;
/// Samples that must be left of a fast mean before it is heard.
const FAST_HEARD: f64 = 0.3;
/// A bucket with less than this left counts as missing when another has more.
const FADED: f64 = 0.02;
/// Smoothing of the first segment's extra seconds.
const INIT_ALPHA: f32 = 0.3;
/// Nothing sane takes longer than this many seconds a unit.
const WORST_RATIO: f64 = 10_000.0;

/// Single precision and no pointers: a scan over ten thousand seats reads these.
#[derive(Clone, Debug, PartialEq)]
struct ClassScore {
    class: Class,
    /// Extra seconds of a session's first segment; negative before the first sample.
    init: f32,
    good: f32,
    bad: f32,
    outcomes_at: Moment,
    used: Moment,
    buckets: [Bucket; BUCKETS],
}

/// Decayed weight and sum of the samples at one concurrency, slow and fast, as of `at`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bucket {
    at: Moment,
    slow_weight: f32,
    slow_sum: f32,
    fast_weight: f32,
    fast_sum: f32,
    /// Seconds after `at` until too little is left of either: a read then needs no exponential
    /// to know it.
    slow_lasts: f32,
    fast_lasts: f32,
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
        if !ratio.is_finite() || ratio < 0.0 {
            return;
        }
        let ratio = ratio.min(WORST_RATIO);
        let bucket = &mut self.entry(class, now).buckets[bucket_of(concurrency)];
        bucket.add(ratio as f32, now, params);
    }

    /// The first segment of a session took `seconds` longer than the score says.
    pub fn init_sample(&mut self, class: Class, seconds: f64, now: Moment) {
        if !seconds.is_finite() {
            return;
        }
        let seconds = seconds.clamp(0.0, 600.0) as f32;
        let entry = self.entry(class, now);
        entry.init = if entry.init < 0.0 { seconds } else { entry.init + INIT_ALPHA * (seconds - entry.init) };
    }

    pub fn succeeded(&mut self, class: Class, now: Moment, params: &ScoreParams) {
        let entry = self.entry(class, now);
        entry.fade_outcomes(now, params);
        entry.good += 1.0;
    }

    /// `weight` is 1, or 2 for a timeout.
    pub fn failed(&mut self, class: Class, weight: f64, now: Moment, params: &ScoreParams) {
        let entry = self.entry(class, now);
        entry.fade_outcomes(now, params);
        entry.bad += weight.clamp(0.0, 10.0) as f32;
    }

    /// Seconds a unit at `concurrency`, shrunk towards `prior`. In-flight age is added by the caller.
    /// A bucket without data is guessed from the next lower one times the growth with concurrency,
    /// else from the next higher one as it is, else from the prior, which is one for concurrency 1.
    pub fn ratio(&self, class: Class, concurrency: f64, prior: f64, now: Moment, params: &ScoreParams) -> f64 {
        let Some(score) = self.find(class) else { return prior * growth(concurrency) };
        let wanted = bucket_of(concurrency);
        let fresh = |b: &usize| score.buckets[*b].is_fresh(now);
        let any = |b: &usize| score.buckets[*b].slow_weight > 0.0;
        let nearest = |kept: &dyn Fn(&usize) -> bool| {
            (0..=wanted).rev().find(|b| kept(b)).or_else(|| (wanted + 1..BUCKETS).find(|b| kept(b)))
        };
        match nearest(&fresh).or_else(|| nearest(&any)) {
            Some(b) if b < wanted => score.buckets[b].estimate(prior, now, params) * growth(concurrency / MIDDLE[b]),
            Some(b) => score.buckets[b].estimate(prior, now, params),
            None => prior * growth(concurrency),
        }
    }

    /// What was measured at the least concurrency, brought down to concurrency 1, without any
    /// prior: for the fleet's median. Decay does not change a mean, so this never fades.
    pub fn measured(&self, class: Class) -> Option<f64> {
        let score = self.find(class)?;
        let (bucket, middle) = score.buckets.iter().zip(MIDDLE).find(|(b, _)| b.slow_weight > f32::MIN_POSITIVE)?;
        Some(f64::from(bucket.slow_sum / bucket.slow_weight) / growth(middle))
    }

    /// The class last worked of which something was measured.
    pub fn usual(&self) -> Option<Class> {
        let known = self.classes.iter().filter(|score| self.measured(score.class).is_some());
        known.max_by_key(|score| score.used).map(|score| score.class)
    }

    /// Extra seconds of the first segment of a session.
    pub fn init(&self, class: Class) -> f64 {
        self.find(class).map_or(0.0, |score| f64::from(score.init.max(0.0)))
    }

    /// The chance that an attempt fails, with a 1 % prior.
    pub fn failure_rate(&self, class: Class, now: Moment, params: &ScoreParams) -> f64 {
        let Some(score) = self.find(class) else { return 0.01 };
        let kept = decay(now, score.outcomes_at, params.outcome_tau);
        let (good, bad) = (f64::from(score.good) * kept, f64::from(score.bad) * kept);
        (bad + 0.1) / (bad + good + 10.0)
    }

    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Classes of which anything is known.
    pub fn classes(&self) -> impl Iterator<Item = Class> + '_ {
        self.classes.iter().map(|score| score.class)
    }

    fn find(&self, class: Class) -> Option<&ClassScore> {
        self.classes.iter().find(|score| score.class == class)
    }

    /// The class's row, made when missing; a full table gives up its least recently used row.
    fn entry(&mut self, class: Class, now: Moment) -> &mut ClassScore {
        let found = self.classes.iter().position(|score| score.class == class);
        let index = found.unwrap_or_else(|| {
            if self.classes.len() < MOST_CLASSES {
                self.classes.push(ClassScore::new(class, now));
                return self.classes.len() - 1;
            }
            let oldest = (0..self.classes.len()).min_by_key(|i| self.classes[*i].used).unwrap_or(0);
            self.classes[oldest] = ClassScore::new(class, now);
            oldest
        });
        let entry = &mut self.classes[index];
        entry.used = entry.used.max(now);
        entry
    }
}

// === impl ClassScore ===

impl ClassScore {
    fn new(class: Class, now: Moment) -> ClassScore {
        let buckets = [Bucket::default(); BUCKETS];
        ClassScore { class, init: -1.0, good: 0.0, bad: 0.0, outcomes_at: now, used: now, buckets }
    }

    fn fade_outcomes(&mut self, now: Moment, params: &ScoreParams) {
        let kept = decay(now, self.outcomes_at, params.outcome_tau) as f32;
        self.good *= kept;
        self.bad *= kept;
        self.outcomes_at = self.outcomes_at.max(now);
    }
}

// === impl Bucket ===

impl Bucket {
    fn add(&mut self, ratio: f32, now: Moment, params: &ScoreParams) {
        let slow = decay(now, self.at, params.slow_tau) as f32;
        let fast = decay(now, self.at, params.fast_tau) as f32;
        self.slow_weight = self.slow_weight * slow + 1.0;
        self.slow_sum = self.slow_sum * slow + ratio;
        self.fast_weight = self.fast_weight * fast + 1.0;
        self.fast_sum = self.fast_sum * fast + ratio;
        self.slow_lasts = lasts(self.slow_weight, FADED, params.slow_tau);
        self.fast_lasts = lasts(self.fast_weight, FAST_HEARD, params.fast_tau);
        self.at = self.at.max(now);
    }

    /// Whether enough is left of it to be heard before its neighbours.
    fn is_fresh(&self, now: Moment) -> bool {
        self.slow_weight > 0.0 && now.secs_since(self.at) <= f64::from(self.slow_lasts)
    }

    /// The greater of the slow mean, shrunk to the prior, and the fast one: quick to fear,
    /// slow to trust.
    fn estimate(&self, prior: f64, now: Moment, params: &ScoreParams) -> f64 {
        let kept = decay(now, self.at, params.slow_tau);
        let (weight, sum) = (f64::from(self.slow_weight) * kept, f64::from(self.slow_sum) * kept);
        let whole = weight + params.prior_weight;
        let slow = if whole > 0.0 { (sum + params.prior_weight * prior) / whole } else { prior };
        let fast_heard = now.secs_since(self.at) < f64::from(self.fast_lasts);
        if fast_heard { slow.max(f64::from(self.fast_sum / self.fast_weight)) } else { slow }
    }
}

fn bucket_of(concurrency: f64) -> usize {
    const UPPER: [f64; BUCKETS - 1] = [1.5, 2.5, 4.5, 8.5, 16.5];
    UPPER.iter().position(|upper| concurrency < *upper).unwrap_or(BUCKETS - 1)
}

/// How much slower than alone, where nothing was measured.
fn growth(concurrency: f64) -> f64 {
    if concurrency <= 1.0 { 1.0 } else { concurrency.powf(GROWTH) }
}

/// Seconds until `weight` has decayed to `least`; 0 when it has.
fn lasts(weight: f32, least: f64, tau: f64) -> f32 {
    if tau <= 0.0 { f32::INFINITY } else { (tau * (f64::from(weight) / least).ln()).max(0.0) as f32 }
}

fn decay(now: Moment, then: Moment, tau: f64) -> f64 {
    if tau <= 0.0 { 1.0 } else { (-now.secs_since(then) / tau).exp() }
}
