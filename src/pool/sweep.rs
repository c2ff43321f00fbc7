//! Housekeeping, twice a second: what is idle ends, what is over is forgotten.
use std::collections::HashSet;
use std::time::Duration;

use super::Pool;
use super::api::Order;
use super::door::EXPIRED;
use super::table::Table;
use crate::domain::ids::{ConnId, SessionKey};
use crate::domain::seat::SeatState;
use crate::domain::time::Moment;
use crate::state::roster::TokenFault;
use crate::telemetry;

/// An ended lease is remembered this long, so that a late answer hears what it is.
const REMEMBER: Duration = Duration::from_secs(120);
/// With more leases than these, for less.
const CROWDED: usize = 100_000;
const REMEMBER_CROWDED: Duration = Duration::from_secs(20);
/// A worker that was given up and never answers is taken to be free again after this.
const FORGIVE: Duration = Duration::from_secs(60);
/// The same of an AI worker: it has no deadline shorter than the orchestrator's.
const FORGIVE_AI: Duration = Duration::from_secs(900);
/// An app's session without a request for so long is pinned nowhere any more.
const APP_IDLE: Duration = Duration::from_secs(3600);

impl Pool {
    /// Called twice a second by the app.
    pub fn sweep(&self) {
        self.sweep_at(self.inner.clock.now());
    }

    /// The same as of a moment of the caller's.
    pub fn sweep_at(&self, now: Moment) {
        let inner = &self.inner;
        let rules = self.rules();
        let idle = {
            let mut table = inner.table.lock();
            let table = &mut *table;
            table.priors.refresh(&table.fleet.seats, &rules.route, now);
            for seat in &mut table.fleet.seats {
                seat.running.retain(|running| !(running.abandoned && now.since(running.since) > FORGIVE));
            }
            table.fleet.idle_sessions(rules.route.session_idle, now)
        };
        let idle = self.without_jobs(idle);
        for session in &idle {
            self.end_session(session, None);
        }
        let remember = if inner.inflight.len() > CROWDED { REMEMBER_CROWDED } else { REMEMBER };
        inner.inflight.sweep(now.before(remember), super::lease::Lease::ended);
        inner.lockouts.sweep(now);
        self.sweep_ai(now);
        if let Err(fault) = inner.roster.refresh_if_changed() {
            telemetry::roster_fault(&fault.to_string());
        }
        self.close_revoked();
        inner.fleet_changed();
        let (seats, sessions, capacity) = {
            let table = inner.table.lock();
            let capacity = table.fleet.seats.iter().map(crate::domain::seat::Seat::offered).sum();
            (table.fleet.seats.len(), table.fleet.sessions.len(), capacity)
        };
        telemetry::pool_gauges(seats, capacity, sessions, inner.jobs.len(), inner.shelf.used());
    }

    /// A long segment may be under way for longer than a session may be idle.
    fn without_jobs(&self, mut sessions: Vec<SessionKey>) -> Vec<SessionKey> {
        if !sessions.is_empty() {
            let busy: HashSet<SessionKey> = self.inner.jobs.iter().map(|live| live.job.session.clone()).collect();
            sessions.retain(|session| !busy.contains(session));
        }
        sessions
    }

    /// Ends the registrations of tokens that were revoked or have run out. At every sweep: time
    /// alone ends a token, and a worker may be too far behind with its orders to take this one.
    fn close_revoked(&self) {
        for table in [&self.inner.table, &self.inner.ai_table] {
            let gone = self.revoked(&mut table.lock());
            // Its results would be refused, too.
            for conn in gone {
                self.inner.forsake(conn);
            }
        }
    }

    fn revoked(&self, table: &mut Table) -> Vec<ConnId> {
        let now_ms = self.inner.clock.unix_ms();
        let bad: Vec<(ConnId, Order)> = table
            .fleet
            .lines()
            .filter_map(|(conn, line)| {
                let fault = self.inner.roster.check(line.token.as_ref()?, now_ms).err()?;
                Some((conn, farewell(&fault)))
            })
            .collect();
        for (conn, order) in &bad {
            if let Some(line) = table.fleet.line(*conn) {
                let _ = line.orders.try_send(order.clone());
            }
            if let Some(seat) = table.fleet.seat(*conn) {
                seat.state = SeatState::Draining;
            }
        }
        bad.into_iter().map(|(conn, _)| conn).collect()
    }

    fn sweep_ai(&self, now: Moment) {
        let inner = &self.inner;
        let rules = self.rules();
        {
            let mut table = inner.ai_table.lock();
            let table = &mut *table;
            table.priors.refresh(&table.fleet.seats, &rules.ai_route(), now);
            for seat in &mut table.fleet.seats {
                seat.running.retain(|running| !(running.abandoned && now.since(running.since) > FORGIVE_AI));
            }
            for session in table.fleet.idle_sessions(APP_IDLE, now) {
                table.fleet.end_session(&session);
            }
        }
        // A worker may answer as long as its slot is kept for a job that was given up.
        let later =
            if inner.ai_inflight.len() > CROWDED { Duration::ZERO } else { FORGIVE_AI.saturating_sub(REMEMBER) };
        inner.ai_inflight.sweep(now.before(REMEMBER), |lease| lease.forget_from(later));
        inner.ai_fleet_changed();
    }
}

/// A token that has run out is answered as at the door: the worker stays for a new one.
fn farewell(fault: &TokenFault) -> Order {
    match fault {
        TokenFault::Expired => Order::Goodbye(EXPIRED.into()),
        _ => Order::Revoked,
    }
}
