//! A whole pool with simulated HTTP runners behind its runner port.
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use openpool_proxy::config::settings::Settings;
use openpool_proxy::domain::ids::WorkerName;
use openpool_proxy::planes::runner::runners::RunnerWorker;
use openpool_proxy::planes::runner::{PublicTimes, RunnerConfig};
use openpool_proxy::sim::ai_orchestrator::Ai;
use openpool_proxy::sim::orchestrator::{OrchestratorPlan, Traffic};
use openpool_proxy::sim::runner::{RunnerPlan, SimRunner};
use serde_json::{Value, json};

use crate::bed::{Bed, SECRET};

pub const TOKEN: &str = "port-token";

pub struct AiBed {
    pub bed: Bed,
    pub runners: Vec<SimRunner>,
}

impl AiBed {
    /// One orchestrator, these runners, and a port that it reaches.
    pub async fn new(plans: Vec<RunnerPlan>, change: impl FnOnce(&mut Settings)) -> AiBed {
        AiBed::with(vec![OrchestratorPlan::new(SECRET, Traffic::None)], plans, change).await
    }

    pub async fn with(
        orchestrators: Vec<OrchestratorPlan>,
        plans: Vec<RunnerPlan>,
        change: impl FnOnce(&mut Settings),
    ) -> AiBed {
        let runners: Vec<SimRunner> = plans.into_iter().map(|plan| SimRunner::start(plan).unwrap()).collect();
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let bed = Bed::with(orchestrators, |settings| {
            let runner = &mut settings.runner;
            runner.port =
                Some(RunnerConfig { listen, token: Some(TOKEN.into()), threads: 2, ..RunnerConfig::default() });
            runner.public_url = Some(format!("http://{listen}"));
            runner.runners = runners.iter().map(worker).collect();
            runner.care.health_every = Duration::from_millis(200);
            runner.times = PublicTimes {
                settle: Duration::from_millis(300),
                every: Duration::from_secs(2),
                gone_after: Duration::from_secs(1),
                watch_every: Duration::from_millis(300),
                ..PublicTimes::default()
            };
            change(settings);
        })
        .await;
        AiBed { bed, runners }
    }

    pub fn ai(&self) -> &Arc<Ai> {
        self.bed.orchestrators[0].ai()
    }

    /// What the books say of AI jobs, oldest first, after the end.
    pub async fn lines(self) -> Vec<Value> {
        let data = self.bed.settings.data.clone();
        let mut bed = self.bed;
        bed.stop().await;
        let books = rusqlite::Connection::open(data.join("ledger.db")).unwrap();
        let sql = "SELECT w.pipeline, w.model, w.units, w.door, w.worker, w.orchestrator FROM ai_jobs w \
                   JOIN steps s ON s.job = w.job AND s.step = 'posted' ORDER BY s.seq";
        let mut query = books.prepare(sql).unwrap();
        let rows = query.query_map([], |row| {
            let text = |at| row.get::<_, String>(at);
            Ok(json!({ "pipeline": text(0)?, "model": text(1)?, "units": row.get::<_, i64>(2)?, "door": text(3)?,
                "worker": text(4)?, "orchestrator": text(5)? }))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

fn worker(runner: &SimRunner) -> RunnerWorker {
    let plan = runner.plan();
    RunnerWorker {
        name: WorkerName(plan.name.as_str().into()),
        url: runner.url().parse().unwrap(),
        token: plan.token.as_deref().map(Into::into),
        address: Some("0x1111111111111111111111111111111111111111".parse().unwrap()),
        region: None,
        pin: None,
        health: "health".into(),
        models: plan.models.clone(),
    }
}

impl Deref for AiBed {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        &self.bed
    }
}

impl std::ops::DerefMut for AiBed {
    fn deref_mut(&mut self) -> &mut Bed {
        &mut self.bed
    }
}
