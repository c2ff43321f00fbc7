//! One registration that is to stand: registered, and again when it is lost.
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Uplink;
use super::backoff::Backoff;
use super::registration::{Kind, Registration};
use super::stream::{self, End};
use crate::telemetry;

/// A wrong secret is tried again this many times less often than anything else.
const SECRET_PATIENCE: u32 = 4;

/// One registration; ends when dropped.
pub(super) struct Slot {
    want: watch::Sender<Registration>,
    have: watch::Receiver<Option<Registration>>,
    stop: CancellationToken,
}

/// The slot's other end, held by its task.
pub(super) struct Seat {
    pub(super) want: watch::Receiver<Registration>,
    /// What the orchestrator was told, while the stream stands.
    pub(super) have: watch::Sender<Option<Registration>>,
    pub(super) stop: CancellationToken,
}

// === impl Slot ===

impl Slot {
    pub(super) fn open(uplink: &Arc<Uplink>, registration: Registration) -> Slot {
        let kind = registration.kind();
        let (want, want_rx) = watch::channel(registration);
        let (have_tx, have) = watch::channel(None);
        let stop = uplink.tasks.token().child_token();
        let seat = Seat { want: want_rx, have: have_tx, stop: stop.clone() };
        uplink.tasks.spawn("registration", keep(uplink.clone(), kind, seat));
        Slot { want, have, stop }
    }

    /// What it shall register with next time.
    pub(super) fn want(&self, registration: Registration) {
        self.want.send_if_modified(|now| {
            let changed = *now != registration;
            *now = registration;
            changed
        });
    }

    /// Nothing to register: stays as it is, and does not come back when it is lost.
    pub(super) fn want_nothing(&self) {
        self.want.send_if_modified(|now| std::mem::replace(&mut now.capacity, 0) != 0);
    }

    /// Whether it stands with something else than it should.
    pub(super) fn is_stale(&self, wanted: &Registration) -> bool {
        self.have.borrow().as_ref().is_some_and(|have| have != wanted)
    }

    /// Waits until it stands; false when it does not in time.
    pub(super) async fn is_up(&self, within: Duration) -> bool {
        let mut have = self.have.clone();
        matches!(tokio::time::timeout(within, have.wait_for(Option::is_some)).await, Ok(Ok(_)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Keeps the registration standing until it is told to stop.
async fn keep(uplink: Arc<Uplink>, kind: Kind, mut seat: Seat) {
    let config = &uplink.config;
    let mut backoff = Backoff::new(config.first_backoff, config.longest_backoff);
    loop {
        let registration = seat.want.borrow_and_update().clone();
        if registration.capacity == 0 {
            tokio::select! {
                () = seat.stop.cancelled() => return,
                changed = seat.want.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let end = stream::run(&uplink, &registration, &seat).await;
        seat.have.send_replace(None);
        if seat.stop.is_cancelled() {
            return;
        }
        let wait = match &end {
            End::Lost(_) => {
                backoff.reset();
                backoff.wait(rand::random())
            }
            End::Silent => {
                let step = uplink.version_step.load(Relaxed);
                if let Some(next) = registration.next_step(&config.fallback_version, step) {
                    uplink.version_step.fetch_max(next, Relaxed);
                    telemetry::version_raised(uplink.name());
                }
                backoff.wait(rand::random())
            }
            End::Failed(_) => backoff.wait(rand::random()),
            End::Secret => config.longest_backoff * SECRET_PATIENCE,
            End::OwnWorkers(_) => config.longest_backoff,
        };
        let why = end.to_string();
        if uplink.status.of(kind).trouble(&why) {
            telemetry::registration_trouble(uplink.name(), &why, wait);
        }
        tokio::select! {
            () = seat.stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
