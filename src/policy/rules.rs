//! The rule book: everything a job is judged by. A job sees one book all its life.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::OrchestratorName;
use crate::domain::money::{BasisPoints, Price};
use crate::domain::score::ScoreParams;

#[derive(Clone, Debug)]
pub struct Rules {
    pub commission: BasisPoints,
    pub price: Price,
    /// Prices of single orchestrators; the others use `price`.
    pub orchestrator_prices: BTreeMap<OrchestratorName, Price>,
    pub route: RouteRules,
    pub retry: RetryRules,
    pub join: JoinRules,
    pub limits: JobLimits,
    pub ai: AiRules,
}

#[derive(Clone, Debug)]
pub struct RouteRules {
    pub score: ScoreParams,
    /// Weight of load against speed, 0 to 1.5.
    pub fairness: f64,
    /// All seats are scanned up to this many eligible, above it `sample` random ones.
    pub scan_limit: usize,
    pub sample: usize,
    /// A move needs a predicted time under this share of the present one.
    pub move_gain: f64,
    pub move_dwell: Duration,
    /// Moves a second and burst over the whole pool.
    pub move_rate: f64,
    pub move_burst: f64,
    /// A session without segments for so long ends by itself.
    pub session_idle: Duration,
}

#[derive(Clone, Debug)]
pub struct RetryRules {
    pub attempts: u32,
    /// An answer is on its way this long before the orchestrator's budget ends.
    pub answer_margin: Duration,
    /// An attempt is given up for another worker after this many times its predicted time...
    pub patience: f64,
    /// ...but never before this.
    pub least_patience: Duration,
    /// Consecutive failures after which a seat rests, the first rest, and the longest.
    pub rest_after: u32,
    pub rest: Duration,
    pub longest_rest: Duration,
}

#[derive(Clone, Debug)]
pub struct JoinRules {
    pub invite: bool,
    pub open: bool,
    pub shared: bool,
    /// Sessions for an open worker until it has `proven_after` verified segments.
    pub open_capacity: u32,
    pub proven_after: u64,
    /// The most sessions that one registration may claim.
    pub most_capacity: u32,
    pub registrations_per_worker: usize,
    pub registrations: usize,
    /// Failed logins from one address before it is locked out, and for how long.
    pub login_failures: u32,
    pub lockout: Duration,
}

#[derive(Clone, Debug)]
pub struct JobLimits {
    /// Jobs in flight over the whole pool.
    pub jobs: usize,
    /// Jobs waiting for a seat.
    pub waiting: usize,
    /// Bytes of sources and results held at once.
    pub shelf_bytes: u64,
    /// The largest source or result part.
    pub source_bytes: u64,
    pub part_bytes: u64,
    /// A result's bytes beyond this go to a temporary file.
    pub memory_bytes: u64,
    /// Segments longer than this are refused.
    pub longest_segment: Duration,
    pub downloads_per_lease: u32,
    /// Bytes of memory for the process; None: what its control group or the machine has.
    pub memory_limit: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct AiRules {
    /// For a unit of the pipeline; with no model, for all its models that have no price of their own.
    pub prices: BTreeMap<(Pipeline, Option<Arc<str>>), Price>,
    /// Where none of these fits.
    pub price: Price,
    /// The longest that a job of a pipeline may take; the others have all that the orchestrator gives.
    pub deadlines: BTreeMap<Pipeline, Duration>,
    /// An orchestrator takes a result's files, and its texts, for so long after its request.
    pub file_limit: Duration,
    pub text_limit: Duration,
    /// An answer is on its way this long before that.
    pub margin: Duration,
    /// No deadline is shorter.
    pub least_deadline: Duration,
    /// Jobs that may wait for a seat.
    pub waiting: usize,
    /// An attempt is given up for another worker after this many times its predicted time...
    pub patience: f64,
    /// ...but never before this.
    pub least_patience: Duration,
    /// Slower to learn and to forget than a segment's: there are fewer samples.
    pub score: ScoreParams,
}

// === impl Rules ===

impl Rules {
    pub fn price_for(&self, orchestrator: &OrchestratorName) -> Price {
        self.orchestrator_prices.get(orchestrator).copied().unwrap_or(self.price)
    }

    /// How AI workers are picked: as transcoders are, by scores of their own pace.
    pub fn ai_route(&self) -> RouteRules {
        RouteRules { score: self.ai.score, ..self.route.clone() }
    }

    pub fn ai_price(&self, key: &ModelKey) -> Price {
        self.ai.price_of(key)
    }
}

// === impl AiRules ===

impl AiRules {
    /// The model's own price, else the pipeline's, else the one for all.
    pub fn price_of(&self, key: &ModelKey) -> Price {
        let own = self.prices.get(&(key.pipeline, Some(key.model.clone())));
        own.or_else(|| self.prices.get(&(key.pipeline, None))).copied().unwrap_or(self.price)
    }

    /// How long after the request its answer must be on its way. `file_result`: it brings files.
    pub fn deadline(&self, pipeline: Pipeline, file_result: bool) -> Duration {
        let limit = if file_result { self.file_limit } else { self.text_limit };
        let most = limit.saturating_sub(self.margin);
        let asked = self.deadlines.get(&pipeline).copied().unwrap_or(most);
        asked.max(self.least_deadline).min(most)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            commission: BasisPoints::QUARTER,
            price: Price { wei: 1200, units: 1 },
            orchestrator_prices: BTreeMap::new(),
            route: RouteRules::default(),
            retry: RetryRules::default(),
            join: JoinRules::default(),
            limits: JobLimits::default(),
            ai: AiRules::default(),
        }
    }
}

impl Default for RouteRules {
    fn default() -> Self {
        RouteRules {
            score: ScoreParams::default(),
            fairness: 0.3,
            scan_limit: 512,
            sample: 16,
            move_gain: 0.75,
            move_dwell: Duration::from_secs(10),
            move_rate: 2.0,
            move_burst: 8.0,
            session_idle: Duration::from_secs(70),
        }
    }
}

impl Default for RetryRules {
    fn default() -> Self {
        RetryRules {
            attempts: 3,
            answer_margin: Duration::from_millis(350),
            patience: 3.0,
            least_patience: Duration::from_millis(1500),
            rest_after: 3,
            rest: Duration::from_secs(10),
            longest_rest: Duration::from_secs(300),
        }
    }
}

impl Default for JoinRules {
    fn default() -> Self {
        JoinRules {
            invite: true,
            open: false,
            shared: false,
            open_capacity: 2,
            proven_after: 20,
            most_capacity: 100,
            registrations_per_worker: 8,
            registrations: 10_000,
            login_failures: 10,
            lockout: Duration::from_secs(60),
        }
    }
}

impl Default for JobLimits {
    fn default() -> Self {
        JobLimits {
            jobs: 4096,
            waiting: 1024,
            shelf_bytes: 2 << 30,
            source_bytes: 300_000_000,
            part_bytes: 300_000_000,
            memory_bytes: 8 << 20,
            longest_segment: Duration::from_secs(300),
            downloads_per_lease: 3,
            memory_limit: None,
        }
    }
}

impl Default for AiRules {
    fn default() -> Self {
        AiRules {
            prices: BTreeMap::new(),
            price: Price { wei: 0, units: 1 },
            deadlines: BTreeMap::new(),
            file_limit: Duration::from_secs(600),
            text_limit: Duration::from_secs(900),
            margin: Duration::from_secs(5),
            least_deadline: Duration::from_secs(30),
            waiting: 1024,
            patience: 3.0,
            least_patience: Duration::from_secs(10),
            score: ScoreParams { slow_tau: 300.0, fast_tau: 30.0, default_ratio: 5.0, ..ScoreParams::default() },
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
