//! A live video: its four channels at the orchestrator, and what outlives each of its workers.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::ai::{ModelKey, Pipeline};
use crate::planes::runner::config::RunnerLimits;
use crate::planes::runner::door::{Trust, Upstream};
use crate::transport::client::Origin;
use crate::wire::ai::BadRequest;

/// What a channel is for, as the worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Video to the worker.
    Subscribe,
    /// Video from it.
    Publish,
    /// Parameters to it.
    Control,
    /// Its events.
    Events,
}

/// A channel at the orchestrator.
pub(super) struct Channel {
    pub(super) origin: Origin,
    /// Without a slash at its end.
    pub(super) path: String,
    pub(super) upstream: Arc<Upstream>,
}

pub(super) struct Job {
    pub(super) key: ModelKey,
    /// The request as it came.
    fields: BTreeMap<String, Box<RawValue>>,
    channels: [Option<Channel>; 4],
    state: Mutex<State>,
    /// When its first worker began: the clock that its seconds are counted by.
    began: OnceLock<Instant>,
    /// Its input or its output is over.
    pub(super) ended: CancellationToken,
    /// Something has happened that is worth a look.
    pub(super) stir: Notify,
    /// The orchestrator did not answer as it should.
    doubt: AtomicBool,
    _room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    /// The next number to be written on each channel, as far as it has passed here.
    next: [i64; 4],
    /// The last that came by the control channel.
    params: Option<Box<RawValue>>,
}

/// Names are looked up in this time.
const LOOK_UP: Duration = Duration::from_secs(5);

// === impl Role ===

impl Role {
    pub(super) const ALL: [Role; 4] = [Role::Subscribe, Role::Publish, Role::Control, Role::Events];

    /// What stands behind the job's own name, as orchestrators call theirs.
    pub(super) fn end(self) -> &'static str {
        match self {
            Role::Subscribe => "-in",
            Role::Publish => "-out",
            Role::Control => "-control",
            Role::Events => "-events",
        }
    }

    pub(super) fn of_end(end: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.end()[1..] == *end)
    }

    /// Its key in the request.
    pub(super) fn key(self) -> &'static str {
        match self {
            Role::Subscribe => "subscribe_url",
            Role::Publish => "publish_url",
            Role::Control => "control_url",
            Role::Events => "events_url",
        }
    }

    pub(super) fn writes(self) -> bool {
        matches!(self, Role::Publish | Role::Events)
    }
}

// === impl Job ===

impl Job {
    /// Reads the request, which was checked; finds its channels.
    pub(super) async fn of(
        key: ModelKey,
        request: &Bytes,
        limits: &RunnerLimits,
        room: OwnedSemaphorePermit,
    ) -> Result<Job, BadRequest> {
        let bad = |key: &'static str, why: &str| BadRequest::new(Pipeline::LiveVideoToVideo, key, why);
        let fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(request).map_err(|fault| bad("body", &fault.to_string()))?;
        let mut channels = [const { None }; 4];
        for role in Role::ALL {
            let Some(raw) = fields.get(role.key()) else { continue };
            let url: String = serde_json::from_str(raw.get()).map_err(|fault| bad(role.key(), &fault.to_string()))?;
            if !url.is_empty() {
                let channel = Channel::of(&url, limits).await.map_err(|why| bad(role.key(), &why))?;
                channels[role as usize] = Some(channel);
            }
        }
        for role in [Role::Subscribe, Role::Publish] {
            if channels[role as usize].is_none() {
                return Err(bad(role.key(), "it is empty"));
            }
        }
        Ok(Job {
            key,
            fields,
            channels,
            state: Mutex::default(),
            began: OnceLock::new(),
            ended: CancellationToken::new(),
            stir: Notify::new(),
            doubt: AtomicBool::new(false),
            _room: room,
        })
    }

    pub(super) fn channel(&self, role: Role) -> Option<&Channel> {
        self.channels[role as usize].as_ref()
    }

    /// The request for a worker: addresses of ours, and the parameters as they are now.
    pub(super) fn request(&self, address: impl Fn(Role) -> String) -> Result<Bytes, serde_json::Error> {
        let mut fields = self.fields.clone();
        for role in Role::ALL.into_iter().filter(|role| self.channel(*role).is_some()) {
            fields.insert(role.key().into(), serde_json::value::to_raw_value(&address(role))?);
        }
        if let Some(params) = &self.state.lock().params {
            fields.insert("params".into(), params.clone());
        }
        serde_json::to_vec(&fields).map(Bytes::from)
    }

    /// A message of the control channel, whole.
    pub(super) fn heard(&self, message: &[u8]) {
        let Ok(fields) = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(message) else { return };
        if !fields.contains_key("keep")
            && let Ok(text) = std::str::from_utf8(message)
            && let Ok(params) = RawValue::from_string(text.to_owned())
        {
            self.state.lock().params = Some(params);
        }
    }

    pub(super) fn next(&self, role: Role) -> i64 {
        self.state.lock().next[role as usize]
    }

    /// This number of a channel is used.
    pub(super) fn wrote(&self, role: Role, number: i64) {
        let next = &mut self.state.lock().next[role as usize];
        *next = (*next).max(number.saturating_add(1));
    }

    /// Starts its clock, once.
    pub(super) fn begin(&self, at: Instant) {
        let _ = self.began.set(at);
    }

    /// Whole seconds of its life until then: what its orchestrator counts. A worker has those that
    /// began and ended while it served, so that two of them never have more than the job.
    pub(super) fn seconds(&self, at: Instant) -> u64 {
        self.began.get().map_or(0, |began| at.saturating_duration_since(*began).as_secs())
    }

    /// The orchestrator says that a channel is over. Without video there is nothing to do; of the
    /// other two it is asked.
    pub(super) fn over(&self, role: Role) {
        match role {
            Role::Subscribe | Role::Publish => self.ended.cancel(),
            Role::Control | Role::Events => self.doubt(),
        }
    }

    /// The orchestrator shall be asked whether the job lives.
    pub(super) fn doubt(&self) {
        self.doubt.store(true, Ordering::Relaxed);
        self.stir.notify_one();
    }

    pub(super) fn take_doubt(&self) -> bool {
        self.doubt.swap(false, Ordering::Relaxed)
    }
}

// === impl Channel ===

impl Channel {
    async fn of(url: &str, limits: &RunnerLimits) -> Result<Channel, String> {
        let uri: Uri = url.parse().map_err(|_| "it is no address".to_owned())?;
        let origin = Origin::of(&uri).map_err(|why| why.to_string())?;
        let path = uri.path().trim_end_matches('/').to_owned();
        if path.is_empty() || uri.query().is_some() {
            return Err("it is no channel's address".into());
        }
        let addresses = origin.resolve(LOOK_UP).await.map_err(|why| why.to_string())?;
        let address = *addresses.first().ok_or("its host has no address")?;
        let trust = match origin.tls {
            true => Trust::Any { name: origin.host.to_string() },
            false => Trust::Plain,
        };
        let upstream = Arc::new(Upstream::new(address, &origin.authority(), trust, limits));
        Ok(Channel { origin, path, upstream })
    }
}
