//! From what is written to what is meant: required keys, secrets read, values that must fit one another.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::fault::{Place, Wrong};
use super::file::{WrittenOrchestrator, WrittenRunner};
use super::items::Item;
use super::reader::Reader;
use super::settings::Settings;
use super::words::SecretRef;
use crate::domain::ids::OrchestratorName;
use crate::planes::uplink::config::OrchestratorConfig;

mod ai;

/// How a reference becomes a secret; the fuzz target reads none.
pub(super) type ReadSecret<'a> = &'a dyn Fn(&str, &SecretRef) -> Result<String, Wrong>;

/// Checks everything and, when there is no fault at all, composes the settings.
pub(super) fn settle(reader: &mut Reader, read: ReadSecret) -> Option<Settings> {
    required(reader);
    joining(reader);
    certificate(reader, "workers");
    certificate(reader, "runner");
    listeners(reader);
    pairs(reader);
    ai::rules(reader);
    let shared_secret = reader
        .written
        .shared_secret
        .clone()
        .and_then(|reference| take_secret(reader, "workers.shared_secret", &reference, read));
    let orchestrators = orchestrators(reader, read);
    let runner = ai::plane(reader, &orchestrators, read);
    if !reader.faults.is_empty() {
        return None;
    }
    let written = reader.written.clone();
    let mut rules = written.rules;
    rules.join.invite = written.join.invite;
    rules.join.open = written.join.open;
    rules.join.shared = written.join.shared;
    rules.orchestrator_prices = orchestrators
        .iter()
        .zip(&written.orchestrators)
        .filter_map(|(o, w)| Some((o.name.clone(), w.price?)))
        .collect();
    let mut worker = written.worker;
    worker.certificate = written.certificate.zip(written.key);
    Some(Settings {
        pool_name: written.pool_name,
        data: written.data,
        rules,
        worker,
        edge: written.edge,
        orchestrators,
        uplink: written.uplink,
        runner,
        admin: written.admin,
        shared_secret,
        journal: written.journal,
        log: written.log,
        drain: written.drain,
    })
}

/// The place of a key, else of its section, else the file's beginning.
fn place(reader: &Reader, name: &str) -> Option<Place> {
    let parent = name.rsplit_once('.').map(|(parent, _)| parent);
    let found = reader.places.get(name).or_else(|| parent.and_then(|p| reader.places.get(p)));
    let first = || (!reader.faults.sources.is_empty()).then_some(Place { source: 0, start: 0, end: 0 });
    found.cloned().or_else(first)
}

fn fault(reader: &mut Reader, name: &str, wrong: Wrong) {
    let place = place(reader, name);
    reader.faults.add(place, wrong);
}

fn missing(reader: &mut Reader, name: &str, remedy: &str) {
    fault(reader, name, Wrong::new("E201", format!("`{name}` is missing"), remedy));
}

fn required(reader: &mut Reader) {
    if reader.written.pool_name.is_empty() && !reader.places.contains_key("pool.name") {
        missing(reader, "pool.name", "write `name:` below `pool:`, such as `name: Fjord Pool`");
    }
    if reader.written.orchestrators.is_empty() && !reader.misshapen.contains("orchestrators") {
        missing(reader, "orchestrators", "write `orchestrators:` and below it `- url:` and `secret:`");
    }
    let orchestrator = ["url: 127.0.0.1:8935", "secret: file:/etc/livepeer/secret"];
    required_of::<WrittenOrchestrator>(reader, orchestrator);
    required_of::<WrittenRunner>(reader, ["url: http://10.0.0.7:8000", "models: [text-to-image org/model x2]"]);
}

/// Keys that each item must have, with an example of each.
fn required_of<T: Item>(reader: &mut Reader, examples: [&str; 2]) {
    for index in 0..T::all(&mut reader.written).len() {
        for (leaf, example) in T::MUST.iter().zip(examples) {
            let name = format!("{}[{index}].{leaf}", T::LIST);
            if !reader.places.contains_key(&name) {
                missing(reader, &name, &format!("write it, such as `{example}`"));
            }
        }
    }
}

fn joining(reader: &mut Reader) {
    let (shared, secret) = (reader.written.join.shared, reader.places.contains_key("workers.shared_secret"));
    if shared && !secret {
        let cause = "`workers.join` has `shared`, but `workers.shared_secret` is missing";
        fault(reader, "workers.join", Wrong::new("E503", cause, "write `shared_secret: file:/path` below `workers:`"));
    }
    if secret && !shared && !reader.is_faulty("workers.join") {
        let cause = "`workers.shared_secret` is set, but `workers.join` has no `shared`";
        let remedy = "add it, such as `join: [invite, shared]`, or remove the secret";
        fault(reader, "workers.shared_secret", Wrong::new("E503", cause, remedy));
    }
}

fn certificate(reader: &mut Reader, section: &str) {
    let (certificate, key) = (format!("{section}.certificate"), format!("{section}.key"));
    match (reader.places.contains_key(&certificate), reader.places.contains_key(&key)) {
        (true, false) => {
            let cause = format!("`{certificate}` is set without `{key}`");
            fault(reader, &certificate, Wrong::new("E504", cause, "write `key:` with the PEM file of its key"));
        }
        (false, true) => {
            let cause = format!("`{key}` is set without `{certificate}`");
            fault(reader, &key, Wrong::new("E504", cause, "write `certificate:` with the PEM file of its chain"));
        }
        _ => {}
    }
}

fn listeners(reader: &mut Reader) {
    let admin = reader.written.admin.listen;
    if !reader.is_faulty("admin.listen") && !admin.ip().is_loopback() {
        let cause = format!("`admin.listen` is {admin}, which others can reach, and it asks for no password");
        let remedy = format!("write a loopback address such as `127.0.0.1:{}`", admin.port());
        fault(reader, "admin.listen", Wrong::new("E502", cause, remedy));
    }
    let mut all = vec![("workers.listen", reader.written.worker.listen), ("admin.listen", admin)];
    if ai::port_open(reader) {
        all.push(("runner.listen", reader.written.runner.listen));
        ai::runner_port(reader);
    }
    all.retain(|(name, _)| !reader.is_faulty(name));
    for (index, (one, at)) in all.iter().enumerate() {
        for (other, there) in all.iter().skip(index + 1).filter(|(_, there)| clash(*at, *there)) {
            let later = if reader.places.get(*other) >= reader.places.get(*one) { other } else { one };
            let cause = format!("`{one}` ({at}) and `{other}` ({there}) want the same port");
            fault(reader, later, Wrong::new("E501", cause, "give one of them another port"));
        }
    }
}

fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && overlap
}

/// Of two values the second must be at least the first.
fn pairs(reader: &mut Reader) {
    let w = &reader.written;
    let port = &w.runner.limits;
    let times: [(&'static str, Duration, &'static str, Duration); 2] = [
        ("retry.rest", w.rules.retry.rest, "retry.longest_rest", w.rules.retry.longest_rest),
        ("uplink.first_backoff", w.uplink.first_backoff, "uplink.longest_backoff", w.uplink.longest_backoff),
    ];
    let limits = &w.rules.limits;
    let edge = &w.edge;
    let numbers: [(&'static str, u64, &'static str, u64); 9] = [
        ("runner.most_form_in_memory", port.most_form_in_memory as u64, "runner.most_form", port.most_form_bytes),
        (
            "runner.most_form_in_memory",
            port.most_form_in_memory as u64,
            "runner.most_held",
            port.most_held_bytes as u64,
        ),
        ("runner.most_json", port.most_json_bytes as u64, "runner.most_held", port.most_held_bytes as u64),
        ("limits.memory", limits.memory_bytes, "limits.shelf", limits.shelf_bytes),
        ("limits.source", limits.source_bytes, "limits.shelf", limits.shelf_bytes),
        ("limits.part", limits.part_bytes, "limits.shelf", limits.shelf_bytes),
        ("limits.connections_per_ip", edge.connections_per_ip as u64, "limits.connections", edge.connections as u64),
        (
            "limits.unauthenticated_per_ip",
            edge.unauthenticated_per_ip as u64,
            "limits.unauthenticated",
            edge.unauthenticated as u64,
        ),
        (
            "limits.h2_stream_window",
            edge.h2_stream_window.into(),
            "limits.h2_connection_window",
            edge.h2_connection_window.into(),
        ),
    ];
    let from_times = times.into_iter().filter(|(_, a, _, b)| a > b).map(|(a, _, b, _)| (a, b));
    let from_numbers = numbers.into_iter().filter(|(_, a, _, b)| a > b).map(|(a, _, b, _)| (a, b));
    let wrong: Vec<(&str, &str)> = from_times.chain(from_numbers).collect();
    for (small, large) in wrong {
        if reader.is_faulty(small) || reader.is_faulty(large) {
            continue;
        }
        let show = |name| value_of(reader, name);
        let cause = format!("`{small}` ({}) is more than `{large}` ({})", show(small), show(large));
        let set = if reader.places.contains_key(small) { small } else { large };
        fault(reader, set, Wrong::new("E506", cause, format!("make `{small}` less or `{large}` more")));
    }
}

fn value_of(reader: &Reader, name: &str) -> String {
    let key = reader.sections.iter().flat_map(|s| &s.keys).find(|k| k.name == name);
    key.and_then(|k| (k.show)(&reader.written)).unwrap_or_default()
}

fn take_secret(reader: &mut Reader, name: &str, reference: &SecretRef, read: ReadSecret) -> Option<String> {
    match read(name, reference) {
        Ok(secret) => Some(secret),
        Err(wrong) => {
            fault(reader, name, wrong);
            None
        }
    }
}

/// Those that are whole; what is missing of the others has been told.
fn orchestrators(reader: &mut Reader, read: ReadSecret) -> Vec<OrchestratorConfig> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut urls: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for (index, written) in reader.written.orchestrators.clone().into_iter().enumerate() {
        let secret_key = format!("orchestrators[{index}].secret");
        let secret = written.secret.as_ref().and_then(|r| take_secret(reader, &secret_key, r, read));
        let Some(url) = written.url.clone() else { continue };
        let authority = url.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
        let name = written.name.clone().unwrap_or_else(|| authority.clone());
        apart(reader, "orchestrators", index, (&mut urls, &authority), (&mut names, &name));
        if let Some(secret) = secret {
            all.push(whole(written, name, url, secret));
        }
    }
    all
}

fn whole(written: WrittenOrchestrator, name: String, url: http::Uri, secret: String) -> OrchestratorConfig {
    OrchestratorConfig {
        name: OrchestratorName::from(name.as_str()),
        url,
        secret,
        segment_hosts: written.segment_hosts,
        private_segment_hosts: written.private_segment_hosts,
    }
}

type Seen = BTreeMap<String, usize>;

/// No two items of a list have one url or one name. A name that was made from the url is told as url.
fn apart(
    reader: &mut Reader,
    list: &str,
    index: usize,
    (urls, url): (&mut Seen, &str),
    (names, name): (&mut Seen, &str),
) {
    let named = reader.places.contains_key(&format!("{list}[{index}].name"));
    if !twice(reader, urls, (list, index, "url"), url) {
        twice(reader, names, (list, index, if named { "name" } else { "url" }), name);
    }
}

fn twice(reader: &mut Reader, seen: &mut Seen, (list, index, leaf): (&str, usize, &str), value: &str) -> bool {
    let Some(first) = seen.insert(value.to_ascii_lowercase(), index) else { return false };
    let cause = format!("{list} {first} and {index} both have the {leaf} {}", super::fault::quote(value));
    let remedy = if leaf == "url" { "remove one of them" } else { "give one of them another name" };
    fault(reader, &format!("{list}[{index}].{leaf}"), Wrong::new("E505", cause, remedy));
    true
}
