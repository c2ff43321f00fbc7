//! Heartbeats of workers' own runners: one that beats with a credential of the pool is a runner of
//! the pool while it beats.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Uri};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use super::LiveConfig;
use super::sessions::Sessions;
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::time::Moment;
use crate::planes::runner::agent;
use crate::planes::runner::answer::{Answer, AnswerBody};
use crate::planes::runner::body::Prelude;
use crate::planes::runner::config::RunnerLimits;
use crate::planes::runner::door::Decision;
use crate::planes::runner::runners::{CareConfig, Runner, RunnerWorker, Runners};
use crate::pool::{Knock, Pool, Refusal, Worker};
use crate::transport::Tasks;
use crate::transport::client::Origin;
use crate::transport::client::hosts::is_public;

const INTERVAL: &str = "5s";
const TTL_TEXT: &str = "20s";
const TTL: Duration = Duration::from_secs(20);
/// How a heartbeat's own secret begins: an old one is told apart from a wrong credential.
const OWN: &str = "hb_";
const MOST_RUNNERS: usize = 10_000;
const LONGEST_ID: usize = 128;

/// Runners that beat. Cheap to clone.
#[derive(Clone)]
pub(in crate::planes::runner) struct Beats {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    runners: Runners,
    sessions: Sessions,
    care: Arc<CareConfig>,
    limits: RunnerLimits,
    /// Others are not taken: the operator names the apps and their prices.
    apps: Vec<LiveConfig>,
    url: String,
    private: bool,
    tasks: Tasks,
    ttl: Duration,
    all: Mutex<HashMap<String, Beating>>,
}

struct Beating {
    secret: String,
    worker: Worker,
    record: Record,
    beat: Moment,
    /// None: out of service by its own word.
    agent: Option<Tasks>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Record {
    runner_id: String,
    runner_url: String,
    app: String,
    version: String,
    capacity: i64,
    status: String,
}

type Refused = (StatusCode, String);

/// What [`Beats::start`] needs.
pub(in crate::planes::runner) struct BeatParts {
    pub(in crate::planes::runner) pool: Pool,
    pub(in crate::planes::runner) runners: Runners,
    pub(in crate::planes::runner) sessions: Sessions,
    pub(in crate::planes::runner) care: Arc<CareConfig>,
    pub(in crate::planes::runner) limits: RunnerLimits,
    pub(in crate::planes::runner) apps: Vec<LiveConfig>,
    pub(in crate::planes::runner) url: String,
    pub(in crate::planes::runner) private: bool,
    pub(in crate::planes::runner) tasks: Tasks,
}

// === impl Beats ===

impl Beats {
    /// Runners that stop beating are put out, until the tasks are told to end.
    pub(in crate::planes::runner) fn start(parts: BeatParts) -> Beats {
        let BeatParts { pool, runners, sessions, care, limits, apps, url, private, tasks } = parts;
        let all = Mutex::default();
        let inner = Inner { pool, runners, sessions, care, limits, apps, url, private, tasks, ttl: TTL, all };
        let beats = Beats { inner: Arc::new(inner) };
        let (sweeper, stop) = (beats.clone(), beats.inner.tasks.token());
        beats.inner.tasks.spawn("runner beats", async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = tick.tick() => sweeper.sweep().await,
                }
            }
        });
        beats
    }

    /// `POST /runners/heartbeat`.
    pub(in crate::planes::runner) async fn beat(
        &self,
        head: &Parts,
        body: Prelude,
        client: Option<SocketAddr>,
    ) -> Decision {
        let Prelude::Whole(body) = body else { return text(StatusCode::BAD_REQUEST, "no body") };
        let secret = shown(head);
        let record: Record = match serde_json::from_slice(&body) {
            Ok(record) => record,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why.to_string()),
        };
        match self.take(&secret, record, client).await {
            Ok(answer) => Decision::Answer(Answer::json(StatusCode::OK, answer.to_string())),
            Err((status, why)) => text(status, &why),
        }
    }

    /// `POST /runners/<id>/unregister`.
    pub(in crate::planes::runner) fn unregister(&self, id: &str, head: &Parts) -> Decision {
        let mut all = self.inner.all.lock();
        match all.get(id) {
            None => return text(StatusCode::NOT_FOUND, "runner not found"),
            Some(known) if !same(&known.secret, &shown(head)) => {
                return text(StatusCode::UNAUTHORIZED, "invalid authorization");
            }
            Some(_) => {}
        }
        if let Some(known) = all.remove(id) {
            self.put_out(&known);
        }
        text(StatusCode::NO_CONTENT, "")
    }

    async fn take(
        &self,
        secret: &str,
        mut record: Record,
        client: Option<SocketAddr>,
    ) -> Result<serde_json::Value, Refused> {
        let now = self.inner.pool.clock().now();
        if record.runner_id.is_empty() {
            record.runner_id = format!("runner_{:08x}", rand::random::<u32>());
        }
        let id = record.runner_id.clone();
        let known = {
            let all = self.inner.all.lock();
            all.get(&id).map(|known| (known.secret.clone(), known.worker.clone(), known.record.clone()))
        };
        let worker = match &known {
            Some((own, worker, _)) if same(own, secret) => worker.clone(),
            Some(_) => return Err((StatusCode::UNAUTHORIZED, "invalid heartbeat authorization".into())),
            // It bootstraps then.
            None if secret.starts_with(OWN) => return Err((StatusCode::NOT_FOUND, "runner not found".into())),
            None => self.login(secret, client)?,
        };
        self.check(&record, &worker).await?;
        let fresh = known.is_none();
        let changed = known.is_none_or(|(_, _, before)| before != record);
        let own = format!("{OWN}{:032x}", rand::random::<u128>());
        let runner = if changed { Some(self.runner(&record, &worker)?) } else { None };
        {
            let mut all = self.inner.all.lock();
            if fresh && all.len() >= MOST_RUNNERS {
                return Err((StatusCode::SERVICE_UNAVAILABLE, "too many runners".into()));
            }
            let entry = all.entry(id.clone()).or_insert_with(|| Beating {
                secret: own.clone(),
                worker: worker.clone(),
                record: record.clone(),
                beat: now,
                agent: None,
            });
            entry.beat = now;
            if let Some(runner) = runner {
                entry.record = record;
                self.seat(entry, runner);
            }
        }
        let mut answer = json!({
            "runner_id": id, "orchestrator": self.inner.url, "heartbeat_interval": INTERVAL,
            "heartbeat_ttl": TTL_TEXT, "session_ids": self.inner.sessions.at(&worker.name),
        });
        if fresh {
            answer["heartbeat_secret"] = own.into();
        }
        Ok(answer)
    }

    fn login(&self, secret: &str, client: Option<SocketAddr>) -> Result<Worker, Refused> {
        let peer = client.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |client| client.ip());
        self.inner.pool.login(Knock { secret, named: None, peer }).map_err(|refusal| match refusal {
            Refusal::TryLater(why) | Refusal::TooMuch(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            _ => (StatusCode::UNAUTHORIZED, "invalid registration authorization".into()),
        })
    }

    /// A worker must not lead us, and whoever calls its app, to a place of ours.
    async fn check(&self, record: &Record, worker: &Worker) -> Result<(), Refused> {
        let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
        if record.runner_id.len() > LONGEST_ID {
            return Err(bad("runner_id is too long"));
        }
        if !self.inner.apps.iter().any(|app| *app.app == *record.app) {
            return Err(bad("this pool does not take this app"));
        }
        if record.capacity < 0 {
            return Err(bad("capacity must be >= 0"));
        }
        let others = |(id, known): (&String, &Beating)| *id != record.runner_id && known.worker.name == worker.name;
        if self.inner.all.lock().iter().any(others) {
            return Err(bad("this credential has a runner already; use another one, or wait until it is out"));
        }
        let origin = record.runner_url.parse::<Uri>().ok().and_then(|url| Origin::of(&url).ok());
        let Some(origin) = origin else { return Err(bad("invalid runner_url")) };
        let found = origin.resolve(self.inner.care.connect_timeout).await.map_err(|why| bad(&why.to_string()))?;
        if !self.inner.private && !found.iter().all(|address| is_public(address.ip())) {
            return Err(bad("runner_url is at a private or special address"));
        }
        Ok(())
    }

    fn runner(&self, record: &Record, worker: &Worker) -> Result<Runner, Refused> {
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let url: Uri = record.runner_url.parse().map_err(|_| bad("invalid runner_url".into()))?;
        let offer = ModelOffer {
            key: ModelKey::new(Pipeline::App, &record.app),
            capacity: u32::try_from(record.capacity).unwrap_or(u32::MAX).max(1),
            warm: true,
            version: record.version.clone(),
        };
        let config = RunnerWorker {
            name: worker.name.clone(),
            url,
            token: None,
            address: worker.address,
            region: None,
            pin: None,
            // It beats.
            health: String::new(),
            models: vec![offer],
        };
        let mut runner = Runner::new(config, self.inner.care.connect_timeout).map_err(bad)?;
        (runner.worker, runner.public_only) = (worker.clone(), !self.inner.private);
        Ok(runner)
    }

    /// In place of what it was before.
    fn seat(&self, entry: &mut Beating, runner: Runner) {
        self.put_out(entry);
        entry.agent = None;
        if !["", "ready"].contains(&entry.record.status.as_str()) {
            return;
        }
        let inner = &self.inner;
        let (runner, tasks) = (Arc::new(runner), inner.tasks.child());
        inner.runners.add(runner.clone());
        agent::start(runner, inner.pool.clone(), inner.care.clone(), inner.limits.clone(), &tasks);
        entry.agent = Some(tasks);
    }

    fn put_out(&self, known: &Beating) {
        if let Some(agent) = &known.agent {
            agent.token().cancel();
            self.inner.runners.remove(&known.worker.name);
        }
    }

    async fn sweep(&self) {
        let now = self.inner.pool.clock().now();
        let mut all = self.inner.all.lock();
        all.retain(|_, known| {
            let stays = now.since(known.beat) < self.inner.ttl;
            if !stays {
                self.put_out(known);
            }
            stays
        });
    }
}

/// The bare secret, as the protocol has it; with `Bearer` in front it will do, too.
fn shown(head: &Parts) -> String {
    let value = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix("Bearer ").unwrap_or(value).trim().to_owned()
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Errors are plain text here.
fn text(status: StatusCode, why: &str) -> Decision {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    let body = if why.is_empty() { String::new() } else { format!("{why}\n") };
    Decision::Answer(Answer { status, headers: vec![(CONTENT_TYPE, kind)], body: AnswerBody::Full(body.into()) })
}
