//! Counting at the door.
use super::*;

fn door(limits: EdgeLimits) -> Arc<Door> {
    Door::new(Arc::new(limits), Arc::default())
}

#[test]
fn a_64_is_one_address_and_mapped_ones_are_ipv4() {
    let door = door(EdgeLimits { connections_per_ip: 1, ..EdgeLimits::default() });
    let enter = |text: &str| door.enter(text.parse().unwrap());
    let first = enter("2001:db8:1:2:3::4").unwrap();
    assert!(enter("2001:db8:1:2:ffff::1").is_none());
    let other = enter("2001:db8:1:3::1").unwrap();
    let mapped = enter("::ffff:10.0.0.1").unwrap();
    assert!(enter("10.0.0.1").is_none());
    drop((first, mapped));
    assert!(enter("10.0.0.1").is_some() && enter("2001:db8:1:2::").is_some());
    drop(other);
}

#[test]
fn nothing_is_kept_of_those_who_left() {
    let door = door(EdgeLimits { connections: 2, ..EdgeLimits::default() });
    let guests: Vec<_> = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| door.enter(ip.parse().unwrap())).into();
    assert!(guests[2].is_none());
    assert_eq!(door.stats.full.load(Ordering::Relaxed), 1);
    drop(guests);
    let inside = door.inside.lock();
    assert!(inside.total == 0 && inside.by_net.is_empty());
}
