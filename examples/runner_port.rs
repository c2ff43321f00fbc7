//! The runner port with simulated runners and an AI worker behind it, for peers that are not ours:
//! `tests/ai_contract`. Prints its address, and ends with its standard input.
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result};
use openpool_proxy::app;
use openpool_proxy::config::settings::{JournalConfig, Settings};
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::domain::ids::WorkerName;
use openpool_proxy::planes::admin::config::AdminConfig;
use openpool_proxy::planes::runner::runners::RunnerWorker;
use openpool_proxy::planes::runner::{PlaneConfig, RunnerConfig};
use openpool_proxy::planes::uplink::config::UplinkConfig;
use openpool_proxy::planes::worker::config::WorkerConfig;
use openpool_proxy::pool::Rules;
use openpool_proxy::sim::ai_worker::{AiWorkerPlan, SimAiWorker};
use openpool_proxy::sim::runner::{RunnerPlan, SimRunner};
use openpool_proxy::transport::EdgeLimits;

const MODEL: &str = "org/model";

#[tokio::main]
async fn main() -> Result<()> {
    openpool_proxy::transport::tls::install_provider();
    let folder = tempfile::tempdir()?;
    let plan = |name: &str| RunnerPlan { speed: 0.001, ..RunnerPlan::new(name) }.with_all(MODEL, 8);
    let runners = [SimRunner::start(plan("box"))?, SimRunner::start(plan("crate"))?];
    let app = app::start(settings(folder.path().into(), &runners)?).await?;
    let secret = format!("0x{}.gpu", "11".repeat(20));
    // Forms are told apart by their model, and their files lie on the shelf, when workers have it, too.
    let plan = AiWorkerPlan { speed: 0.001, ..AiWorkerPlan::new("gpu", &secret) };
    let worker = SimAiWorker::start(app.worker_addr, plan.with_all(MODEL, 8).with(Pipeline::Upscale, "org/other", 1))?;
    let address = app.runner_addr.context("no runner port")?;
    while app.pool.ai_seats().len() < runners.len() + 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("http://{address}");
    // Until whoever started this is gone.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    worker.stop().await;
    app.stop(Duration::from_secs(2)).await;
    Ok(())
}

fn settings(data: std::path::PathBuf, runners: &[SimRunner]) -> Result<Settings> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let mut rules = Rules::default();
    rules.join.open = true;
    rules.join.open_capacity = 8;
    let one = |runner: &SimRunner| -> Result<RunnerWorker> {
        Ok(RunnerWorker {
            name: WorkerName::from(runner.plan().name.as_str()),
            url: runner.url().parse()?,
            token: None,
            address: None,
            region: None,
            pin: None,
            health: "health".into(),
            models: runner.plan().models.clone(),
        })
    };
    let runner = PlaneConfig {
        port: Some(RunnerConfig { listen: any, ..RunnerConfig::default() }),
        runners: runners.iter().map(one).collect::<Result<_>>()?,
        ..PlaneConfig::default()
    };
    Ok(Settings {
        runner,
        pool_name: "Contract".into(),
        data,
        rules,
        worker: WorkerConfig { listen: any, public_address: None, certificate: None, help_url: None },
        edge: EdgeLimits::default(),
        orchestrators: Vec::new(),
        uplink: UplinkConfig::default(),
        admin: AdminConfig { listen: any },
        shared_secret: None,
        journal: JournalConfig { keep_days: 1, keep_jobs: 10_000 },
        log: "warn".into(),
        drain: Duration::from_secs(2),
    })
}
