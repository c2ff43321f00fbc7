//! Keeps the pool's capabilities registered at one orchestrator: as they change, after its
//! restarts, and now and then, which also frees slots that it lost.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{ByocConfig, Line, Peer, Public};
use crate::domain::ai::Pipeline;
use crate::telemetry;
use crate::transport::Tasks;
use crate::transport::client::Fingerprint;

const REGISTER: &str = "/capability/register";
const UNREGISTER: &str = "/capability/unregister";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
/// Looks at what is due, at least so often.
const LOOK: Duration = Duration::from_millis(500);
/// For all that is left to say at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// A node makes a new price watch at each registration in a currency that it converts.
const CONVERTED: u32 = 10;

struct Registrar {
    public: Arc<Public>,
    peer: Peer,
    line: Line,
    /// What the orchestrator was told, by the capability's place in the configuration.
    told: HashMap<usize, Told>,
    /// Since when a capacity is another than told, or there is none.
    changed: HashMap<usize, (u32, Instant)>,
    certificate: Option<Fingerprint>,
    backoff: Duration,
    trouble: String,
}

struct Told {
    capacity: u32,
    at: Instant,
    /// It may have forgotten it.
    stale: bool,
}

enum Step {
    Nothing,
    Register(u32),
    Unregister,
}

/// Runs until the tasks are told to end; then takes everything back.
pub(in crate::planes::runner) fn start(public: &Arc<Public>, tasks: &Tasks) {
    if public.byoc.is_empty() {
        return;
    }
    for peer in &public.peers {
        let line = match Line::new(peer, public.times.call) {
            Ok(line) => line,
            Err(why) => {
                telemetry::uplink_impossible(&peer.name, &why);
                continue;
            }
        };
        let mut registrar = Registrar {
            public: public.clone(),
            peer: peer.clone(),
            line,
            told: HashMap::new(),
            changed: HashMap::new(),
            certificate: None,
            backoff: public.times.first_backoff,
            trouble: String::new(),
        };
        let stop = tasks.token();
        tasks.spawn("capabilities", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = registrar.keep() => {}
            }
            let _ = timeout(FAREWELL, registrar.farewell()).await;
        });
    }
}

// === impl Registrar ===

impl Registrar {
    async fn keep(&mut self) {
        let mut present = self.public.presence.watch();
        loop {
            let pause = match self.pass().await {
                Ok(()) => {
                    self.backoff = self.public.times.first_backoff;
                    self.trouble.clear();
                    LOOK
                }
                Err(why) => self.back_off(&why),
            };
            if self.trouble.is_empty() {
                tokio::select! {
                    Ok(()) = present.changed() => {}
                    () = sleep(pause) => {}
                    () = self.line.lost() => {}
                }
            } else {
                sleep(pause).await;
            }
        }
    }

    /// Does what is due; an error ends it.
    async fn pass(&mut self) -> Result<(), String> {
        if !self.told.is_empty() && !self.line.stands() {
            self.look_again().await?;
        }
        let mut refused = Ok(());
        for at in 0..self.public.byoc.len() {
            let done = match self.due(at) {
                Step::Nothing => Ok(()),
                Step::Register(capacity) => self.register(at, capacity).await,
                Step::Unregister => self.unregister(at).await,
            };
            if let Err(why) = done {
                // One that is refused does not hold up the others.
                if !self.line.stands() {
                    return Err(why);
                }
                refused = Err(why);
            }
        }
        refused
    }

    /// The connection has ended: who is there now?
    async fn look_again(&mut self) -> Result<(), String> {
        let certificate = self.line.connect().await?;
        if certificate.is_none() || certificate != self.certificate {
            self.told.values_mut().for_each(|told| told.stale = true);
        }
        Ok(())
    }

    fn due(&mut self, at: usize) -> Step {
        let public = self.public.clone();
        let config = &public.byoc[at];
        let times = &public.times;
        let capacity = public.capacity(Pipeline::Byoc, &config.name, config.capacity);
        let now = Instant::now();
        let Some(told) = self.told.get(&at) else {
            return if capacity > 0 { Step::Register(capacity) } else { Step::Nothing };
        };
        if capacity != told.capacity {
            let since = match self.changed.get(&at) {
                Some((was, since)) if *was == capacity => *since,
                _ => {
                    self.changed.insert(at, (capacity, now));
                    now
                }
            };
            let stood = now.duration_since(since);
            if capacity == 0 {
                // Until then a worker may come back; who asks meanwhile gets a 503 in time.
                return if stood >= times.gone_after { Step::Unregister } else { Step::Nothing };
            }
            if stood >= times.settle || told.stale {
                return Step::Register(capacity);
            }
            return Step::Nothing;
        }
        self.changed.remove(&at);
        // Forgets its count of running jobs: told while some run, it would go below zero.
        let age = now.duration_since(told.at);
        let seldom = if config.currency == super::Currency::Usd { CONVERTED } else { 1 };
        let idle = public.running(&config.name) == 0;
        if told.stale || (idle && age >= times.every * seldom) || age >= times.at_least_every.max(times.every * seldom)
        {
            return Step::Register(capacity);
        }
        Step::Nothing
    }

    async fn register(&mut self, at: usize, capacity: u32) -> Result<(), String> {
        let public = self.public.clone();
        let config = &public.byoc[at];
        let body = record(config, &public, &self.peer, capacity);
        self.ask(REGISTER, JSON, body).await.map_err(|why| format!("registering `{}`: {why}", config.name))?;
        let certificate = self.line.certificate();
        if certificate != self.certificate {
            // The connection was made anew on the way: whoever is there has not heard the others.
            self.told.values_mut().for_each(|told| told.stale = true);
            self.certificate = certificate;
        }
        self.changed.remove(&at);
        if self.told.insert(at, Told { capacity, at: Instant::now(), stale: false }).is_none() {
            telemetry::capability_registered(&self.peer.name, &config.name, capacity);
        }
        Ok(())
    }

    async fn unregister(&mut self, at: usize) -> Result<(), String> {
        let name = self.public.byoc[at].name.clone();
        self.ask(UNREGISTER, TEXT, name.to_string()).await.map_err(|why| format!("unregistering `{name}`: {why}"))?;
        self.told.remove(&at);
        self.changed.remove(&at);
        telemetry::capability_unregistered(&self.peer.name, &name);
        Ok(())
    }

    async fn ask(&mut self, path: &str, kind: &str, body: String) -> Result<(), String> {
        let secret = self.peer.secret.clone();
        let (status, said) = self.line.post(path, &secret, kind, body).await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        let said: String = String::from_utf8_lossy(&said).chars().take(200).collect();
        Err(format!("it answers {} `{}`", status.as_u16(), said.trim()))
    }

    fn back_off(&mut self, why: &str) -> Duration {
        let wait = self.backoff.min(self.public.times.longest_backoff);
        self.backoff = wait * 2;
        if !self.line.stands() {
            // A failed try may have been half of a restart.
            self.told.values_mut().for_each(|told| told.stale = true);
        }
        let wait = wait.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        if self.trouble != why {
            telemetry::capability_trouble(&self.peer.name, why, wait);
            why.clone_into(&mut self.trouble);
        }
        wait
    }

    /// An orchestrator that is told sends nobody to a port that is about to close.
    async fn farewell(&mut self) {
        let all: Vec<usize> = self.told.keys().copied().collect();
        for at in all {
            if self.unregister(at).await.is_err() {
                return;
            }
        }
    }
}

fn record(config: &ByocConfig, public: &Public, peer: &Peer, capacity: u32) -> String {
    json!({
        "name": &*config.name,
        "description": config.description,
        "url": public.address(Pipeline::Byoc, &config.name, &peer.name),
        "capacity": capacity,
        "price_per_unit": config.price_per_unit,
        // It divides by it.
        "price_scaling": config.price_scaling.max(1),
        "currency": config.currency.name(),
        "token": public.token.as_deref().unwrap_or_default(),
    })
    .to_string()
}
