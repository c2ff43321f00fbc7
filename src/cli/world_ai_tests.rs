//! Tests of what `check` says of runners, against simulated ones.
use std::net::TcpListener;
use std::sync::mpsc;

use super::*;
use crate::config;
use crate::domain::ai::Pipeline;
use crate::sim::runner::RunnerTls;
use crate::sim::{RunnerPlan, SimRunner};

/// A runner on a thread of its own for the life of the test: its address, and its certificate.
fn started(plan: RunnerPlan) -> (String, Option<Vec<u8>>) {
    crate::transport::tls::install_provider();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let runner = SimRunner::start(plan).unwrap();
            send.send((runner.url(), runner.certificate())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

fn plan() -> RunnerPlan {
    RunnerPlan::new("gpu7").with(Pipeline::Llm, "org/model", 2)
}

/// What is found of one runner, its findings as text.
fn found(url: &str, more: &str) -> String {
    let text = format!(
        "pool: {{name: Fjord}}\norchestrators: [{{url: 'a:8935', secret: 'env:S'}}]\n\
         runners:\n  - url: {url}\n    name: gpu7\n    models: [llm org/model x2]\n{more}"
    );
    let settings = config::of_text("pool.yaml", &text).unwrap_or_else(|faults| panic!("{faults}")).settings;
    let chapters = runners(&settings);
    assert_eq!((chapters.len(), chapters[0].0.as_str()), (1, "runner gpu7"));
    format!("{:?}", chapters[0].1)
}

#[test]
fn a_sound_runner_is_good() {
    let (url, _) = started(plan());
    let text = found(&url, "");
    assert!(text.contains("reachable in") && text.contains("\"well\"") && text.contains("1 model"), "{text}");
    assert!(!text.contains("Warning") && !text.contains("Error"), "{text}");
}

#[test]
fn a_runner_that_is_not_there_or_not_well_is_told() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = found(&format!("http://{closed}"), "");
    assert!(text.contains("E611") && text.contains("refused"), "{text}");
    let (url, _) = started(RunnerPlan { health: "ERROR".into(), ..plan() });
    let text = found(&url, "");
    assert!(text.contains("W613") && text.contains("its status is ERROR"), "{text}");
    let (url, _) = started(RunnerPlan::new("gpu7").with(Pipeline::Upscale, "org/other", 1));
    let text = found(&url, "");
    assert!(text.contains("W614") && text.contains("it runs upscale org/other"), "{text}");
}

#[test]
fn a_certificate_of_its_own_is_told_with_the_line_that_pins_it() {
    use sha2::{Digest, Sha256};
    let (url, certificate) = started(RunnerPlan { tls: RunnerTls::SelfSigned, ..plan() });
    let print: Vec<String> = Sha256::digest(certificate.unwrap()).iter().map(|b| format!("{b:02x}")).collect();
    let line = format!("fingerprint: {}", print.join(":"));
    let text = found(&url, "");
    assert!(text.contains("E612") && text.contains(&line), "{text}");
    let text = found(&url, &format!("    {line}\n"));
    assert!(text.contains("pinned one") && text.contains("well") && !text.contains("E612"), "{text}");
    let text = found(&url, &format!("    fingerprint: {}\n", "ab".repeat(32)));
    assert!(text.contains("E612") && text.contains("another certificate") && text.contains(&line), "{text}");
    let text = found(&url.replace("https", "http"), "");
    assert!(text.contains("W613"), "{text}");
}

#[test]
fn a_token_in_the_clear_is_told() {
    let port = |listen: &str, tls: bool, token: bool| RunnerConfig {
        listen: listen.parse().unwrap(),
        tls: tls.then(|| ("a".into(), "b".into())),
        token: token.then(|| "t".into()),
        ..RunnerConfig::default()
    };
    assert!(matches!(exposed(&port("0.0.0.0:1", false, true)), Some(Finding::Warning(_, "W615", _))));
    assert_eq!(exposed(&port("127.0.0.1:1", false, true)), None);
    assert_eq!(exposed(&port("0.0.0.0:1", true, true)), None);
}
