//! HTTP runners as workers of the pool: asked how they are, seated while they are well, and sent
//! the jobs that came in by another door.
mod call;
mod health;
mod streamed;

use std::sync::Arc;
use std::time::Duration;

use super::config::RunnerLimits;
use super::runners::{CareConfig, Runner};
use crate::pool::ai::{AiJoin, Road};
use crate::pool::{Order, Pool, Seated};
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::hosts::is_public;

/// A runner that is not well is asked again after this, then less and less often.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One runner's keeper.
struct Agent {
    runner: Arc<Runner>,
    pool: Pool,
    care: Arc<CareConfig>,
    limits: RunnerLimits,
    tasks: Tasks,
}

/// Keeps a runner seated while it is well, until the tasks are told to end.
pub fn start(runner: Arc<Runner>, pool: Pool, care: Arc<CareConfig>, limits: RunnerLimits, tasks: &Tasks) {
    let agent = Arc::new(Agent { runner, pool, care, limits, tasks: tasks.clone() });
    let stop = tasks.token();
    tasks.spawn("runner", async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = agent.keep() => {}
        }
    });
}

// === impl Agent ===

impl Agent {
    async fn keep(self: &Arc<Self>) {
        let name = &self.runner.worker.name;
        let mut pause = FIRST_PAUSE;
        let mut told = String::new();
        loop {
            let trouble = match self.seat().await {
                Ok(seated) => {
                    told.clear();
                    pause = FIRST_PAUSE;
                    self.serve(seated).await
                }
                Err(why) => why,
            };
            if told != trouble {
                telemetry::runner_unwell(name, &trouble);
                told = trouble;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A seat for a runner that says it is well; the error is why not.
    async fn seat(&self) -> Result<Seated, String> {
        self.health().await?;
        let facts = match self.runner.config.health.as_str() {
            "" => self.found().await,
            _ => self.describe().await,
        };
        let mut models = self.runner.config.models.clone();
        for offer in &mut models {
            offer.version.clone_from(&facts.version);
        }
        let peer = facts.peer.ok_or("its address is gone")?;
        if self.runner.public_only && !is_public(peer.ip()) {
            return Err("its address is a private or special one".into());
        }
        self.runner.found_at(peer, &self.limits);
        let join = AiJoin { models, version: String::new(), hardware: facts.hardware, peer, road: Road::Runner };
        self.pool.join_ai(&self.runner.worker, join).map_err(|refusal| format!("{refusal:?}"))
    }

    /// Works orders until the runner is not well any more; returns why.
    async fn serve(self: &Arc<Self>, mut seated: Seated) -> String {
        let mut tick = tokio::time::interval(self.care.health_every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        let mut misses = 0;
        loop {
            let well = tokio::select! {
                order = seated.next() => {
                    match order {
                        Some(Order::Ai { request, task, gone, .. }) => {
                            if let Ok(claim) = self.pool.ai_claim(&self.runner.worker, task) {
                                self.tasks.spawn("runner job", call::run(self.clone(), claim, request, gone));
                            }
                        }
                        Some(_) => return "the pool is restarting".into(),
                        None => return "its seat was taken away".into(),
                    }
                    continue;
                }
                // Orders wait for seconds at most: the health of a runner is asked within its timeout.
                well = async { tick.tick().await; self.health().await } => well,
            };
            match well {
                Ok(()) => misses = 0,
                Err(why) => {
                    misses += 1;
                    if misses >= self.care.misses {
                        return why;
                    }
                }
            }
        }
    }
}
