//! Housekeeping, once a second: what is idle ends, what is over is forgotten.
use std::time::Duration;

use super::Pool;
use super::api::Order;
use crate::telemetry;

/// An ended lease is remembered this long, so that a late answer hears what it is.
const REMEMBER: Duration = Duration::from_secs(120);
/// A worker that was given up and never answers is taken to be free again after this.
const FORGIVE: Duration = Duration::from_secs(60);

impl Pool {
    /// Called once a second by the app.
    pub fn sweep(&self) {
        let inner = &self.inner;
        let now = inner.clock.now();
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
        for session in &idle {
            self.end_session(session, None);
        }
        inner.inflight.sweep(now.before(REMEMBER), super::lease::Lease::ended);
        inner.lockouts.sweep(now);
        match inner.roster.refresh_if_changed() {
            Ok(true) => self.close_revoked(),
            Ok(false) => {}
            Err(fault) => telemetry::roster_fault(&fault.to_string()),
        }
        inner.fleet_changed();
        let (seats, sessions, capacity) = {
            let table = inner.table.lock();
            let capacity = table.fleet.seats.iter().map(crate::domain::seat::Seat::offered).sum();
            (table.fleet.seats.len(), table.fleet.sessions.len(), capacity)
        };
        telemetry::pool_gauges(seats, capacity, sessions, inner.jobs.len(), inner.shelf.used());
    }
    /// Ends the registrations of tokens that are no longer good.
    fn close_revoked(&self) {
        let now_ms = self.inner.clock.unix_ms();
        let table = self.inner.table.lock();
        for (_, line) in table.fleet.lines() {
            if let Some(token) = &line.token
                && self.inner.roster.check(token, now_ms).is_err()
            {
                let _ = line.orders.try_send(Order::Revoked);
            }
        }
    }
}
