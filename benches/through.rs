//! The same simulated peers with us in the middle and without: added latency, our processor time
//! beside what TLS alone would take, and how many small segments one core of ours carries.
//!
//! `cargo bench --bench through -- [latency|control|floor] [--seconds N] [--rate N]`. The peers run in
//! this process, the proxy is a child of its own, so that the kernel tells their times apart.
#![allow(clippy::expect_used, reason = "what is not there ends the run, with its name")]
#[path = "rig/mod.rs"]
mod rig;
#[path = "rig/tls.rs"]
mod tls;

use std::time::Duration;

use openpool_proxy::sim::{Library, OrchestratorPlan, Payload, SimOrchestrator, SimWorker, Traffic, WorkerPlan};
use rig::{Cpu, Proxy, SECRET, percentile};

/// A segment as a gateway sends it, and its renditions together.
const BYTES_IN: usize = 1_500_000;
const BYTES_OUT: usize = 1_400_000;
const RATES: [f64; 3] = [25.0, 50.0, 100.0];
/// Segments before these are not counted: connections, first scores.
const WARM_UP: Duration = Duration::from_secs(3);

/// What one run has shown.
struct Run {
    seconds: f64,
    delivered: u64,
    /// Not delivered: errors, late ones, dropped by a full buffer.
    lost: u64,
    /// Microseconds, sorted.
    latencies: Vec<u32>,
    /// Processor seconds of the proxy; none when it was not there.
    ours: Option<Cpu>,
    /// Share of the machine's processors that was busy.
    busy: f64,
}

/// Who plays.
struct Scene {
    library: Library,
    traffic: Traffic,
    workers: usize,
    capacity: i64,
    seconds: u64,
}

fn main() {
    openpool_proxy::transport::tls::install_provider();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).and_then(|n| n.parse().ok());
    let seconds = number("--seconds");
    let rates = number("--rate").map_or(RATES.to_vec(), |rate: u64| vec![rate as f64]);
    let wanted = |part: &str| {
        let named = |word: &str| ["latency", "control", "floor"].contains(&word);
        !words.iter().any(|word| named(word)) || words.iter().any(|word| word == part)
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let floor = tls::floor((BYTES_IN + BYTES_OUT) * 2);
    if wanted("floor") {
        floor.print();
    }
    if wanted("latency") {
        runtime.block_on(latency(seconds.unwrap_or(12), &rates, &floor));
    }
    if wanted("control") {
        runtime.block_on(control(seconds.unwrap_or(10)));
    }
}

/// Big segments at fixed rates, direct and through.
async fn latency(seconds: u64, rates: &[f64], floor: &tls::Floor) {
    let library = Library::of(Payload::Synth { bytes_in: BYTES_IN, bytes_out: BYTES_OUT });
    println!("\n{BYTES_IN} bytes in, {BYTES_OUT} out, open loop, {} processors", rig::processors());
    println!(
        "{:>6} {:>8} {:>10} {:>6} {:>9} {:>9} {:>9} {:>10} {:>12}",
        "rate", "path", "delivered", "lost", "p50 ms", "p99 ms", "max ms", "machine", "ours ms/seg"
    );
    for &rate in rates {
        let scene = Scene {
            library: library.clone(),
            traffic: Traffic::Open { per_second: rate, sessions: 40 },
            workers: 8,
            capacity: 16,
            seconds,
        };
        let direct = scene.run(false).await;
        direct.row(rate, "direct");
        let through = scene.run(true).await;
        through.row(rate, "through");
        let ms = |part: f64| (percentile(&through.latencies, part) - percentile(&direct.latencies, part)) / 1e3;
        println!("{rate:>6} {:>8} {:>27.2} {:>9.2}", "added", ms(50.0), ms(99.0));
        let ours = through.ours_ms();
        println!(
            "{rate:>6} {:>8} ours {ours:.2} ms a segment: {:.2} times AES-GCM alone ({:.2} ms), {:.2} times rustls in memory ({:.2} ms)",
            "floor",
            ours / floor.cipher_ms,
            floor.cipher_ms,
            ours / floor.rustls_ms,
            floor.rustls_ms,
        );
    }
}

/// Small segments as fast as they go.
async fn control(seconds: u64) {
    println!("\ncontrol path: 10 KB in, 10 KB out, closed loop");
    println!(
        "{:>9} {:>8} {:>11} {:>6} {:>9} {:>9} {:>10} {:>14} {:>12}",
        "sessions", "path", "segments/s", "lost", "p50 ms", "p99 ms", "machine", "seg/s a core", "user/system"
    );
    for sessions in [16, 64, 200] {
        for through in [false, true] {
            let scene = Scene {
                library: Library::of(Payload::Tiny),
                traffic: Traffic::Closed { sessions },
                workers: 16,
                capacity: 32,
                seconds,
            };
            let run = scene.run(through).await;
            let ours = run.ours.unwrap_or_default();
            println!(
                "{sessions:>9} {:>8} {:>11.0} {:>6} {:>9.2} {:>9.2} {:>9.0}% {:>14.0} {:>5.1}/{:.1} s",
                if through { "through" } else { "direct" },
                run.delivered as f64 / run.seconds,
                run.lost,
                percentile(&run.latencies, 50.0) / 1e3,
                percentile(&run.latencies, 99.0) / 1e3,
                run.busy * 100.0,
                if through { run.delivered as f64 / ours.total() } else { 0.0 },
                ours.user,
                ours.system,
            );
        }
    }
}

// === impl Scene ===

impl Scene {
    async fn run(&self, through: bool) -> Run {
        let plan = OrchestratorPlan { library: self.library.clone(), ..OrchestratorPlan::new(SECRET, Traffic::None) };
        let orchestrator = SimOrchestrator::start(plan).await.expect("an orchestrator");
        let proxy = through.then(|| Proxy::start(&orchestrator.url()));
        let to = proxy.as_ref().map_or(orchestrator.address(), |proxy| proxy.workers);
        let workers: Vec<SimWorker> = (0..self.workers).map(|n| self.worker(n, to, through)).collect();
        self.together(&orchestrator, proxy.as_ref()).await;
        orchestrator.begin(self.traffic);
        tokio::time::sleep(WARM_UP).await;
        orchestrator.take_latencies();
        let before = orchestrator.counters();
        let (begun, busy) = (rig::now(), rig::machine_busy());
        let cpu = proxy.as_ref().map(Proxy::cpu);
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        let ours = proxy.as_ref().zip(cpu).map(|(proxy, before)| proxy.cpu().since(before));
        let after = orchestrator.counters();
        let seconds = begun.elapsed().as_secs_f64();
        let busy = (rig::machine_busy() - busy) / seconds / rig::processors() as f64;
        let mut latencies = orchestrator.take_latencies();
        latencies.sort_unstable();
        if let Some(why) = &after.last_error {
            eprintln!("an orchestrator heard: {why}");
        }
        assert_eq!((after.wrong_bytes, after.wrong_pixels), (0, 0), "what arrives is what was sent");
        orchestrator.quiesce().await;
        for worker in &workers {
            worker.stop().await;
        }
        orchestrator.stop().await;
        let lost = |c: &openpool_proxy::sim::OrchestratorCounters| {
            c.errors_returned + c.answered_late + c.dropped_by_buffer + c.no_transcoder
        };
        Run {
            seconds,
            delivered: after.delivered - before.delivered,
            lost: lost(&after) - lost(&before),
            latencies,
            ours,
            busy,
        }
    }

    fn worker(&self, n: usize, to: std::net::SocketAddr, through: bool) -> SimWorker {
        let secret = if through { rig::worker_secret(n) } else { SECRET.to_owned() };
        let plan = WorkerPlan {
            capacity: self.capacity,
            ratio: 0.0,
            library: self.library.clone(),
            ..WorkerPlan::new(&format!("w{n}"), &secret)
        };
        SimWorker::start(to, plan).expect("a worker")
    }

    /// Everybody knows everybody.
    async fn together(&self, orchestrator: &SimOrchestrator, proxy: Option<&Proxy>) {
        let capacity = self.capacity * self.workers as i64;
        if let Some(proxy) = proxy {
            tokio::task::block_in_place(|| proxy.until("full", |status| Proxy::seated(status) == self.workers));
        }
        for _ in 0..600 {
            if orchestrator.registrations().iter().sum::<i64>() == capacity {
                // Re-registrations are over.
                return tokio::time::sleep(Duration::from_millis(500)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("capacity at the orchestrator: {:?}, not {capacity}", orchestrator.registrations());
        std::process::exit(1);
    }
}

// === impl Run ===

impl Run {
    fn ours_ms(&self) -> f64 {
        self.ours.map_or(0.0, Cpu::total) * 1e3 / self.delivered.max(1) as f64
    }

    fn row(&self, rate: f64, path: &str) {
        println!(
            "{rate:>6} {path:>8} {:>8.1}/s {:>6} {:>9.2} {:>9.2} {:>9.2} {:>9.0}% {:>12.2}",
            self.delivered as f64 / self.seconds,
            self.lost,
            percentile(&self.latencies, 50.0) / 1e3,
            percentile(&self.latencies, 99.0) / 1e3,
            percentile(&self.latencies, 100.0) / 1e3,
            self.busy * 100.0,
            self.ours_ms(),
        );
    }
}
