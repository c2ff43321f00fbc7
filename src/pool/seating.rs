//! Taking and leaving a seat.
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::api::{Join, Mode, Order, Refusal, Worker};
use super::table::Line;
use super::{Inner, Pool};
use crate::domain::capability::{Capabilities, DEFAULT_BITS};
use crate::domain::ids::ConnId;
use crate::domain::outcome::Failure;
use crate::domain::score::Scores;
use crate::domain::seat::{Road, Seat, SeatState};
use crate::telemetry;

/// Orders that may wait on a seat's line: a worker that reads none of so many is gone.
pub(super) const LINE: usize = 256;
/// The most words of a bitstring that are kept.
const WORDS: usize = 16;

/// A worker on its seat: orders come here. Dropping it leaves the pool; what it still holds goes
/// elsewhere, unless it was told to go, when running jobs may still be answered.
pub struct Seated {
    pub conn: ConnId,
    orders: mpsc::Receiver<Order>,
    inner: Arc<Inner>,
}

impl Pool {
    /// Takes a seat.
    pub fn join(&self, worker: &Worker, join: Join) -> Result<Seated, Refusal> {
        let rules = self.rules();
        if join.capacity <= 0 {
            return Err(Refusal::ZeroCapacity);
        }
        let caps = match join.caps {
            Some(caps) if caps.bits.0.len() > WORDS => {
                return Err(Refusal::TooMuch(format!("more than {WORDS} words of capabilities")));
            }
            Some(caps) => caps,
            None => {
                let version = self.inner.fallback_version.clone();
                Capabilities { bits: crate::domain::capability::Bits(vec![DEFAULT_BITS]), version }
            }
        };
        let declared = u32::try_from(join.capacity).unwrap_or(u32::MAX).min(rules.join.most_capacity);
        let allowed = if worker.mode == Mode::Open { rules.join.open_capacity } else { u32::MAX };
        let now = self.clock().now();
        let conn = ConnId(self.inner.next_conn());
        let (sender, orders) = mpsc::channel(LINE);
        let line = Line {
            orders: sender,
            token: worker.token.clone(),
            shared: worker.mode == Mode::Shared,
            hardware: Arc::default(),
        };
        {
            let mut table = self.inner.table.lock();
            table.has_room(&worker.name, &rules.join)?;
            let seat = Seat {
                conn,
                worker: worker.name.clone(),
                address: worker.address,
                caps,
                road: Road::Worker,
                models: Vec::new(),
                declared,
                allowed,
                state: SeatState::Ready,
                joined: now,
                scores: Scores::default(),
                running: Vec::new(),
                pinned: Vec::new(),
                successes: 0,
                failures: 0,
                consecutive: 0,
                rested: 0,
                last_failure: None,
                full_until: None,
            };
            table.fleet.add(seat, line, now);
            if worker.mode == Mode::Open {
                table.prove(conn, &rules.join);
            }
        }
        telemetry::worker_joined(&worker.name, join.peer, declared);
        self.inner.fleet_changed();
        self.inner.wake(super::WAKES * declared as usize);
        Ok(Seated { conn, orders, inner: self.inner.clone() })
    }
}

// === impl Seated ===

impl Seated {
    pub(super) fn new(conn: ConnId, orders: mpsc::Receiver<Order>, inner: Arc<Inner>) -> Seated {
        Seated { conn, orders, inner }
    }

    /// The next order; None when the pool is closing.
    pub async fn next(&mut self) -> Option<Order> {
        self.orders.recv().await
    }

    /// For streams.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Order>> {
        self.orders.poll_recv(cx)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        // First: an order that comes after `leave` has looked for the leases would be lost.
        self.orders.close();
        self.inner.leave(self.conn);
    }
}

impl Inner {
    fn leave(&self, conn: ConnId) {
        let now = self.clock.now();
        // A connection's number is of one table or the other, never of both.
        let seat = self.table.lock().fleet.remove(conn, now);
        let seat = seat.or_else(|| self.ai_table.lock().fleet.remove(conn, now));
        let Some(seat) = seat else { return };
        telemetry::worker_left(&seat.worker, now.since(seat.joined));
        // A worker that was told to go still posts its running jobs; one that vanished does not.
        if seat.state != SeatState::Draining {
            self.forsake(conn);
        }
        self.fleet_changed();
        self.ai_fleet_changed();
    }

    /// Nothing more can come from this seat: its jobs go elsewhere.
    pub(super) fn forsake(&self, conn: ConnId) {
        for lease in self.inflight.select(|lease| lease.conn == conn) {
            lease.fail(Failure::Disconnected);
        }
        let now = self.clock.now();
        for lease in self.ai_inflight.select(|lease| lease.conn == conn) {
            lease.fail(Failure::Disconnected, now);
        }
    }
}
