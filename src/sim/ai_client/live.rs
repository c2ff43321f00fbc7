//! Live runners: static ones, whose health is asked, and dynamic ones, which send heartbeats.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{Request, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

use super::live_record::Record;
use crate::sim::ai_orchestrator::{Ai, random_id};
use crate::sim::orchestrator::listen::full;
use crate::sim::trickle::Channel;

#[derive(Default)]
pub struct LiveRunners {
    /// By route.
    pub(super) runners: Mutex<BTreeMap<String, LiveRunner>>,
}

pub(super) struct LiveRunner {
    pub(super) id: String,
    pub(super) record: Record,
    pub(super) ready: bool,
    pub(super) dynamic: Option<Dynamic>,
    pub(super) sessions: HashMap<String, Session>,
}

/// What only a runner that sends heartbeats has.
pub(super) struct Dynamic {
    secret: String,
    beat: Instant,
    /// Orchestrator to runner.
    o2r: String,
    channel: Option<Arc<Channel>>,
}

pub(super) struct Session {
    pub(super) token: String,
    pub(super) channels: HashMap<String, Value>,
}

/// A live runner as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingRunner {
    pub route: String,
    pub label: String,
    pub app: String,
    pub capacity: i64,
    pub ready: bool,
    pub is_static: bool,
    pub sessions: Vec<String>,
}

pub(super) type Refusal = (StatusCode, String);

const MOST_RUNNERS: usize = 10_000;

// === impl Ai ===

impl Ai {
    /// `-liveRunnerConfig`: checked once here, then every few seconds.
    pub async fn register_live_runners(&self, config: &Value) -> Result<Vec<StandingRunner>, String> {
        for (n, entry) in config["runners"].as_array().into_iter().flatten().enumerate() {
            let record = Record::deserialize(entry).map_err(|bad| format!("runners[{n}]: {bad}"))?;
            let record = record.checked_static().map_err(|why| format!("runners[{n}]: {why}"))?;
            let ready = self.healthy(&record).await;
            let mut runners = self.live.runners.lock();
            // The same label is an update: its sessions stay.
            let known = runners.iter().find(|(_, r)| r.dynamic.is_none() && r.record.label == record.label);
            let known = known.map(|(route, _)| route.clone());
            let old = known.and_then(|route| runners.remove(&route));
            let id = old.as_ref().map_or_else(|| format!("runner_{}", random_id()), |old| old.id.clone());
            let route = if record.routing == "label" { record.label.clone() } else { id.clone() };
            let sessions = old.map(|old| old.sessions).unwrap_or_default();
            let mut runner = LiveRunner { id, record, ready, dynamic: None, sessions };
            if !ready {
                self.lose_sessions(&mut runner);
            }
            runners.insert(route, runner);
            self.counters.live_registrations.fetch_add(1, Relaxed);
        }
        Ok(self.live_runners())
    }

    pub fn live_runners(&self) -> Vec<StandingRunner> {
        let runners = self.live.runners.lock();
        let standing = runners.iter().map(|(route, runner)| StandingRunner {
            route: route.clone(),
            label: runner.record.label.clone(),
            app: runner.record.app.clone(),
            capacity: runner.record.capacity,
            ready: runner.ready,
            is_static: runner.dynamic.is_none(),
            sessions: runner.sessions.keys().cloned().collect(),
        });
        standing.collect()
    }

    /// Reserves a session: its id. What a gateway does before its requests.
    pub fn reserve_session(&self, route: &str) -> Result<String, (u16, String)> {
        self.reserve_live(route).map_err(|(status, words)| (status.as_u16(), words))
    }

    pub(super) fn reserve_live(&self, route: &str) -> Result<String, Refusal> {
        let mut runners = self.live.runners.lock();
        let runner = runners.get_mut(route).filter(|runner| runner.ready).ok_or_else(not_found)?;
        if runner.sessions.len() as i64 >= runner.record.capacity {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "no capacity available for runner".into()));
        }
        let id = format!("session_{}", random_id());
        runner.sessions.insert(id.clone(), Session { token: secret(), channels: HashMap::new() });
        runner.tell("reserved", &id);
        Ok(id)
    }

    pub fn release_session(&self, route: &str, session: &str) -> bool {
        let mut runners = self.live.runners.lock();
        let Some(runner) = runners.get_mut(route) else { return false };
        self.release(runner, session)
    }

    fn release(&self, runner: &mut LiveRunner, session: &str) -> bool {
        let Some(gone) = runner.sessions.remove(session) else { return false };
        runner.tell("released", session);
        for channel in gone.channels.values().filter_map(|channel| channel["channel_name"].as_str()) {
            self.trickle.close(channel);
        }
        true
    }

    fn lose_sessions(&self, runner: &mut LiveRunner) {
        let all: Vec<_> = runner.sessions.keys().cloned().collect();
        self.counters.lost_sessions.fetch_add(all.len() as u64, Relaxed);
        for session in all {
            self.release(runner, &session);
        }
    }

    fn close_o2r(&self, runner: &LiveRunner) {
        if let Some(dynamic) = &runner.dynamic {
            self.trickle.close(&dynamic.o2r);
        }
    }

    /// First with the orchestrator's secret, then with the one that it got.
    pub(super) fn heartbeat(&self, auth: &str, body: &[u8]) -> Result<Value, Refusal> {
        let bad = |words: String| (StatusCode::BAD_REQUEST, words);
        let mut record: Record = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
        record.runner_id = record.runner_id.trim().to_owned();
        if record.runner_id.is_empty() {
            record.runner_id = format!("runner_{}", random_id());
        }
        let record = record.checked().map_err(bad)?;
        let (id, ready) = (record.runner_id.clone(), ["", "ready"].contains(&record.status.as_str()));
        let unauthorized = |words: &str| (StatusCode::UNAUTHORIZED, words.to_owned());
        let mut runners = self.live.runners.lock();
        let mut answer = json!({
            "runner_id": id, "orchestrator": self.url(""),
            "heartbeat_interval": duration(self.plan.heartbeat_every), "heartbeat_ttl": duration(self.plan.heartbeat_ttl),
        });
        match runners.get_mut(&id) {
            None => {
                if auth != self.secret {
                    return Err(unauthorized("invalid registration authorization"));
                }
                if runners.len() >= MOST_RUNNERS {
                    return Err(bad("too many".into()));
                }
                let (told, name) = (secret(), format!("{id}-{}-o2r", random_id()));
                let channel = self.trickle.open(&name, "application/json");
                answer["heartbeat_secret"] = told.clone().into();
                answer["o2r"] = json!({
                    "name": "o2r", "channel_name": name, "url": self.url(&format!("/ai/trickle/{name}")),
                    "mime_type": "application/json",
                });
                let dynamic = Some(Dynamic { secret: told, beat: Instant::now(), o2r: name, channel });
                runners.insert(
                    id.clone(),
                    LiveRunner { id: id.clone(), record, ready, dynamic, sessions: HashMap::new() },
                );
                self.counters.live_registrations.fetch_add(1, Relaxed);
            }
            Some(runner) => {
                if runner.expired(self.plan.heartbeat_ttl) {
                    return Err(not_found());
                }
                match &mut runner.dynamic {
                    None => return Err(unauthorized("invalid heartbeat authorization")),
                    Some(dynamic) if dynamic.secret != auth => {
                        return Err(unauthorized("invalid heartbeat authorization"));
                    }
                    Some(dynamic) => dynamic.beat = Instant::now(),
                }
                // The whole record is replaced.
                (runner.record, runner.ready) = (record, ready);
            }
        }
        let sessions = runners.get(&id).into_iter().flat_map(|runner| runner.sessions.keys());
        answer["session_ids"] = sessions.cloned().collect();
        Ok(answer)
    }

    pub(super) fn unregister_live(&self, id: &str, auth: &str) -> Result<(), Refusal> {
        let mut runners = self.live.runners.lock();
        match runners.get(id).map(|runner| &runner.dynamic) {
            None => return Err(not_found()),
            Some(None) => {
                let words = "static runner cannot unregister with heartbeat credentials";
                return Err((StatusCode::BAD_REQUEST, words.into()));
            }
            Some(Some(dynamic)) if dynamic.secret != auth => {
                return Err((StatusCode::UNAUTHORIZED, "invalid authorization".into()));
            }
            Some(Some(_)) => {}
        }
        if let Some(mut runner) = runners.remove(id) {
            self.lose_sessions(&mut runner);
            self.close_o2r(&runner);
        }
        Ok(())
    }

    /// Health, expiry and keepalives.
    pub(in crate::sim) fn watch_live_runners(self: &Arc<Self>) {
        let plan = &self.plan;
        let (checked, swept, told) = (self.clone(), self.clone(), self.clone());
        let (health, sweep, keepalive) = (plan.health_every, plan.heartbeat_every, plan.keepalive);
        self.tasks.spawn(async move {
            let mut tick = interval(health);
            tick.tick().await;
            loop {
                tick.tick().await;
                checked.check_all().await;
            }
        });
        self.tasks.spawn(async move {
            let mut tick = interval(sweep);
            loop {
                tick.tick().await;
                let mut runners = swept.live.runners.lock();
                runners.retain(|_, runner| {
                    let gone = runner.expired(swept.plan.heartbeat_ttl);
                    if gone {
                        swept.lose_sessions(runner);
                        swept.close_o2r(runner);
                    }
                    !gone
                });
            }
        });
        self.tasks.spawn(async move {
            let mut tick = interval(keepalive);
            tick.tick().await;
            loop {
                tick.tick().await;
                for runner in told.live.runners.lock().values() {
                    runner.write(r#"{"keep":"alive"}"#.into());
                }
            }
        });
    }

    /// One after another: a slow one delays the rest.
    async fn check_all(&self) {
        let all: Vec<_> = {
            let runners = self.live.runners.lock();
            let fixed = runners.iter().filter(|(_, runner)| runner.dynamic.is_none());
            fixed.map(|(route, runner)| (route.clone(), runner.record.clone())).collect()
        };
        for (route, record) in all {
            let ready = self.healthy(&record).await;
            if let Some(runner) = self.live.runners.lock().get_mut(&route) {
                runner.ready = ready;
                if !ready {
                    self.lose_sessions(runner);
                }
            }
        }
    }

    async fn healthy(&self, record: &Record) -> bool {
        self.counters.health_checks.fetch_add(1, Relaxed);
        let asked = Request::get(&record.health_url).body(full(Bytes::new()));
        let healthy = match asked {
            Ok(request) => {
                let answered = timeout(self.plan.health_timeout, self.client.send_verified(request)).await;
                answered.is_ok_and(|answer| answer.is_ok_and(|ok| ok.status().as_u16() == record.healthy_status_code))
            }
            Err(_) => false,
        };
        if !healthy {
            self.counters.failed_health_checks.fetch_add(1, Relaxed);
        }
        healthy
    }
}

// === impl LiveRunner ===

impl LiveRunner {
    pub(super) fn single_shot(&self) -> bool {
        self.record.mode == "single-shot"
    }

    fn expired(&self, ttl: std::time::Duration) -> bool {
        self.dynamic.as_ref().is_some_and(|dynamic| dynamic.beat.elapsed() > ttl)
    }

    fn tell(&self, event: &str, session: &str) {
        let at = jiff::Timestamp::now().to_string();
        self.write(json!({"event": event, "session": session, "timestamp": at}).to_string());
    }

    fn write(&self, words: String) {
        if let Some(channel) = self.dynamic.as_ref().and_then(|dynamic| dynamic.channel.as_ref()) {
            channel.publish(words.into());
        }
    }
}

pub(super) fn not_found() -> Refusal {
    (StatusCode::NOT_FOUND, "runner not found".into())
}

fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// As Go writes it, for whole milliseconds.
fn duration(span: std::time::Duration) -> String {
    let ms = span.as_millis();
    match (ms / 60_000, ms % 60_000) {
        (0, ms) if ms < 1000 => format!("{ms}ms"),
        (0, ms) => format!("{}s", ms as f64 / 1000.0),
        (minutes, ms) => format!("{minutes}m{}s", ms as f64 / 1000.0),
    }
}
