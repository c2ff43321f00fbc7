//! What `check` looks at for AI: the runner port, and each runner behind it.
use std::thread;

use super::check::{Chapter, Finding};
use super::world::PATIENCE;
use crate::config::settings::Settings;
use crate::planes::runner::RunnerConfig;
use crate::planes::runner::probe::{self, Found, Says, Trouble};
use crate::planes::runner::runners::RunnerWorker;
use crate::pool::clock::Clock;

/// Runners that are asked at once, and lines of those that are well; the others are counted.
const TOGETHER: usize = 32;

/// A token in the clear beyond this machine.
pub(super) fn exposed(port: &RunnerConfig) -> Option<Finding> {
    let readable = port.tls.is_none() && port.token.is_some() && !port.listen.ip().is_loopback();
    readable.then(|| {
        let text = format!("{} speaks plain HTTP: its token can be read on the way", port.listen);
        let remedy = "set `runner.certificate` and `runner.key`, or keep that network to yourself";
        Finding::Warning(text, "W615", remedy.into())
    })
}

/// Side by side, so that dead ones cost one wait together.
pub(super) fn runners(settings: &Settings) -> Vec<Chapter> {
    let mut chapters = Vec::new();
    for some in settings.runner.runners.chunks(TOGETHER) {
        let asked: Vec<_> = some.iter().cloned().map(|runner| thread::spawn(move || look(&runner))).collect();
        for (probe, runner) in asked.into_iter().zip(some) {
            let broken = || vec![unreachable("the probe broke off")];
            chapters.push((format!("runner {}", runner.name), probe.join().unwrap_or_else(|_| broken())));
        }
    }
    chapters
}

fn look(runner: &RunnerWorker) -> Vec<Finding> {
    let clock = Clock::start();
    let answer = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(probe::ask(runner, PATIENCE)),
        Err(why) => Err(Trouble::Unreachable(why.to_string())),
    };
    let took = clock.now().since(Default::default());
    match answer {
        Err(Trouble::Unreachable(why)) => vec![unreachable(&why)],
        Err(Trouble::Untrusted(why, shown)) => vec![untrusted(runner, &why, shown)],
        Ok(found) => {
            let reached = Finding::Good(format!("reachable in {:.1} ms", took.as_secs_f64() * 1e3));
            let pin = runner.pin.is_some().then(|| Finding::Good("its certificate is the pinned one".into()));
            [reached].into_iter().chain(pin).chain(words(runner, &found)).collect()
        }
    }
}

fn unreachable(why: &str) -> Finding {
    let remedy =
        "see that it runs, that its `url` is right, that no firewall is between; the pool asks again by itself";
    Finding::Error(format!("cannot be reached: {why}"), "E611", remedy.into())
}

fn untrusted(runner: &RunnerWorker, why: &str, shown: Option<[u8; 32]>) -> Finding {
    let print = shown.map(|print| print.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    let (text, remedy) = match (runner.pin, print) {
        (_, None) => (format!("no TLS: {why}"), "is it plain HTTP? Then its url begins with http://".to_owned()),
        (Some(_), Some(print)) => (
            "it shows another certificate than the pinned one".to_owned(),
            format!("if it is its new one, write `fingerprint: {print}`; if not, somebody stands between"),
        ),
        (None, Some(print)) => (
            format!("its certificate is not trusted: {why}"),
            format!("if it is the runner's own, write `fingerprint: {print}`; or give it one of an authority"),
        ),
    };
    Finding::Error(text, "E612", remedy)
}

/// Health, and whether it runs what the configuration says.
fn words(runner: &RunnerWorker, found: &Found) -> Vec<Finding> {
    let health = match &found.unwell {
        None => Finding::Good("well".into()),
        Some(why) => Finding::Warning(why.clone(), "W613", {
            format!("see its log; `health` of this runner is {}", runner.health)
        }),
    };
    let told = found.says.iter().filter_map(|says| other(runner, says));
    let count = runner.models.len();
    let models = Finding::Good(format!("{count} model{}", if count == 1 { "" } else { "s" }));
    [health, models].into_iter().chain(told).collect()
}

/// A container runs one model and names it; other servers name none.
fn other(runner: &RunnerWorker, says: &Says) -> Option<Finding> {
    let same = |model: &crate::domain::ai::ModelOffer| {
        model.key.pipeline.name() == says.pipeline && *model.key.model == *says.model_id
    };
    if says.pipeline.is_empty() || says.model_id.is_empty() || runner.models.iter().any(same) {
        return None;
    }
    let text = format!("it says that it runs {} {}, which its `models` have not", says.pipeline, says.model_id);
    Some(Finding::Warning(text, "W614", "correct `models` of this runner, or start it with the right model".into()))
}

#[cfg(test)]
#[path = "world_ai_tests.rs"]
mod tests;
