//! What a result does to a sticky session: its ratio, its breach counter, its warm seats.
//! (Design: routing 5.6.)
use crate::domain::ids::ConnId;
use crate::domain::seat::{Session, WARM};
use crate::domain::time::Moment;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

/// How a segment of a session ended on a seat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SegmentEnd {
    /// Wall seconds from dispatch to the verified result, over segment seconds: see
    /// `real_time_ratio`.
    Done {
        real_time_ratio: f64,
    },
    Failed,
}

/// Smoothing of the session's ratio.
const ALPHA: f64 = 0.3;
/// Slower than this is late, slower than that nearly so.
const LATE: f64 = 1.0;
const NEARLY: f64 = 0.85;
/// A breach counter beyond this says nothing more.
const MOST_LATE: u32 = 100;
/// Warm seats remembered for one session.
const MOST_WARM: usize = 8;
/// The gateway's own floor: a shorter segment is all overhead.
const SHORTEST: f64 = 1.5;

/// Wall seconds over segment seconds, with the gateway's floor of 1.5 s under short segments.
pub fn real_time_ratio(wall: f64, segment: f64) -> f64 {
    wall / segment.max(SHORTEST)
}

/// Whether the session is served badly enough to look elsewhere.
pub fn in_breach(session: &Session) -> bool {
    session.late >= 2
}

/// A segment of the session goes to `seat` now.
pub fn dispatched(session: &mut Session, seat: ConnId, now: Moment) {
    session.last_segment = Some(now);
    if session.pin == Some(seat) {
        return;
    }
    // A first placement is no move: it may be put right as soon as the breach rule says so.
    if session.pin.is_some() {
        session.last_move = Some(now);
    }
    session.pin = Some(seat);
    session.late = 0;
    session.rtr = None;
    session.fresh = true;
}

/// A segment of the session ended on `seat`.
pub fn ended(session: &mut Session, seat: ConnId, end: SegmentEnd, now: Moment) {
    if let SegmentEnd::Done { .. } = end {
        session.segments = session.segments.saturating_add(1);
        mark_warm(session, seat, now);
    }
    // What comes late from a seat that the session left says nothing of where it is.
    if session.pin != Some(seat) {
        return;
    }
    session.last_segment = Some(now);
    let step = match end {
        SegmentEnd::Failed => Some(2),
        SegmentEnd::Done { real_time_ratio } if real_time_ratio.is_finite() => {
            let known = session.rtr.unwrap_or(real_time_ratio);
            session.rtr = Some(known + ALPHA * (real_time_ratio - known));
            let first = std::mem::take(&mut session.fresh);
            (!first).then_some(match real_time_ratio {
                x if x > LATE => 2,
                x if x > NEARLY => 1,
                _ => 0,
            })
        }
        SegmentEnd::Done { .. } => None,
    };
    match step {
        Some(0) => session.late = 0,
        Some(n) => session.late = (session.late + n).min(MOST_LATE),
        None => {}
    }
}

fn mark_warm(session: &mut Session, seat: ConnId, now: Moment) {
    session.warm.retain(|(conn, until)| *until > now && *conn != seat);
    if session.warm.len() >= MOST_WARM {
        session.warm.remove(0);
    }
    session.warm.push((seat, now + WARM));
}
