//! Tests of the orchestrator side; whole segments are tested over sockets, with the pool.
use std::time::Duration;

use super::backoff::Backoff;
use super::config::{OrchestratorConfig, UplinkConfig};
use super::epoch::Epochs;
use super::slot::split;
use super::status::Status;
use super::stream::chain;
use crate::domain::capability::Bits;
use crate::pool::Offer;
use crate::transport::client::Fingerprint;

fn offer(capacity: u32) -> Offer {
    Offer { capacity, bits: Bits(vec![7]), version: None }
}

fn shares(capacity: u32, streams: u32) -> Vec<u32> {
    split(&offer(capacity), streams, "0.8.8").iter().map(|r| r.capacity).collect()
}

#[test]
fn capacity_is_split_as_evenly_as_it_goes() {
    assert_eq!(shares(0, 4), Vec::<u32>::new(), "nobody here: no registration");
    assert_eq!(shares(1, 4), [1]);
    assert_eq!(shares(3, 4), [1, 1, 1]);
    assert_eq!(shares(10, 4), [3, 3, 2, 2]);
    assert_eq!(shares(40, 4), [10, 10, 10, 10]);
    assert_eq!(shares(5, 0), [5], "at least one");
    for capacity in 0..200 {
        for streams in 1..9 {
            let shares = shares(capacity, streams);
            assert_eq!(shares.iter().sum::<u32>(), capacity);
            assert!(!shares.contains(&0), "an orchestrator refuses zero capacity");
        }
    }
}

#[test]
fn the_version_falls_back_only_when_no_worker_tells_one() {
    let none = split(&offer(1), 1, "0.8.8");
    assert_eq!(none[0].caps.version, "0.8.8");
    let told = Offer { version: Some("0.9.1-abc".into()), ..offer(1) };
    assert_eq!(split(&told, 1, "0.8.8")[0].caps.version, "0.9.1-abc");
    assert_eq!(none[0].caps.bits, Bits(vec![7]));
}

#[test]
fn waits_double_up_to_the_longest_and_begin_anew() {
    let ms = Duration::from_millis;
    let mut backoff = Backoff::new(ms(500), ms(3000));
    let waits: Vec<Duration> = (0..5).map(|_| backoff.wait(1.0)).collect();
    assert_eq!(waits, [ms(500), ms(1000), ms(2000), ms(3000), ms(3000)]);
    backoff.reset();
    assert_eq!(backoff.wait(0.0), ms(250), "half is sure, half is chance");
    assert_eq!(backoff.wait(0.5), ms(750));
}

#[test]
fn a_new_certificate_is_a_new_epoch() {
    let epochs = Epochs::new();
    let (first, restarted) = epochs.certificate(Some(Fingerprint([1; 32])));
    assert_eq!((first.to_string().as_str(), restarted), ("0101010101010101", false));
    assert_eq!(epochs.certificate(Some(Fingerprint([1; 32]))), (first.clone(), false));
    let (second, restarted) = epochs.certificate(Some(Fingerprint([2; 32])));
    assert!(restarted && second != first && epochs.current() == second);
}

#[test]
fn in_the_clear_a_restart_shows_by_task_numbers_that_were_before() {
    let epochs = Epochs::new();
    let (first, _) = epochs.certificate(None);
    assert_eq!(epochs.certificate(None), (first.clone(), false));
    assert_eq!(epochs.plain_task(0), None, "0 is a task like any");
    assert_eq!(epochs.plain_task(5), None);
    assert_eq!(epochs.plain_task(3), None, "streams may overtake one another");
    epochs.all_lost();
    assert_eq!(epochs.plain_task(6), None, "the counter went on: the same process");
    assert_eq!(epochs.plain_task(2), None, "and only the first task decides");
    epochs.all_lost();
    let second = epochs.plain_task(0).expect("a restart");
    assert!(second != first && epochs.current() == second);
    assert_eq!(epochs.plain_task(1), None);
}

fn orchestrator() -> OrchestratorConfig {
    OrchestratorConfig {
        name: "one".into(),
        url: "https://orch.example:8935".parse().unwrap(),
        secret: "hush".into(),
        segment_hosts: Vec::new(),
        private_segment_hosts: false,
    }
}

#[test]
fn states_are_told_in_words() {
    let status = Status::default();
    let state = |status: &Status| status.show(&orchestrator(), String::new()).state;
    assert_eq!(state(&status), "waiting for workers");
    status.wanted.store(2, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(state(&status), "registering");
    assert!(status.trouble("no road") && !status.trouble("no road"), "the same trouble is news once");
    assert_eq!(state(&status), "not registered: no road");
    let first = status.up(3);
    let second = status.up(2);
    let shown = status.show(&orchestrator(), String::new());
    assert_eq!((shown.state.as_str(), shown.registrations, shown.capacity), ("registered", 2, 5));
    assert_eq!(shown.last_error.as_deref(), Some("no road"));
    drop(second);
    assert!(first.is_last());
    status.trouble("gone");
    assert_eq!(state(&status), "1 of 2 registrations stand: gone");
    assert!(!serde_json::to_string(&shown).unwrap().contains("hush"));
}

#[test]
fn defaults_leave_time_for_a_fetch_before_the_shortest_budget() {
    assert!(UplinkConfig::default().fetch_timeout * 2 <= crate::domain::job::budget(Duration::from_secs(2)));
}

#[test]
fn a_connection_that_just_ended_is_said_in_three_words() {
    let tls = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
    let io = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, tls);
    assert_eq!(chain(&io), "the connection ended");
    let refused = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
    assert_eq!(chain(&refused), "Connection refused");
}
