//! `OPENPOOL_SECTION__KEY`: every key may be set by the environment, which goes before the file.
use std::collections::BTreeMap;

use super::fault::{Place, Wrong, quote};
use super::file::{Origin, WrittenOrchestrator, WrittenRunner};
use super::hints::nearest;
use super::items::Item;
use super::reader::Reader;
use super::tree::{self, Entry, Kind, Node};
use super::words::SecretRef;

pub(super) const PREFIX: &str = "OPENPOOL_";
/// Variables of ours that are no keys.
const KNOWN: [&str; 1] = ["OPENPOOL_CONFIG"];
const LONGEST_VALUE: usize = 64 << 10;

/// The environment of this process. Variables that are not UTF-8 are taken as far as they are.
pub fn of_process() -> BTreeMap<String, String> {
    std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned())).collect()
}

/// What a variable's name stands for.
enum Target {
    Key {
        full: String,
        secret: bool,
        list: bool,
    },
    /// A whole list, by its key.
    List(&'static str),
    /// A leaf of one item: list, index, leaf, whether it is a list itself.
    Item(&'static str, usize, String, bool),
    Unknown,
}

/// Lays the variables over what the file said.
pub(super) fn overlay(reader: &mut Reader, env: &BTreeMap<String, String>) {
    let mut late = Vec::new();
    let mut items = Vec::new();
    for (name, value) in env.iter().filter(|(name, _)| name.starts_with(PREFIX) && !KNOWN.contains(&name.as_str())) {
        match target(reader, name) {
            _ if value.len() > LONGEST_VALUE => {
                let source = reader.source("environment", name, None);
                let cause = format!("the value of {} is too long", quote(name));
                reader.wrong(source, &(0..name.len()), Wrong::new("E309", cause, "shorten it"));
            }
            Target::Key { full, secret, list } => set(reader, name, value, &full, secret, list),
            Target::List(list) => {
                let Some((source, node)) = node_of(reader, name, value, true) else { continue };
                match list {
                    WrittenRunner::LIST => reader.list::<WrittenRunner>(source, &node, &(0..value.len())),
                    _ => reader.list::<WrittenOrchestrator>(source, &node, &(0..value.len())),
                }
            }
            Target::Item(list, index, leaf, is_list) => items.push((index, list, name, value, leaf, is_list)),
            Target::Unknown => late.push(name),
        }
    }
    items.sort_by_key(|(index, ..)| *index);
    for (index, list, name, value, leaf, is_list) in items {
        match list {
            WrittenRunner::LIST => item::<WrittenRunner>(reader, name, value, index, leaf, is_list),
            _ => item::<WrittenOrchestrator>(reader, name, value, index, leaf, is_list),
        }
    }
    // Variables that hold secrets are named in the configuration; the others are slips.
    let used: Vec<String> = references(reader);
    for name in late.into_iter().filter(|name| !used.contains(name)) {
        let source = reader.source("environment", name, None);
        let remedy = suggestion(reader, name);
        let cause = format!("unknown environment variable {}", quote(name));
        reader.wrong(source, &(0..name.len()), Wrong::new("E208", cause, remedy));
    }
}

fn target(reader: &Reader, name: &str) -> Target {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    if rest == "COMMISSION" {
        return Target::Key { full: "pool.commission".into(), secret: false, list: false };
    }
    let full = rest.to_ascii_lowercase().replace("__", ".");
    let item = item_of::<WrittenOrchestrator>(reader, &full).or_else(|| item_of::<WrittenRunner>(reader, &full));
    if let Some(target) = item {
        return target;
    }
    let key = reader.sections.iter().flat_map(|s| &s.keys).find(|k| k.name == full);
    key.map_or(Target::Unknown, |k| Target::Key { full, secret: k.secret(), list: k.structured() })
}

/// The list, or a leaf of one of its items.
fn item_of<T: Item>(reader: &Reader, full: &str) -> Option<Target> {
    let rest = full.strip_prefix(T::LIST)?;
    if rest.is_empty() {
        return Some(Target::List(T::LIST));
    }
    let (index, leaf) = rest.strip_prefix('.')?.split_once('.')?;
    let key = T::keys(reader).iter().find(|k| k.name == leaf)?;
    Some(Target::Item(T::LIST, index.parse().ok()?, leaf.to_owned(), key.structured()))
}

/// A variable's value as a node: a list is YAML, anything else the text as it is. A secret is never
/// taken in here: it becomes a reference to its own variable.
fn node_of(reader: &mut Reader, name: &str, value: &str, list: bool) -> Option<(usize, Node)> {
    let label = format!("env {name}");
    if !list {
        let node = if value.trim().is_empty() { Node { kind: Kind::Null, span: 0..0 } } else { Node::scalar(value) };
        let source = reader.source(&label, value, Some(&node));
        return Some((source, node));
    }
    match tree::parse(value) {
        Ok(node) => {
            let source = reader.source(&label, value, Some(&node));
            Some((source, node))
        }
        Err(why) => {
            let source = reader.source(&label, value, None);
            let wrong =
                Wrong::new("E102", format!("{} is not YAML", quote(name)), "write a list such as `[invite, open]`");
            reader.wrong(source, &(why.at..why.at), wrong);
            None
        }
    }
}

/// `env:` of the variable itself, when its value is the secret.
fn secret_node(reader: &mut Reader, name: &str, value: &str) -> (usize, Node) {
    let value = value.trim();
    let own = SecretRef::Env(name.to_owned()).to_string();
    let node = Node::scalar(if super::redact::is_reference(value) { value } else { &own });
    let text = if super::redact::is_reference(value) { value } else { &own };
    (reader.source(&format!("env {name}"), text, Some(&node)), node)
}

fn set(reader: &mut Reader, name: &str, value: &str, full: &str, secret: bool, list: bool) {
    let (source, node) = if secret {
        secret_node(reader, name, value)
    } else {
        let Some(found) = node_of(reader, name, value, list) else { return };
        found
    };
    let Some(key) = reader.sections.iter().flat_map(|s| &s.keys).find(|k| k.name == full) else { return };
    let result = (key.set)(&mut reader.written, full, &node);
    reader.note(full, Place::new(source, &node.span), Origin::Variable(name.to_owned()));
    if let Err(wrong) = result {
        reader.wrong(source, &node.span, wrong);
    }
}

fn item<T: Item>(reader: &mut Reader, name: &str, value: &str, index: usize, leaf: String, is_list: bool) {
    let there = T::all(&mut reader.written).len();
    if index > there || index >= T::MOST {
        let source = reader.source("environment", name, None);
        let one = T::ONE.rsplit(' ').next().unwrap_or(T::ONE);
        let cause = format!("{} names {one} {index}, but there are {there}", quote(name));
        let remedy = format!("count from 0; the next one is {there}");
        return reader.wrong(source, &(0..name.len()), Wrong::new("E208", cause, remedy));
    }
    let secret = T::keys(reader).iter().any(|k| k.name == leaf && k.secret());
    let (source, node) = if secret {
        secret_node(reader, name, value)
    } else {
        let Some(found) = node_of(reader, name, value, is_list) else { return };
        found
    };
    if index == there {
        T::all(&mut reader.written).push(T::default());
        reader.places.insert(format!("{}[{index}]", T::LIST), Place::new(source, &node.span));
    }
    let entry = Entry { key: leaf, key_span: 0..0, value: node };
    reader.list_key::<T>(source, index, &entry);
}

/// Names of variables that `env:` references point to.
fn references(reader: &Reader) -> Vec<String> {
    let written = &reader.written;
    let orchestrators = written.orchestrators.iter().filter_map(|o| o.secret.as_ref());
    let runners = written.runners.iter().filter_map(|r| r.token.as_ref());
    let all = orchestrators.chain(runners).chain(&written.shared_secret).chain(&written.runner.token);
    all.filter_map(|secret| match secret {
        SecretRef::Env(name) => Some(name.clone()),
        SecretRef::File(_) => None,
    })
    .collect()
}

fn suggestion(reader: &Reader, name: &str) -> String {
    let mut names: Vec<String> = reader.sections.iter().flat_map(|s| &s.keys).map(|k| variable(k.name)).collect();
    names.extend(reader.orchestrator_keys.iter().map(|k| variable(&format!("orchestrators.0.{}", k.name))));
    names.extend(reader.runner_keys.iter().map(|k| variable(&format!("runners.0.{}", k.name))));
    names.extend(KNOWN.map(str::to_owned));
    names.push("OPENPOOL_COMMISSION".into());
    // Compared without the common beginning, which would make all of them near.
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_ascii_lowercase();
    let plain: Vec<(String, &String)> = names.iter().map(|n| (bare(n), n)).collect();
    let near = nearest(&bare(name), plain.iter().map(|(p, _)| p.as_str()));
    match near.and_then(|near| plain.iter().find(|(p, _)| p == near)) {
        Some((_, full)) => format!("did you mean `{full}`?"),
        None => "variables are OPENPOOL_SECTION__KEY; `openpool-proxy config show` lists the keys".into(),
    }
}

/// The variable of a key.
pub(super) fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.replace('.', "__").to_ascii_uppercase())
}
