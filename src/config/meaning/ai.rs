//! What the keys of AI mean together: the runner port, its runners, deadlines that can be kept.
use std::collections::BTreeMap;

use super::super::fault::{Wrong, quote};
use super::super::file::WrittenRunner;
use super::super::hints::nearest;
use super::super::reader::Reader;
use super::super::units::show_time;
use super::{ReadSecret, apart, fault, take_secret, value_of};
use crate::domain::ids::{OrchestratorName, WorkerName};
use crate::planes::runner::runners::RunnerWorker;
use crate::planes::runner::{PlaneConfig, RunnerConfig, Wait};
use crate::planes::uplink::config::OrchestratorConfig;

/// The port opens for whoever asks for it, and where there are runners to be reached by it.
pub(super) fn port_open(reader: &Reader) -> bool {
    reader.places.contains_key("runner.listen") || !reader.written.runners.is_empty()
}

/// Who reaches the port has the runners work for him: strangers must not.
pub(super) fn runner_port(reader: &mut Reader) {
    let port = &reader.written.runner;
    if reader.is_faulty("runner.listen") || port.listen.ip().is_loopback() || reader.places.contains_key("runner.token")
    {
        return;
    }
    let cause = format!("`runner.listen` is {}, which others can reach, and it asks for no token", port.listen);
    let remedy = format!("write `token: file:/path` below `runner:`, or listen at `127.0.0.1:{}`", port.listen.port());
    fault(reader, "runner.listen", Wrong::new("E507", cause, remedy));
}

/// Deadlines that no job could have.
pub(super) fn rules(reader: &mut Reader) {
    let ai = reader.written.rules.ai.clone();
    for (key, limit) in [("ai.file_limit", ai.file_limit), ("ai.text_limit", ai.text_limit)] {
        if reader.is_faulty(key) || reader.is_faulty("ai.least_deadline") || reader.is_faulty("ai.answer_margin") {
            continue;
        }
        if ai.least_deadline + ai.margin > limit {
            let (least, margin) = (value_of(reader, "ai.least_deadline"), value_of(reader, "ai.answer_margin"));
            let cause = format!(
                "`ai.least_deadline` ({least}) and `ai.answer_margin` ({margin}) are more than `{key}` ({})",
                show_time(limit)
            );
            let set = ["ai.least_deadline", "ai.answer_margin"].into_iter().find(|k| reader.places.contains_key(*k));
            let remedy = format!("make one of them less or `{key}` more");
            fault(reader, set.unwrap_or(key), Wrong::new("E506", cause, remedy));
            return;
        }
    }
    if reader.is_faulty("ai.deadlines") {
        return;
    }
    for (pipeline, time) in &ai.deadlines {
        let (limit, key) = match pipeline.file_result() {
            true => (ai.file_limit, "ai.file_limit"),
            false => (ai.text_limit, "ai.text_limit"),
        };
        let most = limit.saturating_sub(ai.margin);
        let why = match *time {
            time if time < ai.least_deadline => {
                format!("less than `ai.least_deadline` ({})", show_time(ai.least_deadline))
            }
            time if time > most => format!("more than `{key}` leaves ({})", show_time(most)),
            _ => continue,
        };
        let cause = format!("`ai.deadlines` gives {pipeline} {}, {why}", show_time(*time));
        fault(reader, "ai.deadlines", Wrong::new("E506", cause, "it could not be kept: change one of them"));
    }
}

/// The plane as meant; faults have been told where it is not whole.
pub(super) fn plane(reader: &mut Reader, orchestrators: &[OrchestratorConfig], read: ReadSecret) -> PlaneConfig {
    let port = reader.written.runner.clone();
    let token = port.token.as_ref().and_then(|reference| take_secret(reader, "runner.token", reference, read));
    let orchestrator = orchestrator(reader, port.orchestrator.as_deref(), orchestrators);
    let runners = runners(reader, read);
    let mut care = port.care;
    // One time for both roads to a runner.
    care.connect_timeout = port.limits.connect_within;
    let config = RunnerConfig {
        listen: port.listen,
        tls: port.certificate.zip(port.key),
        token: token.map(Into::into),
        threads: port.threads.unwrap_or(RunnerConfig::default().threads),
        limits: port.limits,
    };
    PlaneConfig { port: port_open(reader).then_some(config), orchestrator, wait: Wait(port.wait), care, runners }
}

/// The orchestrator of the port, when one is named.
fn orchestrator(reader: &mut Reader, named: Option<&str>, all: &[OrchestratorConfig]) -> Option<OrchestratorName> {
    let named = named?;
    let found = all.iter().find(|o| &*o.name.0 == named).map(|o| o.name.clone());
    // Of those with faults nobody knows the name.
    if found.is_none() && all.len() == reader.written.orchestrators.len() && !reader.is_faulty("runner.orchestrator") {
        let names = || all.iter().map(|o| &*o.name.0);
        let remedy = match nearest(named, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", names().map(quote).collect::<Vec<_>>().join(", ")),
        };
        let cause = format!("`runner.orchestrator` is {}, but no orchestrator has that name", quote(named));
        fault(reader, "runner.orchestrator", Wrong::new("E508", cause, remedy));
    }
    found
}

/// Those that are whole; what is missing of the others has been told.
fn runners(reader: &mut Reader, read: ReadSecret) -> Vec<RunnerWorker> {
    let mut names = BTreeMap::new();
    let mut urls = BTreeMap::new();
    let mut all = Vec::new();
    for (index, written) in reader.written.runners.clone().into_iter().enumerate() {
        let key = format!("runners[{index}].token");
        let token = written.token.as_ref().and_then(|r| take_secret(reader, &key, r, read));
        let Some(url) = written.url.clone() else { continue };
        let authority = url.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let whole_url = url.to_string().trim_end_matches('/').to_owned();
        let path = url.path().trim_end_matches('/');
        let name = written.name.clone().unwrap_or_else(|| format!("{authority}{path}"));
        apart(reader, "runners", index, (&mut urls, &whole_url), (&mut names, &name));
        pinned_without_tls(reader, index, &written);
        all.push(RunnerWorker {
            name: WorkerName::from(name.as_str()),
            url,
            token: token.map(Into::into),
            address: written.address,
            region: written.region,
            pin: written.fingerprint,
            health: written.health,
            models: written.models,
        });
    }
    all
}

fn pinned_without_tls(reader: &mut Reader, index: usize, written: &WrittenRunner) {
    let plain = written.url.as_ref().is_some_and(|url| url.scheme_str() == Some("http"));
    if plain && written.fingerprint.is_some() {
        let key = format!("runners[{index}].fingerprint");
        let cause = format!("`{key}` is set, but its url begins with http: there is no certificate");
        fault(reader, &key, Wrong::new("E506", cause, "write `https://` in its url, or remove the fingerprint"));
    }
}
