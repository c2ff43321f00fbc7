//! What a result does to a sticky session: its ratio, its breach counter, its warm seats.
//! (Design: routing 5.6.)
use crate::domain::ids::ConnId;
use crate::domain::seat::Session;
use crate::domain::time::Moment;

/// How a segment of a session ended on a seat.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SegmentEnd {
    /// Wall seconds from dispatch to the verified result, over segment seconds.
    Done {
        real_time_ratio: f64,
    },
    Failed,
}

/// A segment of the session goes to `seat` now.
pub fn dispatched(session: &mut Session, seat: ConnId, now: Moment) {
    let _ = (session, seat, now);
}

/// A segment of the session ended on `seat`.
pub fn ended(session: &mut Session, seat: ConnId, end: SegmentEnd, now: Moment) {
    let _ = (session, seat, end, now);
}
