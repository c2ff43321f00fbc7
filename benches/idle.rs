//! A thousand workers that are connected and have nothing to do: our memory and processor time.
//!
//! `cargo bench --bench idle [-- --workers N] [-- --seconds N]`. The workers run in this process,
//! the proxy is a child of its own. Workers wait for their first task without a sign, as stock ones.
#![allow(clippy::expect_used, reason = "what is not there ends the run, with its name")]
#[path = "rig/mod.rs"]
mod rig;

use std::time::Duration;

use openpool_proxy::sim::{OrchestratorPlan, SimOrchestrator, SimWorker, Traffic, WorkerPlan};
use rig::{Proxy, SECRET};

/// Dialled at once; the rest waits.
const TOGETHER: usize = 50;

fn main() {
    openpool_proxy::transport::tls::install_provider();
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).and_then(|n| n.parse::<u64>().ok());
    let workers = number("--workers").unwrap_or(1000) as usize;
    let seconds = number("--seconds").unwrap_or(20);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(run(workers, seconds));
}

async fn run(count: usize, seconds: u64) {
    let orchestrator =
        SimOrchestrator::start(OrchestratorPlan::new(SECRET, Traffic::None)).await.expect("an orchestrator");
    let proxy = Proxy::start(&orchestrator.url());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty_kb = proxy.resident_kb();
    let empty_cpu = rest(&proxy, seconds / 4).await;
    println!("no workers: {empty_kb} kB, {:.2}% of a core", empty_cpu * 100.0);
    let (begun, cpu) = (rig::now(), proxy.cpu());
    let mut workers = Vec::with_capacity(count);
    for n in 0..count {
        let plan = WorkerPlan::new(&format!("w{n}"), &rig::worker_secret(n));
        workers.push(SimWorker::start(proxy.workers, plan).expect("a worker"));
        if n % TOGETHER == TOGETHER - 1 {
            seated(&proxy, n + 1);
        }
    }
    seated(&proxy, count);
    let (took, spent) = (begun.elapsed().as_secs_f64(), proxy.cpu().since(cpu).total());
    println!("{count} workers joined in {took:.2} s, {:.2} ms of our processor time each", spent * 1e3 / count as f64);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let first_kb = proxy.resident_kb();
    let cpu = rest(&proxy, seconds).await;
    let full_kb = proxy.resident_kb();
    let attempts: u64 = workers.iter().map(|worker| worker.counters().attempts).sum();
    let each = |kb: u64| (kb as f64 - empty_kb as f64) / count as f64;
    println!(
        "{count} idle workers: {full_kb} kB, {:.1} kB a worker ({:.1} just joined)",
        each(full_kb),
        each(first_kb)
    );
    println!("at rest over {seconds} s: {:.2}% of a core", cpu * 100.0);
    println!("registrations {attempts}, still seated {}", proxy.status().map_or(0, |status| Proxy::seated(&status)));
}

/// Our share of a core while nothing happens.
async fn rest(proxy: &Proxy, seconds: u64) -> f64 {
    let (begun, before) = (rig::now(), proxy.cpu());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    proxy.cpu().since(before).total() / begun.elapsed().as_secs_f64()
}

fn seated(proxy: &Proxy, count: usize) {
    tokio::task::block_in_place(|| proxy.until("full", |status| Proxy::seated(status) == count));
}
