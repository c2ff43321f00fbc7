//! What `explain` will tell of a job: filled in as it goes, kept when it is over.
use std::time::Duration;

use super::api::Upstream;
use super::lease::profiles_text;
use super::table::Seating;
use crate::domain::ai::{AiJob, Pipeline};
use crate::domain::decision::{Answer, Attempt, Candidate, Decision};
use crate::domain::ids::TaskId;
use crate::domain::job::{Job, budget};
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::policy::route::{Considered, Filter, Reason};
use crate::policy::verify::Credit;

/// One job's decisions so far.
pub struct Record {
    received: Moment,
    pub decision: Decision,
}

// === impl Record ===

impl Record {
    pub fn new(job: &Job) -> Record {
        Record {
            received: job.received,
            decision: Decision {
                job: job.id.to_string(),
                session: job.session.session.to_string(),
                orchestrator: job.session.orchestrator.to_string(),
                sequence: job.sequence,
                duration_ms: ms(job.duration),
                profiles: profiles_text(&job.profiles),
                received_ms: job.received_unix_ms,
                budget_ms: ms(budget(job.duration)),
                ..Decision::default()
            },
        }
    }

    /// Of an AI job, which must be answered within `within`.
    pub fn ai(job: &AiJob, within: Duration) -> Record {
        Record {
            received: job.received,
            decision: Decision {
                job: job.id.to_string(),
                session: job.session.as_ref().map_or_else(String::new, |key| key.session.to_string()),
                orchestrator: job.orchestrator.to_string(),
                model: job.key.to_string(),
                received_ms: job.received_unix_ms,
                budget_ms: ms(within),
                ..Decision::default()
            },
        }
    }

    pub fn attempt(&mut self, seating: &Seating, now: Moment) {
        let runner_up = seating
            .pick
            .runner_up
            .and_then(|(conn, _)| seating.candidates.iter().find(|c| c.conn == conn).map(|c| c.worker.to_string()));
        self.decision.attempts.push(Attempt {
            task: seating.task.0,
            worker: seating.worker.to_string(),
            reason: reason(seating.pick.reason).into(),
            started_ms_after: ms(now.since(self.received)),
            ended_ms_after: None,
            outcome: "running".into(),
            text: String::new(),
            candidates: seating.candidates.iter().map(candidate).collect(),
            runner_up,
        });
    }

    pub fn won(&mut self, task: TaskId, credit: &Credit, micros: u64, now: Moment) {
        let text = match credit.computed {
            Some(computed) => format!("{} pixels reported, {computed} counted", credit.reported),
            None => format!("{} pixels reported, not counted here", credit.reported),
        };
        self.end(task, "ok", &format!("{text}, in {} ms", micros / 1000), now);
    }

    pub fn won_ai(&mut self, task: TaskId, units: u64, pipeline: Pipeline, now: Moment) {
        self.end(task, "ok", &format!("{units} {}", pipeline.unit().name()), now);
    }

    pub fn ended(&mut self, task: TaskId, failure: &Failure, now: Moment) {
        self.end(task, failure.code(), &failure.to_string(), now);
    }

    fn end(&mut self, task: TaskId, outcome: &str, text: &str, now: Moment) {
        let after = ms(now.since(self.received));
        if let Some(attempt) = self.decision.attempts.iter_mut().find(|a| a.task == task.0 && a.outcome == "running") {
            attempt.ended_ms_after = Some(after);
            attempt.outcome = outcome.into();
            attempt.text = text.into();
        }
    }

    pub fn answered(&mut self, text: &str, now: Moment) {
        self.decision.answer = Answer::Error { after_ms: ms(now.since(self.received)), text: text.into() };
    }

    pub fn closed(&mut self, upstream: &Upstream, now: Moment) {
        let after_ms = ms(now.since(self.received));
        self.decision.answer = match upstream {
            Upstream::Accepted => Answer::Delivered { after_ms },
            Upstream::Refused(why) => Answer::Error { after_ms, text: format!("refused upstream: {why}") },
            Upstream::Unsure(why) => Answer::Error { after_ms, text: format!("in doubt: {why}") },
            Upstream::Unsent(why) => Answer::Error { after_ms, text: format!("not sent: {why}") },
        };
    }
}

fn candidate(seen: &Considered) -> Candidate {
    let p = seen.prediction.unwrap_or_default();
    Candidate {
        worker: seen.worker.to_string(),
        filter: filter(seen.filter).into(),
        ratio: p.ratio,
        time: p.time,
        effective: p.effective,
        cost: p.cost,
        concurrency: p.concurrency,
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Sticky => "sticky",
        Reason::Least => "least",
        Reason::Moved => "moved",
        Reason::BestEffort => "best_effort",
    }
}

fn filter(filter: Filter) -> &'static str {
    match filter {
        Filter::Passed => "passed",
        Filter::Tried => "tried",
        Filter::Draining => "draining",
        Filter::Resting => "resting",
        Filter::Capability => "capability",
        Filter::Version => "version",
        Filter::Full => "full",
        Filter::Trial => "trial",
        Filter::Ramp => "ramp",
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
