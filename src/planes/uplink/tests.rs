//! Tests of the orchestrator side; whole segments are tested over sockets, with the pool.
use std::time::Duration;

use super::backoff::Backoff;
use super::config::{OrchestratorConfig, UplinkConfig};
use super::epoch::Epochs;
use super::registration::{Kind, Registration, What, split, whole};
use super::status::Status;
use super::stream::{chain, refused};
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::capability::{Bits, Capabilities};
use crate::pool::Offer;
use crate::pool::ai::AiOffer;
use crate::transport::client::Fingerprint;
use crate::wire::messages::{pb, read_ai_register};
use bytes::Bytes;
use prost::Message;

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
    let caps = |offer: &Offer| match split(offer, 1, "0.8.8").remove(0).what {
        What::Transcoder(caps) => caps,
        What::Ai(_) => panic!("not what was offered"),
    };
    assert_eq!(caps(&offer(1)), Capabilities { bits: Bits(vec![7]), version: "0.8.8".into() });
    let told = Offer { version: Some("0.9.1-abc".into()), ..offer(1) };
    assert_eq!(caps(&told).version, "0.9.1-abc");
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
    assert_eq!(epochs.plain_task(Kind::Transcoder, 0), None, "0 is a task like any");
    assert_eq!(epochs.plain_task(Kind::Transcoder, 5), None);
    assert_eq!(epochs.plain_task(Kind::Transcoder, 3), None, "streams may overtake one another");
    epochs.all_lost();
    assert_eq!(epochs.plain_task(Kind::Transcoder, 6), None, "the counter went on: the same process");
    assert_eq!(epochs.plain_task(Kind::Transcoder, 2), None, "and only the first task decides");
    epochs.all_lost();
    let second = epochs.plain_task(Kind::Transcoder, 0).expect("a restart");
    assert!(second != first && epochs.current() == second);
    assert_eq!(epochs.plain_task(Kind::Transcoder, 1), None);
}

#[test]
fn in_the_clear_segments_and_ai_jobs_are_counted_apart() {
    let epochs = Epochs::new();
    epochs.certificate(None);
    for (kind, number) in [(Kind::Transcoder, 7), (Kind::Ai, 2), (Kind::Transcoder, 8), (Kind::Ai, 3)] {
        assert_eq!(epochs.plain_task(kind, number), None);
    }
    epochs.all_lost();
    assert_eq!(epochs.plain_task(Kind::Transcoder, 9), None, "the counter went on");
    assert!(epochs.plain_task(Kind::Ai, 0).is_some(), "but this one did not");
    assert_eq!(epochs.plain_task(Kind::Transcoder, 0), None, "of the new life, which is known already");
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

fn registration(capacity: u32) -> Registration {
    split(&offer(capacity), 1, "0.8.8").remove(0)
}

#[test]
fn states_are_told_in_words() {
    let status = Status::default();
    let side = status.of(Kind::Transcoder);
    let shown = || status.show(&orchestrator(), String::new());
    let state = || shown().transcoder.state;
    assert_eq!(state(), "waiting for workers");
    side.wanted.store(2, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(state(), "registering");
    assert!(side.trouble("no road") && !side.trouble("no road"), "the same trouble is news once");
    assert_eq!(state(), "not registered: no road");
    let first = side.up(&registration(3));
    let second = side.up(&registration(2));
    let both = shown().transcoder;
    assert_eq!((both.state.as_str(), both.registrations, both.capacity), ("registered", 2, 5));
    assert_eq!(both.last_error.as_deref(), Some("no road"));
    drop(second);
    assert_eq!(status.standing(), 1);
    side.trouble("gone");
    assert_eq!(state(), "1 of 2 registrations stand: gone");
    assert!(!serde_json::to_string(&shown()).unwrap().contains("hush"));
    drop(first);
    assert_eq!(status.standing(), 0);
}

#[test]
fn both_kinds_are_shown_and_the_models_of_the_newest_registration() {
    let status = Status::default();
    let side = status.of(Kind::Ai);
    side.wanted.store(1, std::sync::atomic::Ordering::Relaxed);
    let old = side.up(&whole(&ai_offer(&[("a/b", 1)], None)).remove(0));
    let new = side.up(&whole(&ai_offer(&[("a/b", 2), ("c/d", 3)], None)).remove(0));
    drop(old);
    let shown = serde_json::to_value(status.show(&orchestrator(), String::new())).unwrap();
    assert_eq!(shown["state"], "waiting for workers", "as a transcoder");
    assert_eq!((shown["ai"]["state"].as_str(), shown["ai"]["capacity"].as_u64()), (Some("registered"), Some(5)));
    let models = serde_json::json!([
        {"pipeline": "text-to-image", "model": "a/b", "capacity": 2, "warm": true},
        {"pipeline": "text-to-image", "model": "c/d", "capacity": 3, "warm": true},
    ]);
    assert_eq!(shown["ai"]["models"], models);
    drop(new);
    assert!(status.show(&orchestrator(), String::new()).ai.models.is_empty());
}

fn ai_offer(models: &[(&str, u32)], version: Option<&str>) -> AiOffer {
    let one = |(model, capacity): &(&str, u32)| ModelOffer {
        key: ModelKey::new(Pipeline::TextToImage, model),
        capacity: *capacity,
        warm: true,
        version: "0.1.0".into(),
    };
    let models = models.iter().map(one).collect();
    AiOffer { models, version: version.map(str::to_owned), hardware: vec![Bytes::from_static(b"\x0a\x01x")] }
}

#[test]
fn an_ai_registration_is_one_and_states_a_higher_version_only_when_it_must() {
    assert!(whole(&ai_offer(&[], None)).is_empty(), "no models: no registration");
    let one = whole(&ai_offer(&[("a/b", 2), ("c/d", 3)], Some("0.8.8"))).remove(0);
    assert_eq!((one.capacity, one.path()), (5, "/net.AIWorker/RegisterAIWorker"));
    let version = |registration: &Registration, fallback: &str, step: u8| {
        let told = read_ai_register(&registration.message("hush", fallback, step)).unwrap();
        assert_eq!((told.secret.as_str(), told.models.len(), told.hardware.len()), ("hush", 2, 1));
        told.version
    };
    assert_eq!(version(&one, "0.9.1", 0), "0.8.8", "the workers' own");
    assert_eq!(version(&one, "0.9.1", 1), "0.9.1");
    assert_eq!(version(&one, "0.8.8-dev", 1), "0.8.8", "a suffix makes it no higher");
    assert_eq!(version(&one, "0.8.7", 1), "0.8.8", "never lower");
    assert_eq!(version(&one, "0.8.7", 2), "1000.0.0", "whatever the orchestrator's own is");
    assert_eq!(
        (one.next_step("0.9.1", 0), one.next_step("0.8.8", 0), one.next_step("undefined", 0)),
        (Some(1), Some(2), Some(2))
    );
    assert_eq!((one.next_step("0.9.1", 1), one.next_step("0.9.1", 2)), (Some(2), None));
    let silent = whole(&ai_offer(&[("a/b", 2), ("c/d", 3)], None)).remove(0);
    assert_eq!(version(&silent, "0.8.8", 0), "0.8.8", "no worker says one");
    assert_eq!(silent.next_step("0.8.8", 0), Some(2), "HTTP runners have none");
}

#[test]
fn an_ai_registration_holds_what_a_stock_workers_does() {
    let one = whole(&ai_offer(&[("a/b", 2)], Some("0.8.8"))).remove(0);
    let message = one.message("hush", "0.8.8", 0);
    assert!(message.ends_with(b"\x1a\x03\x0a\x01x"), "hardware passes as it came");
    let told = pb::RegisterAiWorkerRequest::decode(message).unwrap();
    let caps = told.capabilities.unwrap();
    let bits = crate::domain::capability::DEFAULT_BITS | 1 << 27;
    assert_eq!((caps.bitstring, caps.mandatories.len()), (vec![bits], 0));
    let counted: Vec<u32> = (0..64).filter(|bit| bits & (1 << bit) != 0).collect();
    let mut capacities: Vec<(u32, u32)> = caps.capacities.into_iter().collect();
    capacities.sort_unstable();
    assert_eq!(capacities, counted.iter().map(|bit| (*bit, 1)).collect::<Vec<_>>());
    let constraints = caps.constraints.unwrap();
    assert_eq!((constraints.min_version.as_str(), constraints.per_capability.len()), ("", 1));
    let model = &constraints.per_capability[&27].models["a/b"];
    assert_eq!((model.warm, model.capacity, model.runner_version.as_str()), (true, 2, "0.1.0"));
    assert_eq!(model.capacity_in_use, 0);
}

#[test]
fn each_kind_is_refused_in_its_own_words() {
    let words = |kind: Kind, ended: Result<(), tonic::Status>| refused(kind, ended).to_string();
    let own = |kind| words(kind, Err(tonic::Status::unimplemented("unknown service")));
    assert!(own(Kind::Transcoder).contains("without -transcoder") && own(Kind::Ai).contains("without -aiWorker"));
    for kind in [Kind::Transcoder, Kind::Ai] {
        assert!(words(kind, Err(tonic::Status::unknown("invalid secret"))).contains("secret"));
    }
    assert!(words(Kind::Ai, Ok(())).contains("version is below its own"));
    assert!(!words(Kind::Transcoder, Ok(())).contains("version"));
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
