//! How slow is too slow, and what each fault is answered.
use super::*;
use crate::wire::multipart::PartFault;

#[tokio::test]
async fn a_pace_has_a_gap_a_rate_and_an_end() {
    let now = Instant::now();
    let s = Duration::from_secs;
    let pace = Pace { began: now, gap: s(15), rate: 1000, until: now + s(60) };
    assert_eq!(pace.next_by(now, 0), now + s(5), "nothing at all after the grace");
    assert_eq!(pace.next_by(now, 8000), now + s(13), "8 s earned");
    assert_eq!(pace.next_by(now, 1 << 40), now + s(15), "the gap");
    assert_eq!(pace.next_by(now + s(50), 1 << 40), now + s(60), "the segment's own time");
    assert_eq!(pace.next_by(now, u64::MAX), now + s(15));
    let late = pace.broken(now + s(60), 7);
    assert!(late.status == StatusCode::REQUEST_TIMEOUT && late.why.contains("time was over"), "{late:?}");
}

#[test]
fn each_fault_has_its_status() {
    let status = |bad: BadMultipart| Broken::from(bad).status.as_u16();
    assert_eq!(status(BadMultipart::Boundary), 415);
    assert_eq!(status(BadMultipart::Part { part: 2, fault: PartFault::TooLong(5) }), 413);
    assert_eq!(status(BadMultipart::Truncated { parts: 1 }), 400);
    let broken = Broken::from(BadMultipart::Part { part: 2, fault: PartFault::Nested });
    assert!(broken.why.starts_with("part 2: "), "{broken:?}");
    assert_eq!(Broken::from(ShelfFull::Item(5)).status.as_u16(), 413);
    assert_eq!(Broken::from(ShelfFull::Shelf(5)).status.as_u16(), 503);
}
