//! Our runner port, with the pool behind it and alone, beside no proxy, nginx and HAProxy: in turn, round after round, so that
//! whatever else the machine does falls on all of them.
//!
//! `cargo bench --bench runner -- [json|down|up|sse] [--rounds N] [--seconds S] [--callers N] [--threads N]`.
//! Reads the result by its ratios. Every proxy and the runner are processes of their own.
#![allow(clippy::expect_used, reason = "what is not there ends the run, with its name")]
#[path = "rig/http.rs"]
mod http;
#[path = "rig/proxies.rs"]
mod proxies;
#[path = "rig/mod.rs"]
mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use comfy_table::{Table, presets};
use http::{Case, run};
use proxies::Peer;

/// What one peer did in one round.
#[derive(Clone, Copy, Default)]
struct Score {
    per_second: f64,
    /// Microseconds of its processors for an answer.
    cost: f64,
    failed: u64,
}

struct Plan {
    rounds: usize,
    time: Duration,
    callers: usize,
    cases: Vec<Case>,
}

fn main() {
    openpool_proxy::transport::tls::install_provider();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).and_then(|n| n.parse::<f64>().ok());
    let threads = number("--threads").map_or_else(|| rig::processors().min(4), |n| n as usize);
    match words.first().map(String::as_str) {
        Some("runner") => http::runner(),
        Some("pool") => proxies::pool(words.get(1).and_then(|to| to.parse().ok()).expect("an address"), threads),
        Some("plane") => proxies::plane(words.get(1).and_then(|to| to.parse().ok()).expect("an address"), threads),
        _ => {}
    }
    let asked: Vec<Case> = Case::ALL.into_iter().filter(|case| words.iter().any(|word| word == case.word())).collect();
    let plan = Plan {
        rounds: number("--rounds").unwrap_or(5.0) as usize,
        time: Duration::from_secs_f64(number("--seconds").unwrap_or(2.0)),
        callers: number("--callers").unwrap_or(16.0) as usize,
        cases: if asked.is_empty() { Case::ALL.to_vec() } else { asked },
    };
    let runner = proxies::ourselves("direct", &["runner"]);
    let peers = peers(&runner, threads);
    println!(
        "{} callers, {} rounds of {:.1} s, {threads} threads a proxy, {} processors",
        plan.callers,
        plan.rounds,
        plan.time.as_secs_f64(),
        rig::processors()
    );
    plan.measure(&runner, &peers);
}

/// Whoever can be had; says who cannot.
fn peers(runner: &Peer, threads: usize) -> Vec<Peer> {
    let to = runner.address.to_string();
    let threads_word = threads.to_string();
    let mut peers = vec![
        proxies::ourselves("ours", &["pool", &to, "--threads", &threads_word]),
        proxies::ourselves("our port alone", &["plane", &to, "--threads", &threads_word]),
    ];
    type Start = fn(SocketAddr, usize) -> Option<Peer>;
    for (name, start) in [("nginx", proxies::nginx as Start), ("haproxy", proxies::haproxy as Start)] {
        match start(runner.address, threads) {
            Some(peer) => peers.push(peer),
            None => println!("{name} is missing, and left out: apt-get install {name}"),
        }
    }
    peers
}

// === impl Plan ===

impl Plan {
    fn measure(&self, runner: &Peer, peers: &[Peer]) {
        let all: Vec<&Peer> = std::iter::once(runner).chain(peers).collect();
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["case", "through", "answers/s", "spread", "to nginx", "its CPU us/answer", "failed"]);
        for &case in &self.cases {
            let mut scores = vec![Vec::new(); all.len()];
            // One round before the count, for connections and caches.
            for round in 0..=self.rounds {
                for turn in 0..all.len() {
                    let at = (turn + round) % all.len();
                    let score = self.score(case, all[at]);
                    if round > 0 {
                        scores[at].push(score);
                    }
                }
            }
            let nginx = all.iter().position(|peer| peer.name == "nginx");
            for (at, peer) in all.iter().enumerate() {
                let rates: Vec<f64> = scores[at].iter().map(|score| score.per_second).collect();
                let ratios = nginx.map(|nginx| {
                    let pairs = scores[at].iter().zip(&scores[nginx]);
                    pairs.map(|(one, other)| one.per_second / other.per_second.max(1e-9)).collect::<Vec<f64>>()
                });
                let costs: Vec<f64> = scores[at].iter().map(|score| score.cost).collect();
                table.add_row([
                    case.name().to_owned(),
                    peer.name.to_owned(),
                    format!("{:.0}", median(&rates)),
                    format!("{:.0} %", spread(&rates)),
                    ratios.map_or("-".into(), |ratios| format!("{:.2} ± {:.0} %", median(&ratios), spread(&ratios))),
                    if at == 0 { "-".into() } else { format!("{:.1}", median(&costs)) },
                    scores[at].iter().map(|score| score.failed).sum::<u64>().to_string(),
                ]);
            }
        }
        println!("{table}");
        println!("answers/s and ratios are medians of rounds; spread is half of (largest - least), in % of the median");
    }

    fn score(&self, case: Case, peer: &Peer) -> Score {
        let before = peer.cpu();
        let tally = run(case, peer.address, self.callers, self.time);
        let cost = (peer.cpu() - before) * 1e6 / (tally.answers.max(1) as f64);
        Score { per_second: tally.answers as f64 / tally.seconds, cost, failed: tally.failed }
    }
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(figures: &[f64]) -> f64 {
    sorted(figures).get(figures.len() / 2).copied().unwrap_or_default()
}

fn spread(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) => (most - least) / 2.0 / median(figures).max(1e-9) * 100.0,
        _ => 0.0,
    }
}
