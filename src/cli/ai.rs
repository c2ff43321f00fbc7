//! `ai models`: the `aiModels.json` by which an orchestrator uses the pool's present models.
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::status;
use crate::config::settings::Settings;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::money::Price;
use crate::planes::runner::RunnerConfig;

#[derive(Clone, Debug, Args)]
pub struct ModelsArgs {
    /// How the orchestrator reaches the runner port, when not at its own address
    #[arg(long, value_name = "http://HOST:PORT")]
    pub url: Option<String>,
}

/// One entry, its keys in the order in which people know them.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Entry {
    pipeline: String,
    model_id: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    warm: bool,
    capacity: u64,
    #[serde(flatten)]
    cost: Option<Cost>,
}

/// Left out where the pool has no price: the orchestrator's own stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Cost {
    price_per_unit: Value,
    pixels_per_unit: u64,
    currency: &'static str,
}

/// Prints the file on `out`, ready to be saved, and what is worth a word on `notes`.
pub fn models(args: &ModelsArgs, settings: &Settings, out: &mut dyn Write, notes: &mut dyn Write) -> Result<()> {
    let port = settings.runner.port.as_ref().ok_or_else(|| {
        anyhow!("no runner port is configured: set `runner.listen`, or list `runners`, and start `serve` again")
    })?;
    let status: Value =
        serde_json::from_slice(&status::get(settings.admin.listen, "/status")?).context("the answer of /status")?;
    let running = status["ai"]["port"].as_str().and_then(|port| port.parse().ok());
    let base = base(args, port, running.unwrap_or(port.listen))?;
    let known = status["ai"]["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    let entries: Vec<Entry> = known.iter().filter_map(|model| entry(model, &base, settings, port)).collect();
    writeln!(out, "{}", serde_json::to_string_pretty(&entries)?).context("printing")?;
    let unpriced = entries.iter().filter(|entry| entry.cost.is_none()).count();
    for note in remarks(args, port, entries.len(), unpriced) {
        writeln!(notes, "note: {note}").context("printing")?;
    }
    Ok(())
}

/// None: no pipeline that an orchestrator's file may name.
fn entry(model: &Value, base: &str, settings: &Settings, port: &RunnerConfig) -> Option<Entry> {
    let pipeline = Pipeline::from_name(model["pipeline"].as_str()?).filter(|p| Pipeline::STOCK.contains(p))?;
    let key = ModelKey::new(pipeline, model["model"].as_str()?);
    Some(Entry {
        url: format!("{base}/{}", crate::planes::runner::model_prefix(&key)),
        token: port.token.as_deref().map(str::to_owned),
        warm: model["warm"].as_bool().unwrap_or(true),
        capacity: model["capacity"].as_u64().unwrap_or(1),
        cost: cost(settings.rules.ai_price(&key)),
        pipeline: pipeline.name().to_owned(),
        model_id: key.model.to_string(),
    })
}

fn cost(price: Price) -> Option<Cost> {
    let wei = u64::try_from(price.wei).map_or_else(|_| Value::from(price.wei.to_string()), Value::from);
    (price.wei > 0).then_some(Cost { price_per_unit: wei, pixels_per_unit: price.units, currency: "wei" })
}

/// Scheme and host of the runner port as the orchestrator sees it.
fn base(args: &ModelsArgs, port: &RunnerConfig, listen: SocketAddr) -> Result<String> {
    let scheme = if port.tls.is_some() { "https" } else { "http" };
    let Some(url) = &args.url else {
        let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
        return Ok(format!("{scheme}://{}", SocketAddr::new(host, listen.port())));
    };
    let whole = if url.contains("://") { url.clone() } else { format!("{scheme}://{url}") };
    let good = whole.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some() && uri.query().is_none());
    if !good || !(whole.starts_with("http://") || whole.starts_with("https://")) {
        return Err(anyhow!("--url {url} is no address; write it as {scheme}://HOST:{}", listen.port()));
    }
    Ok(whole.trim_end_matches('/').to_owned())
}

fn remarks(args: &ModelsArgs, port: &RunnerConfig, models: usize, unpriced: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if models == 0 {
        notes.push("the pool has no model now: no AI worker is here, and no runner is well".into());
    }
    if args.url.is_none() && port.listen.ip().is_unspecified() {
        notes.push("an orchestrator on another machine needs --url http://HOST:PORT".into());
    }
    if args.url.is_none() && port.tls.is_some() {
        notes
            .push("orchestrators verify certificates: --url must have the host that `runner.certificate` names".into());
    }
    if unpriced > 0 {
        let which = if unpriced == models { "no model has" } else { "some models have no" };
        let which = if unpriced == models { format!("{which} a price") } else { format!("{which} price") };
        notes.push(format!("{which}, so the orchestrator's own stands: set `ai.price` or `ai.prices`"));
    }
    if port.token.is_some() {
        notes.push("the file holds the port's token: keep it to yourself (mode 600)".into());
    }
    notes
}

#[cfg(test)]
#[path = "ai_tests.rs"]
mod tests;
