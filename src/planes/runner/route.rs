//! What an address on the runner port means.
use http::Method;

use crate::domain::ai::Pipeline;

/// Where a request wants to go. Slices of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    Health {
        prefix: &'a str,
    },
    Version {
        prefix: &'a str,
    },
    HardwareInfo {
        prefix: &'a str,
    },
    HardwareStats {
        prefix: &'a str,
    },
    /// `POST <prefix>/<pipeline>`; a prefix (without slashes at its ends) may tell models apart.
    Pipeline {
        prefix: &'a str,
        pipeline: Pipeline,
    },
    /// `/byoc/<name>/<rest>`.
    Byoc {
        name: &'a str,
        rest: &'a str,
    },
    /// `/apps/<app>/<rest>`.
    App {
        app: &'a str,
        rest: &'a str,
    },
    /// `/ai/trickle/<rest>`.
    Trickle {
        rest: &'a str,
    },
    /// `POST /runners/heartbeat`: a worker's own runner.
    Heartbeat,
    /// `POST /runners/<id>/unregister`.
    Unregister {
        id: &'a str,
    },
    Other,
}

/// Who reads our errors, and what they survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// A stock orchestrator's runner client for this pipeline: few statuses, JSON only.
    Runner(Pipeline),
    /// Everybody else: plain HTTP statuses.
    Plain,
}

// === impl Route ===

impl<'a> Route<'a> {
    pub fn of(method: &Method, path: &'a str) -> Route<'a> {
        let path = path.trim_start_matches('/');
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "byoc" | "apps" => {
                let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
                return match (first, name) {
                    (_, "") => Route::Other,
                    ("byoc", name) => Route::Byoc { name, rest },
                    (_, app) => Route::App { app, rest },
                };
            }
            "runners" if *method == Method::POST => match rest.split_once('/') {
                None if rest == "heartbeat" => return Route::Heartbeat,
                Some((id, "unregister")) => return Route::Unregister { id },
                _ => {}
            },
            "ai" => {
                if let Some(rest) = rest.strip_prefix("trickle/") {
                    return Route::Trickle { rest };
                }
            }
            _ => {}
        }
        let (prefix, last) = path.rsplit_once('/').unwrap_or(("", path));
        match (method, last) {
            (&Method::GET, "health") => Route::Health { prefix },
            (&Method::GET, "version") => Route::Version { prefix },
            (&Method::GET, "info" | "stats") => hardware(prefix, last),
            (&Method::POST, name) => match Pipeline::from_name(name) {
                Some(pipeline) if Pipeline::STOCK.contains(&pipeline) => Route::Pipeline { prefix, pipeline },
                _ => Route::Other,
            },
            _ => Route::Other,
        }
    }

    pub fn manner(&self) -> Manner {
        match self {
            Route::Pipeline { pipeline, .. } => Manner::Runner(*pipeline),
            _ => Manner::Plain,
        }
    }

    /// Whether the port's token guards it. Clients of apps and workers' channels do not have it:
    /// there the doorman looks at what they show.
    pub fn needs_token(&self) -> bool {
        let own = matches!(self, Route::Heartbeat | Route::Unregister { .. });
        !own && !matches!(self, Route::App { .. } | Route::Trickle { .. })
    }
}

fn hardware<'a>(prefix: &'a str, last: &str) -> Route<'a> {
    let (prefix, middle) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    match (middle, last) {
        ("hardware", "info") => Route::HardwareInfo { prefix },
        ("hardware", "stats") => Route::HardwareStats { prefix },
        _ => Route::Other,
    }
}
