//! One job's decisions, written down for `explain`: who was looked at, who was chosen, what
//! came of it. Times are milliseconds after the job was received.
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// 26 characters, as everywhere.
    pub job: String,
    pub session: String,
    pub orchestrator: String,
    pub sequence: i64,
    pub duration_ms: u64,
    /// `640x360@30 426x240@30`.
    pub profiles: String,
    /// Of an AI job: `text-to-image org/model`. Empty: a segment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Unix milliseconds.
    pub received_ms: u64,
    /// The orchestrator's budget.
    pub budget_ms: u64,
    pub attempts: Vec<Attempt>,
    pub answer: Answer,
}

/// How the orchestrator was answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    #[default]
    Pending,
    Delivered {
        after_ms: u64,
    },
    Error {
        after_ms: u64,
        text: String,
    },
}

/// One worker's try at the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub task: i64,
    pub worker: String,
    /// Why this one: `sticky`, `least`, `moved`, `best_effort`.
    pub reason: String,
    pub started_ms_after: u64,
    pub ended_ms_after: Option<u64>,
    /// `ok`, or a failure's code.
    pub outcome: String,
    /// The failure in words.
    pub text: String,
    pub candidates: Vec<Candidate>,
    pub runner_up: Option<String>,
}

/// One seat as the selector saw it. Seconds, seconds a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub worker: String,
    /// `passed`, or the filter that took it out.
    pub filter: String,
    pub ratio: f64,
    pub time: f64,
    pub effective: f64,
    pub cost: f64,
    pub concurrency: f64,
}
