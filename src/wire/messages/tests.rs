//! Messages: read, patched, made.
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::pb::{self, video_profile};
use super::*;
use crate::domain::capability::{Bits, Capabilities, DEFAULT_BITS, Need};
use crate::domain::ids::Address;
use crate::domain::work::{Clip, Codec, Container};

fn profile(name: &str, width: i32, height: i32) -> pb::VideoProfile {
    pb::VideoProfile { name: name.into(), width, height, fps: 30, ..Default::default() }
}

fn segment() -> pb::SegData {
    pb::SegData {
        manifest_id: Bytes::from_static(b"stream"),
        seq: 7,
        profiles: Bytes::from_static(b"invalid"),
        duration: 1_960,
        auth_token: Some(pb::AuthToken { session_id: "s1".into(), ..Default::default() }),
        full_profiles: vec![profile("P240p", 426, 240)],
        ..Default::default()
    }
}

fn message(segment: pb::SegData) -> pb::NotifySegment {
    pb::NotifySegment {
        url: "https://o.example/stream/s1/7.tempfile".into(),
        seg_data: Some(segment),
        task_id: 41,
        orch_id: "0xabc".into(),
        ..Default::default()
    }
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn read_with(change: impl FnOnce(&mut pb::SegData)) -> Result<Notice, BadNotice> {
    let mut segment = segment();
    change(&mut segment);
    match read_notice(&bytes(&message(segment)))? {
        NoticeKind::Segment(notice) => Ok(notice),
        NoticeKind::EndSession { .. } => panic!("a segment was sent"),
    }
}

fn refused(change: impl FnOnce(&mut pb::SegData)) -> &'static str {
    let bad = read_with(change).unwrap_err();
    assert_eq!(bad.task, Some(41));
    bad.text
}

#[test]
fn a_notice_is_read_whole() {
    let notice = read_with(|segment| {
        segment.calc_perceptual_hash = true;
        segment.force_session_reinit = true;
        segment.segment_parameters = Some(pb::SegParameters { from: 10, to: 20 });
    })
    .unwrap();
    assert_eq!((&*notice.session, notice.task, notice.duration_ms, notice.sequence), ("s1", 41, 1_960, 7));
    assert_eq!(notice.url, "https://o.example/stream/s1/7.tempfile");
    assert_eq!((notice.manifest.as_str(), notice.orchestrator.as_str()), ("stream", "0xabc"));
    assert!(notice.wants_hash && notice.reinit);
    assert_eq!(notice.clip, Some(Clip { from_ms: 10, to_ms: 20 }));
    let [rendition] = notice.profiles.as_slice() else { panic!("{:?}", notice.profiles) };
    assert_eq!((&*rendition.name, rendition.width, rendition.height, rendition.fps), ("P240p", 426, 240, 30));
    assert_eq!((rendition.codec, rendition.container), (Codec::H264, Container::MpegTs));
}

#[test]
fn task_zero_is_a_real_task() {
    let mut zero = message(segment());
    zero.task_id = 0;
    let absent = bytes(&zero);
    let explicit: Bytes = [&absent[..], &[0x80, 1, 0]].concat().into();
    for raw in [absent, explicit] {
        match read_notice(&raw) {
            Ok(NoticeKind::Segment(notice)) => assert_eq!(notice.task, 0),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_last_list_of_profiles_counts() {
    let names = |change: fn(&mut pb::SegData)| -> Vec<String> {
        read_with(change).unwrap().profiles.iter().map(|p| p.name.to_string()).collect()
    };
    assert_eq!(names(|s| s.full_profiles2 = vec![profile("two", 64, 64)]), ["two"]);
    assert_eq!(names(|s| s.full_profiles3 = vec![profile("three", 64, 64), profile("b", 64, 64)]), ["three", "b"]);
    let both = |s: &mut pb::SegData| {
        s.full_profiles2 = vec![profile("two", 64, 64)];
        s.full_profiles3 = vec![profile("three", 64, 64)];
    };
    assert_eq!(names(both), ["three"]);
    assert_eq!(refused(|s| s.full_profiles.clear()), "no profiles");
}

#[test]
fn durations() {
    assert_eq!(read_with(|s| s.duration = 0).unwrap().duration_ms, 2_000);
    assert_eq!(read_with(|s| s.duration = 300_000).unwrap().duration_ms, 300_000);
    for bad in [-1, i32::MIN, 300_001, i32::MAX] {
        assert_eq!(refused(|s| s.duration = bad), "invalid duration");
    }
}

#[test]
fn what_cannot_be_read_gets_the_stock_text() {
    assert_eq!(refused(|s| s.full_profiles[0].format = 2), "unrecognized profile output format");
    assert_eq!(refused(|s| s.full_profiles[0].profile = 5), "unrecognized encoder profile");
    assert_eq!(refused(|s| s.full_profiles[0].encoder = 4), "unrecognized video codec");
    assert_eq!(refused(|s| s.full_profiles[0].encoder = -1), "unrecognized video codec");
    assert_eq!(refused(|s| s.auth_token = None), "no auth token");
    assert_eq!(refused(|s| s.auth_token = Some(pb::AuthToken::default())), "no auth token");
    assert_eq!(refused(|s| s.full_profiles[0].width = 0), "TranscoderInvalidResolution");
    assert_eq!(refused(|s| s.full_profiles[0].height = -2), "TranscoderInvalidResolution");
    assert_eq!(refused(|s| s.full_profiles[0].height = 1 << 20), "TranscoderInvalidResolution");
    assert_eq!(refused(|s| s.full_profiles[0].fps = 5_000), "invalid frame rate");
    assert_eq!(refused(|s| s.full_profiles = vec![profile("", 64, 64); 65]), "Too many outputs");
    for name in ["", ".", "..", "a/b", "../x", "a\\b", "a\0b", "a\nb"] {
        assert_eq!(refused(|s| s.manifest_id = name.into()), "invalid manifest id", "{name}");
    }
    assert_eq!(refused(|s| s.manifest_id = vec![b'a'; 256].into()), "invalid manifest id");
    assert_eq!(refused(|s| s.manifest_id = Bytes::from_static(b"\xff")), "invalid manifest id");
    assert!(read_with(|s| s.manifest_id = vec![b'a'; 255].into()).is_ok());
    assert!(read_with(|s| s.full_profiles[0].fps = 60_000).is_err());
    let fraction = |s: &mut pb::SegData| (s.full_profiles[0].fps, s.full_profiles[0].fps_den) = (60_000, 1_001);
    assert!(read_with(fraction).is_ok());
    let other = |s: &mut pb::SegData| {
        s.full_profiles[0].format = video_profile::Format::Mp4 as i32;
        s.full_profiles[0].encoder = video_profile::VideoCodec::H265 as i32;
    };
    let read = read_with(other).unwrap();
    assert_eq!((read.profiles[0].container, read.profiles[0].codec), (Container::Mp4, Codec::Hevc));
}

#[test]
fn garbage_still_names_its_task() {
    let answer = |raw: &[u8]| read_notice(&Bytes::copy_from_slice(raw)).unwrap_err();
    let bare = |task, text| BadNotice { task, text };
    assert_eq!(answer(&[]), bare(Some(0), "empty seg data"));
    assert_eq!(answer(&[0x80, 1, 9]), bare(Some(9), "empty seg data"));
    // segData of two bytes that are no message, before and after the task.
    assert_eq!(answer(&[0x1A, 2, 0xFF, 0xFF, 0x80, 1, 9]), bare(Some(9), "unreadable seg data"));
    assert_eq!(answer(&[0x80, 1, 9, 0x1A, 2, 0xFF, 0xFF]), bare(Some(9), "unreadable seg data"));
    assert_eq!(answer(&[0x80, 1, 9, 0xFF]), bare(Some(9), "unreadable seg data"));
    assert_eq!(answer(&[0x1A, 200, 0xFF]), bare(None, "unreadable seg data"));
    let no_address = pb::NotifySegment { task_id: 3, seg_data: Some(pb::SegData::default()), ..Default::default() };
    assert_eq!(answer(&bytes(&no_address)), bare(Some(3), "no auth token"));
}

#[test]
fn an_end_of_session_is_told_apart() {
    let end = |session: &str| NoticeKind::EndSession { session: session.into() };
    assert_eq!(read_notice(&end_session("s9")), Ok(end("s9")));
    // 1A len { 42 len { 12 len "s9" } }
    assert_eq!(&end_session("s9")[..], [0x1A, 6, 0x42, 4, 0x12, 2, b's', b'9']);
    let mut other = message(segment());
    other.url.clear();
    assert_eq!(read_notice(&bytes(&other)), Ok(end("s1")));
}

#[test]
fn needs() {
    assert_eq!(read_with(|s| s.capabilities = None).unwrap().need, Need::default());
    let empty = read_with(|s| s.capabilities = Some(pb::Capabilities::default())).unwrap().need;
    assert_eq!(empty, Need { bits: Some(Bits(vec![])), min_version: String::new() });
    let asked = pb::Capabilities {
        bitstring: vec![5, 0],
        version: "0.9.9".into(),
        constraints: Some(pb::capabilities::Constraints { min_version: "0.8.0".into(), ..Default::default() }),
        ..Default::default()
    };
    let need = read_with(|s| s.capabilities = Some(asked)).unwrap().need;
    assert_eq!(need, Need { bits: Some(Bits(vec![5, 0])), min_version: "0.8.0".into() });
    let long = pb::Capabilities { bitstring: vec![0; 17], ..Default::default() };
    assert_eq!(refused(|s| s.capabilities = Some(long)), "incompatible segment capabilities");
}

#[test]
fn registrations_are_read() {
    let raw = bytes(&pb::RegisterRequest {
        secret: "x".into(),
        capacity: -3,
        ethereum_address: vec![0x11; 20].into(),
        ..Default::default()
    });
    let register = read_register(&raw).unwrap();
    assert_eq!((register.secret.as_str(), register.capacity), ("x", -3));
    assert_eq!((&register.capabilities, register.ethereum_address), (&None, Some(Address([0x11; 20]))));
    assert!(!format!("{register:?}").contains("\"x\""));
    for other in [vec![0; 20], vec![1; 19], vec![1; 21], vec![]] {
        let raw = bytes(&pb::RegisterRequest { ethereum_address: other.into(), ..Default::default() });
        assert_eq!(read_register(&raw).unwrap().ethereum_address, None);
    }
    let present = pb::RegisterRequest { capabilities: Some(pb::Capabilities::default()), ..Default::default() };
    let none = Capabilities { bits: Bits(vec![]), version: String::new() };
    assert_eq!(read_register(&bytes(&present)).unwrap().capabilities, Some(none));
}

#[test]
fn registrations_have_limits() {
    let with = |capabilities| bytes(&pb::RegisterRequest { capabilities: Some(capabilities), ..Default::default() });
    let long = with(pb::Capabilities { bitstring: vec![1; 17], ..Default::default() });
    assert!(read_register(&long).unwrap_err().is_limit());
    let huge = with(pb::Capabilities { bitstring: vec![1; 1 << 20], ..Default::default() });
    assert!(matches!(read_register(&huge), Err(BadWire::TooBig { .. })));
    let secret = bytes(&pb::RegisterRequest { secret: "x".repeat(5_000), ..Default::default() });
    assert!(read_register(&secret).unwrap_err().is_limit());
    let garbage = read_register(&Bytes::from_static(&[0x0A, 9])).unwrap_err();
    assert!(!garbage.is_limit(), "{garbage}");
}

#[test]
fn our_registration_looks_like_a_stock_one() {
    let capabilities = Capabilities { bits: Bits(vec![DEFAULT_BITS]), version: "0.8.10".into() };
    let raw = write_register("secret", 40, &capabilities);
    let message = pb::RegisterRequest::decode(raw.clone()).unwrap();
    assert_eq!((message.secret.as_str(), message.capacity), ("secret", 40));
    let sent = message.capabilities.unwrap();
    assert_eq!((sent.bitstring.as_slice(), sent.mandatories.len()), ([DEFAULT_BITS].as_slice(), 0));
    let mut listed: Vec<_> = sent.capacities.into_iter().collect();
    listed.sort_unstable();
    let expected: Vec<_> = (0..=12).chain([14, 26]).map(|bit| (bit, 1)).collect();
    assert_eq!(listed, expected);
    assert_eq!(sent.constraints, Some(pb::capabilities::Constraints::default()));
    assert!(raw.windows(2).any(|pair| pair == [0x2A, 0]), "constraints are present and empty");
    assert_eq!(read_register(&raw).unwrap().capabilities, Some(capabilities));
}

/// A top-level field that we do not list, of any kind that proto3 writes.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let number = (1u32..3_000).prop_filter("ours", |n| ![1, 3, 16, 17, 18].contains(n));
    (number, any::<u64>(), prop::collection::vec(any::<u8>(), 0..40), 0..4u8).prop_map(
        |(number, value, bytes, kind)| {
            use prost::encoding::{WireType, encode_key, encode_varint};
            let mut out = Vec::new();
            let wire = [WireType::Varint, WireType::LengthDelimited, WireType::SixtyFourBit, WireType::ThirtyTwoBit];
            encode_key(number, wire[usize::from(kind)], &mut out);
            match kind {
                0 => encode_varint(value, &mut out),
                1 => {
                    encode_varint(bytes.len() as u64, &mut out);
                    out.extend(bytes);
                }
                2 => out.extend(value.to_le_bytes()),
                _ => out.extend((value as u32).to_le_bytes()),
            }
            out
        },
    )
}

proptest! {
    #[test]
    fn a_patch_keeps_every_other_byte(
        fields in prop::collection::vec(unknown(), 0..8),
        split in 0usize..8, url in "[a-z:/]{0,60}", task in any::<i64>(),
    ) {
        let split = split.min(fields.len());
        let (before, after) = (fields[..split].concat(), fields[split..].concat());
        let ours = message(segment());
        let known = pb::NotifySegment { url: String::new(), task_id: 0, ..ours.clone() }.encode_to_vec();
        let moving = pb::NotifySegment { url: ours.url, task_id: 41, ..Default::default() }.encode_to_vec();
        let raw = [&before, &moving, &known, &moving, &after].map(|b| b.as_slice()).concat().into();
        let patched = patch_notice(&raw, &url, task).unwrap();
        let kept = [&before[..], &known, &after].concat();
        prop_assert_eq!(&patched[..kept.len()], &kept[..]);
        let read = pb::NotifySegment::decode(patched.clone()).unwrap();
        prop_assert_eq!((read.url.as_str(), read.task_id), (url.as_str(), task));
        prop_assert_eq!(read.seg_data, Some(segment()));
        // A patched notice can be patched again.
        prop_assert_eq!(patch_notice(&patched, &url, task).unwrap(), patched);
    }

    #[test]
    fn garbage_never_panics(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = Bytes::from(raw);
        let _ = (read_notice(&raw), read_register(&raw), patch_notice(&raw, "u", 1));
    }

    #[test]
    fn damage_never_panics(at in 0usize..80, value in any::<u8>()) {
        let mut raw = bytes(&message(segment())).to_vec();
        let at = at % raw.len();
        raw[at] = value;
        let raw = Bytes::from(raw);
        if let Ok(NoticeKind::Segment(notice)) = read_notice(&raw) {
            prop_assert!(patch_notice(&raw, "u", notice.task).is_ok());
        }
    }
}
