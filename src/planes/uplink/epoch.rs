//! Which life of its process an orchestrator is in: its task numbers mean nothing in another.
use parking_lot::Mutex;

use super::registration::Kind;
use crate::domain::ids::Epoch;
use crate::transport::client::Fingerprint;

/// Over TLS the certificate names it, which is made anew at every start. In the clear we number
/// the restarts that we see: all streams lost, then a task number that had been before.
pub(super) struct Epochs {
    state: Mutex<State>,
}

struct State {
    epoch: Epoch,
    known: bool,
    /// Tells the numbers of one life of ours from those of another.
    mark: u32,
    restarts: u64,
    /// Segments and AI jobs are counted apart.
    segments: Counter,
    ai: Counter,
}

#[derive(Default)]
struct Counter {
    highest: Option<i64>,
    /// Its next task tells whether the orchestrator restarted.
    suspect: bool,
}

// === impl Epochs ===

impl Epochs {
    pub(super) fn new() -> Epochs {
        let mark = rand::random();
        let (segments, ai) = Default::default();
        let state = State { epoch: "".into(), known: false, mark, restarts: 0, segments, ai };
        Epochs { state: Mutex::new(state) }
    }

    pub(super) fn current(&self) -> Epoch {
        self.state.lock().epoch.clone()
    }

    /// The epoch that a handshake shows, and whether another process answered before.
    pub(super) fn certificate(&self, certificate: Option<Fingerprint>) -> (Epoch, bool) {
        let mut state = self.state.lock();
        let shown: Epoch = match certificate {
            Some(fingerprint) => fingerprint.to_string().as_str().into(),
            None if state.known => return (state.epoch.clone(), false),
            None => state.plain(),
        };
        if state.known && state.epoch == shown {
            return (shown, false);
        }
        let restarted = state.known;
        state.known = true;
        state.epoch = shown.clone();
        (shown, restarted)
    }

    /// No registration stands any more.
    pub(super) fn all_lost(&self) {
        let mut state = self.state.lock();
        state.segments.suspect = true;
        state.ai.suspect = true;
    }

    /// A task came in the clear; the new epoch if its number says that the orchestrator restarted.
    pub(super) fn plain_task(&self, kind: Kind, number: i64) -> Option<Epoch> {
        let mut state = self.state.lock();
        let counter = match kind {
            Kind::Transcoder => &mut state.segments,
            Kind::Ai => &mut state.ai,
        };
        let again = counter.highest.is_some_and(|highest| number <= highest);
        let restarted = std::mem::take(&mut counter.suspect) && again;
        if !restarted {
            counter.highest = counter.highest.max(Some(number));
            return None;
        }
        (state.segments, state.ai) = Default::default();
        match kind {
            Kind::Transcoder => state.segments.highest = Some(number),
            Kind::Ai => state.ai.highest = Some(number),
        }
        state.restarts += 1;
        state.epoch = state.plain();
        Some(state.epoch.clone())
    }
}

// === impl State ===

impl State {
    fn plain(&self) -> Epoch {
        format!("plain-{:08x}-{}", self.mark, self.restarts).as_str().into()
    }
}
