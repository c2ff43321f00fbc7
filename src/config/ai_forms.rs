//! The forms of AI: models with their capacity, prices and deadlines by pipeline.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::fault::{Wrong, quote};
use super::forms::{Flag, Form, PRICE, Time, count, price, scalar};
use super::hints::nearest;
use super::tree::{Kind, Node};
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::money::Price;

pub(super) struct Models;
pub(super) struct Prices;
pub(super) struct Deadlines;

/// The most items of one list.
const MOST: usize = 1_000;
const LONGEST_MODEL: usize = 200;

type PriceKey = (Pipeline, Option<Arc<str>>);

fn pipeline(name: &str, text: &str) -> Result<Pipeline, Wrong> {
    let all = || Pipeline::ALL.into_iter().map(Pipeline::name);
    Pipeline::from_name(text).ok_or_else(|| {
        let remedy = match nearest(&text.replace('_', "-"), all()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", all().collect::<Vec<_>>().join(", ")),
        };
        Wrong::new("E313", format!("`{name}` is {}, not a pipeline", quote(text)), remedy)
    })
}

/// A model's name stands in addresses and in compact lists, so it has no blanks and nothing that
/// would need another spelling there.
fn model(name: &str, text: &str) -> Result<Arc<str>, Wrong> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./:@+~".contains(c);
    let edge = text.starts_with(['/', ':']) || text.ends_with('/') || text.contains("//") || text.contains("..");
    if text.is_empty() || text.len() > LONGEST_MODEL || !text.chars().all(good) || edge {
        let remedy = "write its name as orchestrators ask for it, such as `SG161222/RealVisXL_V4.0_Lightning`";
        return Err(Wrong::new("E309", format!("`{name}` is {}, not the name of a model", quote(text)), remedy));
    }
    Ok(text.into())
}

/// The items of a list, and what it was called; none when nothing is written.
fn items<'a>(name: &str, node: &'a Node, remedy: &str) -> Result<&'a [Node], Wrong> {
    match &node.kind {
        Kind::List(items) if items.len() > MOST => {
            let cause = format!("`{name}` has {} items, the most is {MOST}", items.len());
            Err(Wrong::new("E310", cause, "keep those that are needed"))
        }
        Kind::List(items) => Ok(items),
        Kind::Null => Ok(&[]),
        _ => Err(Wrong::new("E202", format!("`{name}` is a list"), remedy)),
    }
}

/// A mapping inside a value: its entries by key, and what is wrong with the keys themselves.
struct Fields<'a> {
    name: &'a str,
    span: &'a Range<usize>,
    found: BTreeMap<&'a str, &'a Node>,
    wrong: Vec<Wrong>,
}

// === impl Fields ===

impl<'a> Fields<'a> {
    fn of(name: &'a str, node: &'a Node, known: &[&str]) -> Option<Fields<'a>> {
        let Kind::Map(entries) = &node.kind else { return None };
        let mut fields = Fields { name, span: &node.span, found: BTreeMap::new(), wrong: Vec::new() };
        for entry in entries {
            let key = entry.key.as_str();
            let (code, cause, remedy) = if !known.contains(&key) {
                let near = nearest(key, known.iter().copied());
                let remedy = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("keys here: `{}`", known.join("`, `")),
                };
                ("E207", format!("unknown key {} in `{name}`", quote(key)), remedy)
            } else if fields.found.insert(key, &entry.value).is_some() {
                ("E104", format!("{} is set twice in `{name}`", quote(key)), "keep one".to_owned())
            } else {
                continue;
            };
            fields.wrong.push(Wrong::new(code, cause, remedy).at(&entry.key_span));
        }
        Some(fields)
    }

    /// A key that may be missing, read by `read`.
    fn take<T>(&mut self, key: &str, read: impl FnOnce(&str, &Node) -> Result<T, Wrong>) -> Option<T> {
        let node = self.found.get(key)?;
        let span = if node.kind == Kind::Null { self.span } else { &node.span };
        match read(&format!("{}.{key}", self.name), node) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong.push(if wrong.at.is_some() { wrong } else { wrong.at(span) });
                None
            }
        }
    }

    /// A key that must be there.
    fn must<T>(&mut self, key: &str, remedy: &str, read: impl FnOnce(&str, &Node) -> Result<T, Wrong>) -> Option<T> {
        if !self.found.contains_key(key) {
            let cause = format!("`{}.{key}` is missing", self.name);
            self.wrong.push(Wrong::new("E201", cause, remedy).at(self.span));
        }
        self.take(key, read)
    }
}

const A_PIPELINE: &str = "write a pipeline such as `text-to-image`";
const A_MODEL: &str = "write `model:` with the name that orchestrators ask for";

fn pipeline_of(name: &str, node: &Node) -> Result<Pipeline, Wrong> {
    pipeline(name, scalar(name, node, A_PIPELINE)?)
}

fn model_of(name: &str, node: &Node) -> Result<Arc<str>, Wrong> {
    model(name, scalar(name, node, A_MODEL)?)
}

/// Reads each item of a list, and keeps what is wrong with all of them.
fn each<T>(name: &str, items: &[Node], read: impl Fn(&str, &Node) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    let mut wrongs = Vec::new();
    let mut all = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match read(&format!("{name}[{index}]"), item) {
            Ok(value) => all.push(value),
            Err(mut wrong) => {
                wrongs.append(&mut wrong.also);
                wrongs.push(if wrong.at.is_some() { wrong } else { wrong.at(&item.span) });
            }
        }
    }
    Wrong::all(wrongs).map_or(Ok(all), Err)
}

fn twice(name: &str, what: &str, span: &Range<usize>) -> Wrong {
    Wrong::new("E505", format!("`{name}` has {} twice", quote(what)), "remove one of them").at(span)
}

// === impl Form for Models ===

const MODELS: &str = "write a list such as `[text-to-image org/model x2, llm org/other]`";

/// `text-to-image org/model x2 cold`, or a mapping of the same.
fn offer(name: &str, node: &Node) -> Result<ModelOffer, Wrong> {
    let whole = |key: ModelKey, capacity, warm| ModelOffer { key, capacity, warm, version: String::new() };
    if let Some(mut fields) = Fields::of(name, node, &["pipeline", "model", "capacity", "warm"]) {
        let pipeline = fields.must("pipeline", A_PIPELINE, pipeline_of);
        let model = fields.must("model", A_MODEL, model_of);
        let capacity = fields.take("capacity", |name, node| count(1, 10_000).read(name, node));
        let warm = fields.take("warm", |name, node| Flag.read(name, node));
        return match (Wrong::all(fields.wrong), pipeline.zip(model)) {
            (None, Some((pipeline, model))) => {
                Ok(whole(ModelKey { pipeline, model }, capacity.unwrap_or(1), warm.unwrap_or(true)))
            }
            (Some(wrong), _) => Err(wrong),
            (None, None) => Err(Wrong::new("E201", format!("`{name}` is not whole"), MODELS)),
        };
    }
    let mut words = scalar(name, node, MODELS)?.split_whitespace();
    let pipeline = pipeline(name, words.next().unwrap_or_default())?;
    let Some(named) = words.next() else {
        return Err(Wrong::new("E201", format!("`{name}` names no model after `{pipeline}`"), MODELS));
    };
    let mut made = whole(ModelKey { pipeline, model: model(name, named)? }, 1, true);
    for word in words {
        match word.strip_prefix('x').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())) {
            Some(number) => made.capacity = count(1, 10_000).read(name, &Node::scalar(number))?,
            None if word == "cold" || word == "warm" => made.warm = word == "warm",
            None => {
                let cause = format!("`{name}` ends in {}", quote(word));
                return Err(Wrong::new("E309", cause, "after the model come `x2` for two jobs at once, and `cold`"));
            }
        }
    }
    Ok(made)
}

impl Form for Models {
    type Value = Vec<ModelOffer>;
    fn unit(&self) -> &'static str {
        "models"
    }
    fn read(&self, name: &str, node: &Node) -> Result<Vec<ModelOffer>, Wrong> {
        // One model alone may be written without a list.
        let one = std::slice::from_ref(node);
        let items = if matches!(node.kind, Kind::Scalar(_)) { one } else { items(name, node, MODELS)? };
        if items.is_empty() {
            return Err(Wrong::new("E310", format!("`{name}` is empty: it would get no work"), MODELS));
        }
        let all = each(name, items, offer)?;
        let mut seen = BTreeSet::new();
        match all.iter().zip(items).find(|(offer, _)| !seen.insert(&offer.key)) {
            Some((offer, item)) => Err(twice(name, &offer.key.to_string(), &item.span)),
            None => Ok(all),
        }
    }
    fn show(&self, value: &Vec<ModelOffer>) -> Option<String> {
        let one = |offer: &ModelOffer| {
            let times = if offer.capacity == 1 { String::new() } else { format!(" x{}", offer.capacity) };
            format!("{}{times}{}", offer.key, if offer.warm { "" } else { " cold" })
        };
        (!value.is_empty()).then(|| format!("[{}]", value.iter().map(one).collect::<Vec<_>>().join(", ")))
    }
}

// === impl Form for Prices ===

const PRICES: &str = "write a list such as `[llm 1/10, text-to-image org/model 1200]`";

/// `llm 1/10`, `llm org/model 1/10`, or a mapping of the same.
fn priced(name: &str, node: &Node) -> Result<(PriceKey, Price), Wrong> {
    if let Some(mut fields) = Fields::of(name, node, &["pipeline", "model", "price"]) {
        let pipeline = fields.must("pipeline", A_PIPELINE, pipeline_of);
        let model = fields.take("model", model_of);
        let found = fields.must("price", PRICE, |name, node| price(name, scalar(name, node, PRICE)?));
        return match (Wrong::all(fields.wrong), pipeline.zip(found)) {
            (None, Some((pipeline, price))) => Ok(((pipeline, model), price)),
            (Some(wrong), _) => Err(wrong),
            (None, None) => Err(Wrong::new("E201", format!("`{name}` is not whole"), PRICES)),
        };
    }
    let words: Vec<&str> = scalar(name, node, PRICES)?.split_whitespace().collect();
    let kind = pipeline(name, words.first().unwrap_or(&""))?;
    match words.get(1..).unwrap_or_default() {
        [cost] => Ok(((kind, None), price(name, cost)?)),
        [named, cost] => Ok(((kind, Some(model(name, named)?)), price(name, cost)?)),
        [] => Err(Wrong::new("E201", format!("`{name}` names no price after `{kind}`"), PRICES)),
        _ => Err(Wrong::new("E308", format!("`{name}` has more than pipeline, model and price"), PRICES)),
    }
}

impl Form for Prices {
    type Value = BTreeMap<PriceKey, Price>;
    fn unit(&self) -> &'static str {
        "prices"
    }
    fn read(&self, name: &str, node: &Node) -> Result<BTreeMap<PriceKey, Price>, Wrong> {
        let items = items(name, node, PRICES)?;
        let mut all = BTreeMap::new();
        for ((key, price), item) in each(name, items, priced)?.into_iter().zip(items) {
            let shown = key.1.as_ref().map_or(key.0.to_string(), |model| format!("{} {model}", key.0));
            if all.insert(key, price).is_some() {
                return Err(twice(name, &shown, &item.span));
            }
        }
        Ok(all)
    }
    fn show(&self, value: &BTreeMap<PriceKey, Price>) -> Option<String> {
        let one = |((pipeline, model), price): (&PriceKey, &Price)| match model {
            Some(model) => format!("{pipeline} {model} {price}"),
            None => format!("{pipeline} {price}"),
        };
        Some(format!("[{}]", value.iter().map(one).collect::<Vec<_>>().join(", ")))
    }
}

// === impl Form for Deadlines ===

impl Form for Deadlines {
    type Value = BTreeMap<Pipeline, Duration>;
    fn unit(&self) -> &'static str {
        "times"
    }
    fn read(&self, name: &str, node: &Node) -> Result<BTreeMap<Pipeline, Duration>, Wrong> {
        let remedy = "write a mapping such as `{text-to-image: 2 min, llm: 5 min}`";
        let entries = match &node.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null => &[],
            Kind::List(items) if items.is_empty() => &[],
            _ => return Err(Wrong::new("E202", format!("`{name}` is a mapping of pipelines to times"), remedy)),
        };
        let mut wrongs = Vec::new();
        let mut all = BTreeMap::new();
        for entry in entries {
            let full = format!("{name}.{}", entry.key.chars().take(40).collect::<String>());
            let span = if entry.value.kind == Kind::Null { &entry.key_span } else { &entry.value.span };
            let time = Time(1_000, 900_000).read(&full, &entry.value).map_err(|wrong| wrong.at(span));
            match (pipeline(name, &entry.key).map_err(|wrong| wrong.at(&entry.key_span)), time) {
                (Ok(pipeline), Ok(time)) if all.insert(pipeline, time).is_some() => {
                    wrongs.push(Wrong::new("E104", format!("`{full}` is set twice"), "keep one").at(&entry.key_span));
                }
                (Ok(_), Ok(_)) => {}
                (pipeline, time) => wrongs.extend(pipeline.err().into_iter().chain(time.err())),
            }
        }
        Wrong::all(wrongs).map_or(Ok(all), Err)
    }
    fn show(&self, value: &BTreeMap<Pipeline, Duration>) -> Option<String> {
        let one = |(pipeline, time): (&Pipeline, &Duration)| format!("{pipeline}: {}", super::units::show_time(*time));
        Some(format!("{{{}}}", value.iter().map(one).collect::<Vec<_>>().join(", ")))
    }
}
