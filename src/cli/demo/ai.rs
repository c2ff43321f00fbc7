//! The AI part of a demo: runners and AI workers of several speeds, and their lines in the configuration.
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::DemoArgs;
use super::ai_traffic::{Door, Figures, Traffic};
use super::tally::PipelineTally;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::Address;
use crate::planes::runner::model_prefix;
use crate::sim::ai_client::RunnerEntry;
use crate::sim::{AiBehaviour, AiWorkerPlan, RunnerBehaviour, RunnerPlan, SimAiWorker, SimOrchestrator, SimRunner};

/// The one model that everybody has, of each pipeline.
pub(super) const MODEL: &str = "demo/model";
/// Jobs of each pipeline that one peer takes at once.
const CAPACITY: u32 = 2;
/// An orchestrator's slots of each pipeline at the runner port; more than the demo asks for.
const SLOTS: i64 = 16;

/// One AI worker's or runner's part.
pub(super) struct AiRole {
    pub(super) name: &'static str,
    pub(super) address: Address,
    pub(super) runner: bool,
    /// Seconds for a usual job.
    speed: f64,
    way: Way,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Honest,
    /// Answers this share by an error.
    Fails(f64),
    /// Loses its connections in this share of its answers.
    Dies(f64),
}

/// What runs of it.
pub(super) struct AiScene {
    roles: Vec<AiRole>,
    runners: Vec<SimRunner>,
    workers: Vec<SimAiWorker>,
    traffic: Option<Traffic>,
}

fn roles() -> Vec<AiRole> {
    let all = [
        ("runner-fast", true, 0.05, Way::Honest),
        ("runner-slow", true, 0.5, Way::Honest),
        ("runner-fails", true, 0.1, Way::Fails(0.25)),
        ("ai-fast", false, 0.08, Way::Honest),
        ("ai-slow", false, 0.4, Way::Honest),
        ("ai-dies", false, 0.1, Way::Dies(0.1)),
    ];
    let role = |(n, (name, runner, speed, way)): (u8, (&'static str, bool, f64, Way))| {
        // 0xa1a1...: apart from the transcoders'.
        AiRole { name, address: Address([0xa0 + n; 20]), runner, speed, way }
    };
    (1..).zip(all).map(role).collect()
}

// === impl AiRole ===

impl AiRole {
    fn runner_plan(&self, seed: u64) -> RunnerPlan {
        let behaviour = match self.way {
            Way::Fails(rate) => RunnerBehaviour::Fails { rate, status: 500 },
            Way::Dies(rate) => RunnerBehaviour::Dies { when: crate::sim::runner::Death::Within, rate },
            Way::Honest => RunnerBehaviour::Honest,
        };
        RunnerPlan { speed: self.speed, behaviour, seed, ..RunnerPlan::new(self.name) }.with_all(MODEL, CAPACITY)
    }

    fn worker_plan(&self, token: &str, seed: u64) -> AiWorkerPlan {
        let behaviour = match self.way {
            Way::Fails(rate) => AiBehaviour::Fails { rate, text: "CUDA out of memory".into() },
            Way::Dies(rate) => AiBehaviour::Dies { rate },
            Way::Honest => AiBehaviour::Honest,
        };
        AiWorkerPlan { speed: self.speed, behaviour, seed, ..AiWorkerPlan::new(self.name, token) }
            .with_all(MODEL, CAPACITY)
    }
}

// === impl AiScene ===

impl AiScene {
    /// The runners, which the configuration lists; nobody else yet.
    pub(super) fn open(args: &DemoArgs) -> Result<AiScene> {
        let roles = roles();
        let mut runners = Vec::new();
        for (n, role) in (100..).zip(roles.iter().filter(|role| role.runner)) {
            let runner = SimRunner::start(role.runner_plan(args.seed.wrapping_add(n)));
            runners.push(runner.with_context(|| format!("starting {}", role.name))?);
        }
        Ok(AiScene { roles, runners, workers: Vec::new(), traffic: None })
    }

    pub(super) fn roles(&self) -> &[AiRole] {
        &self.roles
    }

    /// The sections of the configuration, as an operator would write them.
    pub(super) fn config(&self, port: u16) -> String {
        let mut text = format!(
            "runner:\n  listen: 127.0.0.1:{port}\nai:\n  price: 1\n  \
             prices: [llm 1000, text-to-speech 20, audio-to-text 500]\n  least_patience: 2 s\nrunners:\n"
        );
        let models: Vec<String> =
            Pipeline::STOCK.iter().map(|pipeline| format!("{pipeline} {MODEL} x{CAPACITY}")).collect();
        for (role, runner) in self.roles.iter().filter(|role| role.runner).zip(&self.runners) {
            text.push_str(&format!(
                "  - name: {}\n    url: {}\n    address: '{}'\n    models: [{}]\n",
                role.name,
                runner.url(),
                role.address,
                models.join(", ")
            ));
        }
        text
    }

    /// Those who join with a token.
    pub(super) fn invited(&self) -> Vec<(&'static str, Address)> {
        self.roles.iter().filter(|role| !role.runner).map(|role| (role.name, role.address)).collect()
    }

    /// Starts the AI workers, one for each token.
    pub(super) fn join(&mut self, port: SocketAddr, tokens: &[String], args: &DemoArgs) -> Result<()> {
        for (n, (role, token)) in (200..).zip(self.roles.iter().filter(|role| !role.runner).zip(tokens)) {
            let worker = SimAiWorker::start(port, role.worker_plan(token, args.seed.wrapping_add(n)));
            self.workers.push(worker.with_context(|| format!("starting {}", role.name))?);
        }
        Ok(())
    }

    /// The first orchestrator reads its aiModels.json, which names the runner port; then jobs come by
    /// it, and from every orchestrator that has the pool as its AI worker.
    pub(super) async fn begin(
        &mut self,
        orchestrators: &[SimOrchestrator],
        port: SocketAddr,
        args: &DemoArgs,
    ) -> Result<()> {
        let first = orchestrators.first().context("no orchestrator")?;
        let warm = Pipeline::STOCK.map(|pipeline| {
            let url = format!("http://{port}/{}", model_prefix(&ModelKey::new(pipeline, MODEL)));
            first.ai().warm(RunnerEntry { pipeline, model: MODEL.into(), url, token: None, capacity: SLOTS })
        });
        for ready in futures_util::future::join_all(warm).await {
            ready.map_err(|why| anyhow!("the runner port: {why}"))?;
        }
        let mut doors = vec![Door::Runner(first.ai().clone())];
        doors.extend(orchestrators.iter().map(|orchestrator| Door::Worker(orchestrator.ai().clone())));
        self.traffic = Some(Traffic::start(doors, args.seed));
        Ok(())
    }

    /// No new jobs; those that run have their answers within `within`.
    pub(super) async fn quiesce(&self, within: Duration) {
        if let Some(traffic) = &self.traffic {
            traffic.quiesce(within).await;
        }
    }

    pub(super) async fn stop(&self) {
        for worker in &self.workers {
            worker.stop().await;
        }
        for runner in &self.runners {
            runner.stop().await;
        }
    }

    /// Every pipeline, those without a job too.
    pub(super) fn pipelines(&self) -> Vec<PipelineTally> {
        let figures = self.traffic.as_ref().map(Traffic::figures).unwrap_or_default();
        let none = Figures::default();
        let tally = |pipeline: Pipeline| figures.get(&pipeline).unwrap_or(&none).tally(pipeline);
        Pipeline::STOCK.into_iter().map(tally).collect()
    }
}
