//! Results that hold and results that do not.
use proptest::prelude::*;

use super::*;

fn profile(width: u32, height: u32, fps: u32) -> Profile {
    let (codec, container) = (Codec::H264, Container::MpegTs);
    Profile { name: "p".into(), width, height, fps, fps_den: 1, codec, container }
}

fn video(width: u32, height: u32, frames: u64, digest: u64) -> MediaFacts {
    MediaFacts::Counted(Counted { width, height, frames, duration_ms: 2000, digest })
}

fn part(facts: MediaFacts) -> PartClaim {
    let reported = counted(Some(&facts)).map_or(1, Counted::pixels);
    PartClaim { reported, bytes: 50_000, facts }
}

fn source() -> MediaFacts {
    video(1280, 720, 60, 1)
}

fn whole(duration_ms: u64) -> Announced {
    Announced { duration_ms, clip: None }
}

const SD: u64 = 640 * 360 * 60;

/// One rendition of the usual source.
fn one(profile: Profile, part: PartClaim) -> Result<Credit, String> {
    check(&[profile], Some(&source()), whole(2000), &[part])
}

fn refused(result: Result<Credit, String>, holds: &str) {
    let text = result.expect_err(holds);
    assert!(text.contains(holds), "`{text}` does not say `{holds}`");
    assert!(text.chars().count() <= 200 && !text.contains('%'), "{text}");
}

#[test]
fn a_true_result_is_paid_to_the_pixel() {
    let profiles = [profile(640, 360, 30), profile(426, 240, 0)];
    let parts = [part(video(640, 360, 60, 2)), part(video(426, 240, 60, 3))];
    let sum = SD + 426 * 240 * 60;
    let credit = check(&profiles, Some(&source()), whole(2000), &parts).unwrap();
    assert_eq!(credit, Credit { reported: sum, computed: Some(sum), credited: sum });
}

#[test]
fn reporting_less_is_paid_as_reported() {
    let modest = PartClaim { reported: 7, ..part(video(640, 360, 60, 2)) };
    let credit = one(profile(640, 360, 30), modest).unwrap();
    assert_eq!(credit, Credit { reported: 7, computed: Some(SD), credited: 7 });
}

#[test]
fn reporting_one_pixel_more_is_refused_with_both_numbers() {
    let lie = PartClaim { reported: SD + 1, ..part(video(640, 360, 60, 2)) };
    let parts = [part(video(854, 480, 60, 3)), lie, part(video(426, 240, 60, 4))];
    let profiles = [profile(854, 480, 30), profile(640, 360, 30), profile(426, 240, 30)];
    let text = check(&profiles, Some(&source()), whole(2000), &parts).unwrap_err();
    assert_eq!(text, "rendition 2 of 3 (640x360): you reported 13824001 pixels, we counted 13824000; not paid");
}

#[test]
fn what_is_wrong_is_said() {
    let sd = || profile(640, 360, 30);
    let good = || part(video(640, 360, 60, 2));
    refused(
        check(&[sd(), sd()], None, whole(2000), &[good()]),
        "MismatchedSegments: 1 renditions came, 2 were asked for",
    );
    refused(check(&[], None, whole(2000), &[]), "ZeroSegments");
    refused(one(sd(), PartClaim { bytes: 24, ..good() }), "ZeroSegments: it holds 24 bytes");
    refused(one(sd(), part(video(640, 360, 0, 2))), "no frame");
    refused(one(sd(), part(video(426, 240, 60, 2))), "its picture is 426x240");
    refused(one(sd(), part(video(640, 360, 60, 1))), "it is the source");
    refused(one(sd(), part(MediaFacts::Broken { why: "no PAT in 100% of it".into() })), "no PAT in 100 of it");
    refused(one(sd(), part(MediaFacts::Uncounted { what: "MP4" })), "H.264 in MPEG-TS was asked for, MP4 came");
    let mp4 = Profile { container: Container::Mp4, ..sd() };
    refused(one(mp4, good()), "H264 in Mp4 was asked for, H.264 in MPEG-TS came");
    refused(one(sd(), part(MediaFacts::Broken { why: "x".repeat(5000) })), "xxx");
}

#[test]
fn two_sizes_cannot_be_the_same_video() {
    // Both sizes fit a source of 4:3 or so; the digest tells.
    let profiles = [profile(640, 360, 30), profile(640, 480, 30)];
    let wide = video(1280, 720, 60, 1);
    let parts = [part(video(640, 360, 60, 2)), part(video(640, 360, 60, 2))];
    refused(check(&profiles, Some(&wide), whole(2000), &parts), "renditions 1 and 2 are the same video");
    // Asked for twice in one size, an encoder may well give the same bytes twice.
    let twice = [profile(640, 360, 30), profile(640, 360, 30)];
    assert!(check(&twice, Some(&wide), whole(2000), &parts).is_ok());
}

#[test]
fn sizes_follow_the_source_as_stock_workers_scale() {
    // source, profile, sizes that are allowed, sizes that are not
    type Row = ((u32, u32), (u32, u32), &'static [(u32, u32)], &'static [(u32, u32)]);
    let table: [Row; 8] = [
        ((1280, 720), (640, 360), &[(640, 360)], &[(640, 362), (360, 640), (638, 360), (320, 180)]),
        ((1920, 1080), (426, 240), &[(426, 240)], &[(426, 238), (424, 240)]),
        ((640, 480), (1280, 720), &[(1280, 960), (1280, 720)], &[(960, 720), (1280, 962)]),
        // A tall source: the profile's height in old workers, its longer side in new ones.
        ((1080, 1920), (640, 360), &[(202, 360), (360, 640), (640, 360)], &[(360, 202), (1138, 640)]),
        ((720, 720), (640, 360), &[(640, 640), (640, 360)], &[(360, 360)]),
        ((1920, 800), (854, 480), &[(854, 356)], &[(854, 358), (1152, 480)]),
        // Under the encoder's least side: the least, and the other follows.
        ((1920, 200), (320, 180), &[(480, 50), (320, 34)], &[(320, 50)]),
        ((1280, 720), (427, 240), &[(427, 240), (426, 240)], &[(428, 240)]),
    ];
    for (from, asked, good, bad) in table {
        let origin = video(from.0, from.1, 60, 1);
        let go = |(w, h): (u32, u32)| {
            check(&[profile(asked.0, asked.1, 30)], Some(&origin), whole(2000), &[part(video(w, h, 60, 2))])
        };
        good.iter().for_each(|size| assert!(go(*size).is_ok(), "{from:?} to {asked:?}: {size:?}"));
        bad.iter().for_each(|size| refused(go(*size), "its picture is"));
    }
}

#[test]
fn without_the_source_one_side_must_fit() {
    let go = |w, h| check(&[profile(640, 360, 30)], None, whole(2000), &[part(video(w, h, 60, 2))]);
    for (w, h) in [(640, 360), (640, 480), (360, 640), (202, 360)] {
        assert!(go(w, h).is_ok(), "{w}x{h}");
    }
    for (w, h) in [(640, 4096), (1280, 360), (500, 500)] {
        refused(go(w, h), "its picture is");
    }
}

#[test]
fn frames_within_two_or_a_tenth() {
    // profile's fps, source frames (of 2 s), frames, fine
    let table = [
        (30, 60, 60, true),
        (30, 60, 54, true),
        (30, 60, 53, false),
        (30, 60, 66, true),
        (30, 60, 67, false),
        (15, 60, 30, true),
        (15, 60, 60, false),
        (60, 60, 120, true),
        (0, 60, 60, true),
        (0, 60, 120, false),
        (0, 60, 30, false),
        (0, 120, 120, true),
        (0, 5, 3, true),
        (0, 5, 2, false),
    ];
    for (fps, from, frames, fine) in table {
        let origin = video(1280, 720, from, 1);
        let result = check(&[profile(640, 360, fps)], Some(&origin), whole(2000), &[part(video(640, 360, frames, 2))]);
        assert_eq!(result.is_ok(), fine, "{fps} fps of {from} frames: {frames} ({result:?})");
        if !fine {
            refused(result, "frames, about");
        }
    }
}

#[test]
fn either_account_of_the_length_will_do() {
    // Announced as 2 s, and 4 s by its own clock: between the two all is well.
    let origin = MediaFacts::Counted(Counted { width: 1280, height: 720, frames: 120, duration_ms: 4000, digest: 1 });
    let go = |frames| check(&[profile(640, 360, 30)], Some(&origin), whole(2000), &[part(video(640, 360, frames, 2))]);
    assert!(go(60).is_ok() && go(120).is_ok());
    refused(go(40), "it has 40 frames, about 60");
    refused(go(150), "it has 150 frames, about 120");
}

#[test]
fn of_a_clip_only_its_frames_are_expected() {
    let clip = |from_ms, to_ms| Announced { clip: Some(Clip { from_ms, to_ms }), ..whole(2000) };
    let go = |announced, fps, frames| {
        check(&[profile(640, 360, fps)], Some(&source()), announced, &[part(video(640, 360, frames, 2))])
    };
    for fps in [30, 0] {
        assert!(go(clip(500, 1500), fps, 30).is_ok());
        refused(go(clip(500, 1500), fps, 60), "it has 60 frames, about 30");
        refused(go(clip(500, 1500), fps, 10), "it has 10 frames, about 30");
        assert!(go(clip(1500, 0), fps, 15).is_ok(), "0 is to the end");
        assert!(go(clip(0, 9000), fps, 60).is_ok(), "there is no more than the source");
    }
    refused(go(clip(5000, 9000), 30, 60), "about 0");
}

#[test]
fn fractional_rates() {
    let ntsc = Profile { fps: 30_000, fps_den: 1001, ..profile(640, 360, 0) };
    assert!(one(ntsc.clone(), part(video(640, 360, 60, 2))).is_ok());
    refused(one(ntsc, part(video(640, 360, 120, 2))), "about 60");
    let none = Profile { fps: 30, fps_den: 0, ..profile(640, 360, 0) };
    assert!(one(none, part(video(640, 360, 60, 2))).is_ok(), "0 is read as 1");
}

#[test]
fn what_is_not_counted_is_paid_up_to_a_bound() {
    let hevc = Profile { codec: Codec::Hevc, ..profile(640, 360, 30) };
    let claim = |reported| PartClaim { reported, ..part(MediaFacts::Uncounted { what: "HEVC" }) };
    let credit = one(hevc.clone(), claim(SD)).unwrap();
    assert_eq!(credit, Credit { reported: SD, computed: None, credited: SD });
    let greedy = one(hevc.clone(), claim(u64::MAX)).unwrap();
    assert_eq!((greedy.computed, greedy.credited), (None, 640 * 360 * 62));
    // One of the two is counted: the sum is not.
    let mixed =
        check(&[profile(640, 360, 30), hevc], Some(&source()), whole(2000), &[part(video(640, 360, 60, 2)), claim(SD)]);
    assert_eq!(mixed.unwrap(), Credit { reported: 2 * SD, computed: None, credited: 2 * SD });
}

#[test]
fn a_source_that_is_not_counted_bounds_the_rate() {
    for source in [None, Some(MediaFacts::Uncounted { what: "HEVC" }), Some(MediaFacts::Broken { why: "x".into() })] {
        let go = |frames| {
            let parts = [part(video(640, 360, frames, 2))];
            check(&[profile(640, 360, 0)], source.as_ref(), whole(2000), &parts).unwrap()
        };
        assert_eq!(go(120).credited, 640 * 360 * 120);
        let padded = go(100_000);
        assert_eq!(padded.credited, 640 * 360 * 122, "60 frames a second are believed");
        assert_eq!(padded.computed, Some(640 * 360 * 100_000));
    }
}

fn facts() -> impl Strategy<Value = MediaFacts> {
    let side = || prop_oneof![0u32..5000, Just(640), Just(360), any::<u32>()];
    let count = || prop_oneof![0u64..300, any::<u64>()];
    let whole = (side(), side(), count(), count(), 0u64..4).prop_map(|(width, height, frames, duration_ms, digest)| {
        MediaFacts::Counted(Counted { width, height, frames, duration_ms, digest })
    });
    prop_oneof![
        4 => whole,
        1 => Just(MediaFacts::Uncounted { what: "MP4" }),
        1 => ".*".prop_map(|why| MediaFacts::Broken { why }),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    let row = (any::<u32>(), any::<u32>(), 0u32..200, any::<u32>(), any::<bool>(), any::<bool>());
    row.prop_map(|(width, height, fps, fps_den, usual, hevc)| {
        let codec = if hevc { Codec::Hevc } else { Codec::H264 };
        if usual { profile(640, 360, 30) } else { Profile { fps_den, codec, ..profile(width, height, fps) } }
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_nobody_is_paid_beyond_the_count(
        profiles in prop::collection::vec(profiles(), 0..4),
        source in prop::option::of(facts()),
        duration in prop_oneof![0u64..400_000, any::<u64>()],
        parts in prop::collection::vec((any::<u64>(), any::<u64>(), facts()), 0..4),
    ) {
        let parts: Vec<PartClaim> =
            parts.into_iter().map(|(reported, bytes, facts)| PartClaim { reported, bytes, facts }).collect();
        match check(&profiles, source.as_ref(), whole(duration), &parts) {
            Ok(credit) => {
                prop_assert!(credit.credited <= credit.reported);
                prop_assert!(credit.computed.is_none_or(|computed| credit.credited <= computed));
            }
            Err(text) => prop_assert!(text.chars().count() <= 200 && !text.contains('%')),
        }
    }

    #[test]
    fn every_stock_size_passes(sw in 16u32..4096, sh in 16u32..4096, w in 73u32..1920, h in 25u32..1080, old: bool) {
        let (w, h) = (w * 2, h * 2);
        let size = if old { old_scale((w, h), (sw, sh)) } else { new_scale((w, h), (sw, sh)) };
        let origin = video(sw, sh, 60, 1);
        let result = check(&[profile(w, h, 30)], Some(&origin), whole(2000), &[part(video(size.0, size.1, 60, 2))]);
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}
