//! Our heartbeats: an app of the pool stands at one orchestrator as a dynamic live runner.
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::{Listed, LiveConfig, record};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::planes::runner::public::{Line, Peer, Public, path_name};
use crate::pool::Pool;
use crate::telemetry;
use crate::transport::Tasks;

#[cfg(test)]
#[path = "beat_tests.rs"]
mod tests;

const HEARTBEAT: &str = "/runners/heartbeat";
const JSON: &str = "application/json";
/// Where an answer does not say.
const USUAL: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(20);
/// Until a runner of the app comes, this is how often we look.
const LOOK: Duration = Duration::from_secs(1);
const FAREWELL: Duration = Duration::from_secs(2);
/// A wrong secret is tried again this many times less often than anything else.
const SECRET_PATIENCE: u32 = 4;

struct Heart {
    public: Arc<Public>,
    pool: Pool,
    peer: Peer,
    app: LiveConfig,
    line: Line,
    id: String,
    /// Of the registration that stands, as far as we know.
    secret: Option<String>,
    capacity: u32,
    backoff: Duration,
    trouble: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    heartbeat_interval: String,
    #[serde(default)]
    heartbeat_secret: Option<String>,
    /// Missing is not empty.
    session_ids: Option<Vec<String>>,
}

/// How long until the next one.
enum Beat {
    Next(Duration),
    /// Bootstrap.
    Forgotten,
    /// Under another id.
    Stranger,
}

/// Runs until the tasks are told to end; then takes everything back.
pub(in crate::planes::runner) fn start(public: &Arc<Public>, pool: &Pool, tasks: &Tasks) {
    let apps = public.apps.iter().filter(|app| app.listed == Listed::Dynamic);
    for (app, peer) in apps.flat_map(|app| public.peers.iter().map(move |peer| (app, peer))) {
        let line = match Line::new(peer, public.times.call) {
            Ok(line) => line,
            Err(why) => {
                telemetry::uplink_impossible(&peer.name, &why);
                continue;
            }
        };
        let mut heart = Heart {
            id: new_id(&app.app),
            public: public.clone(),
            pool: pool.clone(),
            peer: peer.clone(),
            app: app.clone(),
            line,
            secret: None,
            capacity: 0,
            backoff: public.times.first_backoff,
            trouble: String::new(),
        };
        let stop = tasks.token();
        tasks.spawn("heartbeats", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = heart.keep() => {}
            }
            let _ = timeout(FAREWELL, heart.unregister()).await;
        });
    }
}

fn new_id(app: &str) -> String {
    format!("openpool_{}_{:08x}", path_name(app), rand::random::<u32>())
}

// === impl Heart ===

impl Heart {
    async fn keep(&mut self) {
        let mut present = self.public.presence.watch();
        loop {
            let key = ModelKey::new(Pipeline::App, &self.app.app);
            let now = self.public.capacity(Pipeline::App, &self.app.app, self.app.capacity);
            if now > 0 {
                self.capacity = now;
            } else if self.capacity == 0 || !self.public.presence.lately(&key, self.public.times.health_grace) {
                // A capacity of 0 would be taken for 1.
                self.unregister().await;
                sleep(LOOK).await;
                continue;
            }
            let pause = match self.beat().await {
                Ok(Beat::Next(pause)) => {
                    self.backoff = self.public.times.first_backoff;
                    self.trouble.clear();
                    pause
                }
                Ok(Beat::Forgotten) => {
                    self.secret = None;
                    self.back_off("it has forgotten this runner")
                }
                Ok(Beat::Stranger) => {
                    let known = self.secret.take().is_some();
                    self.id = new_id(&self.app.app);
                    let wait = self.back_off("it refuses the secret of this runner");
                    if known { wait } else { wait * SECRET_PATIENCE }
                }
                Err(why) => self.back_off(&why),
            };
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    Ok(()) = present.changed() => {
                        let now = self.public.capacity(Pipeline::App, &self.app.app, self.app.capacity);
                        if now > 0 && now != self.capacity && self.trouble.is_empty() {
                            break;
                        }
                    }
                    // A restart is noticed at once.
                    () = self.line.lost() => break,
                }
            }
        }
    }

    async fn beat(&mut self) -> Result<Beat, String> {
        let (public, orchestrator) = (&self.public, &self.peer.name);
        let sessions = public.sessions.of(&self.app.app, orchestrator);
        let body = record(public, &self.app, &self.peer, &self.id, self.capacity, &sessions).to_string();
        let secret = self.secret.clone().unwrap_or_else(|| self.peer.secret.to_string());
        let asked = self.pool.clock().now();
        let (status, said) = self.line.post(HEARTBEAT, &secret, JSON, body).await?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Beat::Forgotten),
            StatusCode::UNAUTHORIZED => return Ok(Beat::Stranger),
            other => {
                let said: String = String::from_utf8_lossy(&said).chars().take(200).collect();
                return Err(format!(
                    "a heartbeat of `{}`: it answers {} `{}`",
                    self.app.app,
                    other.as_u16(),
                    said.trim()
                ));
            }
        }
        let answer: Answer = serde_json::from_slice(&said).map_err(|why| format!("a heartbeat's answer: {why}"))?;
        if let Some(secret) = answer.heartbeat_secret {
            telemetry::capability_registered(orchestrator, &self.app.app, self.capacity);
            self.secret = Some(secret);
        }
        if let Some(named) = answer.session_ids {
            for gone in self.public.sessions.keep_only(&self.app.app, orchestrator, &named, asked) {
                telemetry::runner_session_ended("app", "released");
                self.pool.end_ai_session(&gone);
            }
        }
        Ok(Beat::Next(go_duration(&answer.heartbeat_interval).unwrap_or(USUAL).max(SHORTEST)))
    }

    fn back_off(&mut self, why: &str) -> Duration {
        // Sooner than its registration expires.
        let wait = self.backoff.min(USUAL);
        self.backoff = wait * 2;
        if self.trouble != why {
            telemetry::capability_trouble(&self.peer.name, why, wait);
            why.clone_into(&mut self.trouble);
        }
        wait.mul_f64(0.5 + 0.5 * rand::random::<f64>())
    }

    async fn unregister(&mut self) {
        self.capacity = 0;
        let Some(secret) = self.secret.take() else { return };
        let path = format!("/runners/{}/unregister", self.id);
        // What is not heard ends with its time to live.
        let _ = self.line.post(&path, &secret, JSON, "").await;
        telemetry::capability_unregistered(&self.peer.name, &self.app.app);
    }
}

/// `5s`, `1m30s`, `300ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut whole = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        whole += number
            * match &rest[..word] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "µs" => 0.000_001,
                "ns" => 0.000_000_001,
                _ => return None,
            };
        rest = &rest[word..];
    }
    Duration::try_from_secs_f64(whole).ok().filter(|span| !span.is_zero())
}
