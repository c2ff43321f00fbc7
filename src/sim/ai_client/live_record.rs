//! What a live runner says of itself, by the static file or by a heartbeat.
use serde::Deserialize;
use serde_json::Value;

/// As an entry of the static file or a heartbeat says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) runner_id: String,
    pub(super) label: String,
    pub(super) routing: String,
    pub(super) runner_url: String,
    pub(super) health_url: String,
    pub(super) healthy_status_code: u16,
    pub(super) app: String,
    pub(super) version: String,
    pub(super) metadata: String,
    pub(super) mode: String,
    pub(super) status: String,
    pub(super) capacity: i64,
    pub(super) price_info: Value,
}

const MOST_METADATA: usize = 1024;

// === impl Record ===

impl Record {
    pub(super) fn checked_static(mut self) -> Result<Record, String> {
        if self.label.is_empty() || self.label != self.label.trim() {
            return Err("label is required and must be trimmed".into());
        }
        if !["", "runner-id", "label"].contains(&self.routing.as_str()) {
            return Err("routing must be \"runner-id\" or \"label\"".into());
        }
        if self.routing == "label" && self.label.contains('/') {
            return Err("label cannot contain /".into());
        }
        if self.health_url.starts_with('/') {
            self.health_url = format!("{}{}", self.runner_url.trim_end_matches('/'), self.health_url);
        }
        if !is_url(&self.health_url) {
            return Err("invalid health_url".into());
        }
        if self.healthy_status_code == 0 {
            self.healthy_status_code = 200;
        }
        self.checked()
    }

    /// The price is looked at on-chain only, which this is not.
    pub(super) fn checked(mut self) -> Result<Record, String> {
        if !is_url(&self.runner_url) {
            return Err("invalid runner_url".into());
        }
        if self.app.is_empty() || self.app != self.app.trim() {
            return Err("app must be trimmed".into());
        }
        if self.metadata.len() > MOST_METADATA {
            return Err("metadata must be at most 1024 bytes".into());
        }
        if self.status != self.status.trim().to_lowercase() {
            return Err("status must be lowercase and trimmed".into());
        }
        match self.mode.as_str() {
            "" => self.mode = "persistent".into(),
            "single_shot" => self.mode = "single-shot".into(),
            "persistent" | "single-shot" => {}
            _ => return Err("mode must be \"persistent\" or \"single-shot\"".into()),
        }
        match self.capacity {
            ..0 => return Err("capacity must be >= 0".into()),
            0 => self.capacity = 1,
            1.. => {}
        }
        Ok(self)
    }
}

fn is_url(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>();
    parsed.is_ok_and(|url| url.host().is_some() && ["http", "https"].contains(&url.scheme_str().unwrap_or_default()))
}
