//! Who is here: seats in a flat row for the selector's scan, a line to each, their sessions, and
//! the scores of those who left a moment ago. Stores; never decides.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::ids::{ConnId, SessionKey, TaskId, WorkerName};
use crate::domain::score::Scores;
use crate::domain::seat::{Running, Seat, SeatState, Session};
use crate::domain::time::Moment;

/// A worker that left is remembered this long: back within it, it keeps its scores.
const PARKED_FOR: Duration = Duration::from_secs(600);
/// The most that are remembered.
const PARKED: usize = 10_000;

/// `Line` is how orders reach a seat.
#[derive(Debug)]
pub struct Fleet<Line> {
    pub seats: Vec<Seat>,
    lines: Vec<Line>,
    index: HashMap<ConnId, usize>,
    pub sessions: HashMap<SessionKey, Session>,
    parked: HashMap<WorkerName, Parked>,
}

#[derive(Debug)]
struct Parked {
    scores: Scores,
    successes: u64,
    consecutive: u32,
    rested: u32,
    last_failure: Option<Arc<str>>,
    /// Out until then, and why: coming back does not end a rest.
    rest: Option<SeatState>,
    left: Moment,
}

// === impl Fleet ===

impl<Line> Default for Fleet<Line> {
    fn default() -> Self {
        Fleet {
            seats: Vec::new(),
            lines: Vec::new(),
            index: HashMap::new(),
            sessions: HashMap::new(),
            parked: HashMap::new(),
        }
    }
}

impl<Line> Fleet<Line> {
    /// Adds a seat; one that left a moment ago gets its scores back.
    pub fn add(&mut self, mut seat: Seat, line: Line, now: Moment) {
        if let Some(parked) = self.parked.remove(&seat.worker)
            && now.since(parked.left) < PARKED_FOR
        {
            seat.scores = parked.scores;
            seat.successes = parked.successes;
            seat.consecutive = parked.consecutive;
            seat.rested = parked.rested;
            seat.last_failure = parked.last_failure;
            seat.state = parked.rest.unwrap_or(seat.state);
        }
        self.index.insert(seat.conn, self.seats.len());
        self.seats.push(seat);
        self.lines.push(line);
    }

    /// Takes a seat away, unpins its sessions and keeps its scores for a while.
    pub fn remove(&mut self, conn: ConnId, now: Moment) -> Option<Seat> {
        let at = self.index.remove(&conn)?;
        let seat = self.seats.swap_remove(at);
        self.lines.swap_remove(at);
        if let Some(moved) = self.seats.get(at) {
            self.index.insert(moved.conn, at);
        }
        for (key, _) in &seat.pinned {
            if let Some(session) = self.sessions.get_mut(key) {
                session.pin = None;
            }
        }
        self.park(&seat, now);
        Some(seat)
    }

    fn park(&mut self, seat: &Seat, now: Moment) {
        if self.parked.len() >= PARKED {
            self.parked.retain(|_, parked| now.since(parked.left) < PARKED_FOR);
        }
        if self.parked.len() < PARKED {
            let parked = Parked {
                scores: seat.scores.clone(),
                successes: seat.successes,
                consecutive: seat.consecutive,
                rested: seat.rested,
                last_failure: seat.last_failure.clone(),
                rest: matches!(seat.state, SeatState::Resting { .. }).then(|| seat.state.clone()),
                left: now,
            };
            self.parked.insert(seat.worker.clone(), parked);
        }
    }

    pub fn at(&self, conn: ConnId) -> Option<usize> {
        self.index.get(&conn).copied()
    }

    pub fn seat(&mut self, conn: ConnId) -> Option<&mut Seat> {
        let at = self.at(conn)?;
        self.seats.get_mut(at)
    }

    pub fn line(&self, conn: ConnId) -> Option<&Line> {
        self.lines.get(self.at(conn)?)
    }

    pub fn lines(&self) -> impl Iterator<Item = (ConnId, &Line)> {
        self.seats.iter().map(|seat| seat.conn).zip(&self.lines)
    }

    /// Moves a session's place from the seat where it was to the one that it has now.
    pub fn repin(&mut self, key: &SessionKey, before: Option<ConnId>) {
        let Some(session) = self.sessions.get(key) else { return };
        if session.pin == before {
            return;
        }
        let (pin, share) = (session.pin, session.rtr.unwrap_or(1.0).min(1.0));
        if let Some(old) = before {
            self.unpin_from(key, old);
        }
        if let Some(seat) = pin.and_then(|conn| self.seat(conn)) {
            seat.pinned.push((key.clone(), share));
        }
    }

    fn unpin_from(&mut self, key: &SessionKey, conn: ConnId) {
        if let Some(seat) = self.seat(conn) {
            seat.pinned.retain(|(pinned, _)| pinned != key);
        }
    }

    /// What share of a slot the session takes, as far as is known now.
    pub fn share(&mut self, key: &SessionKey) {
        let Some(session) = self.sessions.get(key) else { return };
        let (Some(conn), Some(rtr)) = (session.pin, session.rtr) else { return };
        if let Some(seat) = self.seat(conn)
            && let Some(pinned) = seat.pinned.iter_mut().find(|(pinned, _)| pinned == key)
        {
            pinned.1 = rtr.min(1.0);
        }
    }

    /// Forgets a session; the seat that held it.
    pub fn end_session(&mut self, key: &SessionKey) -> Option<ConnId> {
        let session = self.sessions.remove(key)?;
        let conn = session.pin?;
        self.unpin_from(key, conn);
        Some(conn)
    }

    /// Sessions without a segment for `idle`.
    pub fn idle_sessions(&self, idle: Duration, now: Moment) -> Vec<SessionKey> {
        let quiet = |s: &Session| s.last_segment.is_none_or(|last| now.since(last) >= idle);
        self.sessions.iter().filter(|(_, s)| quiet(s)).map(|(key, _)| key.clone()).collect()
    }

    /// Gives a permit: counted before anything is sent.
    pub fn permit(&mut self, conn: ConnId, running: Running) {
        if let Some(seat) = self.seat(conn) {
            seat.running.push(running);
        }
    }

    /// Takes a permit back; whether it was there.
    pub fn release(&mut self, conn: ConnId, task: TaskId) -> bool {
        let Some(seat) = self.seat(conn) else { return false };
        let before = seat.running.len();
        seat.running.retain(|running| running.task != task);
        seat.running.len() < before
    }

    /// The job went elsewhere, the worker may still be busy with it.
    pub fn abandon(&mut self, conn: ConnId, task: TaskId) {
        if let Some(seat) = self.seat(conn)
            && let Some(running) = seat.running.iter_mut().find(|running| running.task == task)
        {
            running.abandoned = true;
        }
    }
}
