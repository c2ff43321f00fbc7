//! Live runners: apps that orchestrators know us for, by a static file or by our heartbeats; and
//! runners of workers that beat to us.
pub(super) mod beat;
pub(super) mod beats;
pub(super) mod sessions;

use std::sync::Arc;

use serde_json::{Value, json};

use super::config::PlaneConfig;
use super::public::{Peer, Public, path_name};
use crate::domain::ai::Pipeline;
use crate::domain::ids::OrchestratorName;

/// An app as orchestrators shall know it.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// Its name there, and the model's name here: `live-video-to-video/scope`.
    pub app: Arc<str>,
    pub version: String,
    pub mode: LiveMode,
    pub listed: Listed,
    /// In US dollars, over 0.
    pub price: f64,
    pub unit: PriceUnit,
    /// At most so many sessions; None: all that the pool has.
    pub capacity: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveMode {
    /// A session, many requests.
    #[default]
    Persistent,
    /// One request, one session.
    SingleShot,
}

/// How an orchestrator learns of an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listed {
    /// By its `-liveRunnerConfig`.
    Static,
    /// By our heartbeats.
    #[default]
    Dynamic,
}

/// What a price is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PriceUnit {
    #[default]
    Hour,
    /// 1280 x 720 x 30 pixels for each second.
    P720,
    /// Once a session.
    Fixed,
}

/// Below an app's address: how it is here. No app's own path.
pub(super) const HEALTH: &str = ".openpool/health";

// === impl LiveMode ===

impl LiveMode {
    pub fn name(self) -> &'static str {
        match self {
            LiveMode::Persistent => "persistent",
            LiveMode::SingleShot => "single-shot",
        }
    }
}

// === impl PriceUnit ===

impl PriceUnit {
    pub fn name(self) -> &'static str {
        match self {
            PriceUnit::Hour => "hour",
            PriceUnit::P720 => "720p",
            PriceUnit::Fixed => "fixed",
        }
    }

    pub fn from_name(name: &str) -> Option<PriceUnit> {
        [PriceUnit::Hour, PriceUnit::P720, PriceUnit::Fixed].into_iter().find(|unit| unit.name() == name)
    }
}

// === impl LiveConfig ===

impl LiveConfig {
    /// Hourly, dynamic, all that the pool has.
    pub fn new(app: &str, price: f64) -> LiveConfig {
        LiveConfig {
            app: app.into(),
            version: String::new(),
            mode: LiveMode::default(),
            listed: Listed::default(),
            price,
            unit: PriceUnit::default(),
            capacity: None,
        }
    }

    fn price_info(&self) -> Value {
        json!({ "price": self.price, "currency": "usd", "unit": self.unit.name() })
    }
}

/// What `-liveRunnerConfig` of `orchestrator` shall say: every static app, with room for as many
/// sessions as `capacity` tells, or for one of an app that the pool does not have yet. `first` is
/// the first orchestrator of the settings. None: the port has no `public_url`.
pub fn static_config(
    plane: &PlaneConfig,
    first: &OrchestratorName,
    orchestrator: &OrchestratorName,
    capacity: impl Fn(&str) -> u32,
) -> Option<Value> {
    let (port, url) = (plane.port.as_ref()?, plane.public_url.as_deref()?);
    let first = plane.orchestrator.as_ref().unwrap_or(first);
    let address = |app: &str| Public::app_address(url, port.token.as_deref(), first, app, orchestrator);
    let entries = plane.apps.iter().filter(|one| one.listed == Listed::Static).map(|one| {
        let url = address(&one.app);
        json!({
            "label": format!("openpool-{}", path_name(&one.app)),
            "routing": "label",
            "health_url": format!("{url}/{HEALTH}"),
            "runner_url": url,
            "healthy_status_code": 200,
            "app": &*one.app,
            "version": one.version,
            "metadata": "",
            "mode": one.mode.name(),
            "capacity": capacity(&one.app).min(one.capacity.unwrap_or(u32::MAX)).max(1),
            "proxy": false,
            "price_info": one.price_info(),
        })
    });
    Some(json!({ "runners": entries.collect::<Vec<_>>() }))
}

/// A heartbeat's record: every field, for each replaces the whole.
fn record(
    public: &Public,
    app: &LiveConfig,
    peer: &Peer,
    runner_id: &str,
    capacity: u32,
    sessions: &[String],
) -> Value {
    json!({
        "runner_id": runner_id,
        "label": format!("openpool-{}", path_name(&app.app)),
        "proxy": false,
        "runner_url": public.address(Pipeline::App, &app.app, &peer.name),
        "version": app.version,
        "metadata": "",
        "status": "ready",
        "mode": app.mode.name(),
        "gpu": { "id": "0", "name": "", "vram_mb": 0 },
        "app": &*app.app,
        "capacity": capacity,
        "price_info": app.price_info(),
        "session_ids": sessions,
    })
}
