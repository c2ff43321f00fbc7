//! Which life of its process an orchestrator is in: its task numbers mean nothing in another.
use parking_lot::Mutex;

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
    highest: Option<i64>,
    suspect: bool,
}

// === impl Epochs ===

impl Epochs {
    pub(super) fn new() -> Epochs {
        let mark = rand::random();
        let state = State { epoch: "".into(), known: false, mark, restarts: 0, highest: None, suspect: false };
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
        self.state.lock().suspect = true;
    }

    /// A task came in the clear; the new epoch if its number says that the orchestrator restarted.
    pub(super) fn plain_task(&self, number: i64) -> Option<Epoch> {
        let mut state = self.state.lock();
        let again = state.highest.is_some_and(|highest| number <= highest);
        let restarted = std::mem::take(&mut state.suspect) && again;
        if restarted {
            state.restarts += 1;
            state.epoch = state.plain();
            state.highest = Some(number);
        } else {
            state.highest = state.highest.max(Some(number));
        }
        restarted.then(|| state.epoch.clone())
    }
}

// === impl State ===

impl State {
    fn plain(&self) -> Epoch {
        format!("plain-{:08x}-{}", self.mark, self.restarts).as_str().into()
    }
}
