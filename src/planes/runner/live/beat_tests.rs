//! Durations as Go writes them.
use super::*;

#[test]
fn durations_are_gos() {
    let ms = |text: &str| go_duration(text).map(|span| span.as_millis());
    assert_eq!([ms("5s"), ms("1m30s"), ms("300ms"), ms("1.5s")], [Some(5_000), Some(90_000), Some(300), Some(1_500)]);
    assert_eq!(
        [ms("1h"), ms(""), ms("0s"), ms("5"), ms("s"), ms("5 s"), ms("-1s")],
        [Some(3_600_000), None, None, None, None, None, None]
    );
    assert_eq!(ms(&"9".repeat(400)), None);
    assert_eq!(ms(&format!("{}h", "9".repeat(300))), None);
}
