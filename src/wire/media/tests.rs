//! Media facts against known and made streams.
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::Probe;
use super::h264::read_sequence;
use crate::domain::work::{Counted, MediaFacts};
use crate::sim::media::{sample, synth_segment, synth_segment_seeded};

fn probe(bytes: &[u8], step: usize) -> MediaFacts {
    let mut probe = Probe::new();
    bytes.chunks(step).for_each(|chunk| probe.feed(chunk));
    probe.finish()
}

fn counted(bytes: &[u8]) -> Counted {
    match probe(bytes, 16 << 10) {
        MediaFacts::Counted(counted) => counted,
        other => panic!("{other:?}"),
    }
}

fn broken(bytes: &[u8]) -> String {
    match probe(bytes, 1000) {
        MediaFacts::Broken { why } => why,
        other => panic!("{other:?}"),
    }
}

fn size(facts: Counted) -> (u32, u32, u64) {
    (facts.width, facts.height, facts.frames)
}

/// The output of ffmpeg.
fn ffmpeg(input: &str, arguments: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", input])
        .args(arguments.split_whitespace())
        .args(["-threads", "1", "-f", "mpegts", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn reads_the_samples_as_ffprobe_does() {
    for n in 0..3 {
        let sample = sample(n);
        let source = counted(sample.source);
        assert_eq!((size(source), source.duration_ms), ((640, 360, 60), 2000));
        assert_eq!(source.pixels(), 640 * 360 * 60);
        for (width, height, bytes) in sample.renditions {
            let facts = counted(bytes);
            assert_eq!((size(facts), facts.duration_ms), ((width, height, 60), 2000));
            assert_ne!(facts.digest, source.digest);
        }
    }
}

#[test]
#[ignore = "needs ffmpeg: `make test` installs it and runs this"]
fn counts_every_kind_that_ffmpeg_makes() {
    let kinds = [
        ("64x64", "-flags +ildct+ilme -x264opts interlaced=1"),
        ("96x36", "-x264opts tff=1"),
        ("64x64", "-x264opts slices=4"),
        ("64x64", "-bf 3 -b_strategy 0"),
        ("66x34", "-x264opts slices=2"),
        ("1920x1080", "-preset ultrafast"),
        ("64x64", "-profile:v baseline"),
        ("64x64", "-pix_fmt yuv420p10le"),
        ("66x62", "-pix_fmt yuv422p"),
        ("65x63", "-pix_fmt yuv444p -profile:v high444"),
        ("64x64", "-x264opts cqm=jvt"),
        ("64x64", "-muxrate 2M"),
        ("64x64", "-x264opts aud=1:slices=3:nal-hrd=cbr -b:v 500k -maxrate 500k -bufsize 500k"),
        ("64x64", "-output_ts_offset 95443.2"),
        ("64x64", "-mpegts_flags +system_b -streamid 0:77 -mpegts_pmt_start_pid 4000"),
        ("64x64", "-f mpegts -bsf:v h264_mp4toannexb"),
    ];
    for (dimensions, arguments) in kinds {
        let input = format!("testsrc=size={dimensions}:rate=25");
        let bytes = ffmpeg(&input, &format!("-frames:v 15 -c:v libx264 -pix_fmt yuv420p {arguments}"));
        let facts = counted(&bytes);
        let read = format!("{}x{}", facts.width, facts.height);
        assert_eq!((read.as_str(), facts.frames, facts.duration_ms), (dimensions, 15, 600), "{arguments}");
    }
}

#[test]
#[ignore = "needs ffmpeg: `make test` installs it and runs this"]
fn other_codecs_are_named_and_not_counted() {
    for (arguments, what) in [("-c:v mpeg2video", "MPEG-2 video"), ("-c:v libx265 -x265-params log-level=none", "HEVC")]
    {
        let bytes = ffmpeg("testsrc2=size=64x64:rate=25", &format!("-frames:v 3 -pix_fmt yuv420p {arguments}"));
        assert_eq!(probe(&bytes, 777), MediaFacts::Uncounted { what });
    }
    let sound = ffmpeg("sine", "-t 0.2 -c:a aac");
    assert_eq!(broken(&sound), "no video stream in the MPEG-TS");
}

#[test]
fn synthetic_segments_read_as_they_were_ordered() {
    for (width, height, frames, fps, bytes) in
        [(1280, 720, 60, 30, 1_400_000), (1920, 1080, 120, 60, 300_000), (426, 240, 48, 24, 60_000), (64, 64, 1, 30, 0)]
    {
        let segment = synth_segment(width, height, frames, fps, bytes);
        let facts = counted(&segment);
        assert_eq!(size(facts), (width, height, u64::from(frames)));
        let duration = if frames > 1 { u64::from(frames) * 1000 / u64::from(fps) } else { 0 };
        assert_eq!(facts.duration_ms, duration);
        assert_eq!(segment.len(), (bytes / 188).max(frames as usize + 2) * 188);
    }
    let digest = |seed| counted(&synth_segment_seeded(64, 64, 5, 25, 9_000, seed)).digest;
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

/// ffprobe must agree, or the writer and the reader could be wrong together.
#[test]
#[ignore = "needs ffmpeg: `make test` installs it and runs this"]
fn ffprobe_reads_synthetic_segments_alike() {
    let segment = synth_segment(854, 480, 60, 30, 200_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &segment).unwrap();
    let wanted = "stream=width,height,nb_read_packets,codec_name";
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-count_packets", "-show_entries", wanted, "-of", "csv=p=0"])
        .arg(file.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().next(), Some("h264,854,480,60"));
}

#[test]
fn what_is_not_video_is_said_in_words() {
    assert_eq!(broken(b""), "it is empty");
    assert_eq!(broken(b"<!DOCTYPE html><html></html>"), "it is an HTML or XML page, not video");
    assert_eq!(broken(b"404 page not found\n"), "it is plain text, not video");
    assert_eq!(broken(&[7, 0, 255, 3]), "it is neither MPEG-TS nor MP4");
    assert_eq!(broken(&[0x47]), "it ends within its first packet");
    assert_eq!(broken(&sample(0).source[..100]), "it ends within its first packet");
    let mp4 = [b"\0\0\0\x20ftypisom".as_slice(), &[0; 500]].concat();
    assert_eq!(probe(&mp4, 3), MediaFacts::Uncounted { what: "MP4" });
    assert_eq!(probe(&mp4[..12], 3), MediaFacts::Uncounted { what: "MP4" });
}

#[test]
fn damage_is_found() {
    let whole = sample(0).renditions[1].2;
    assert_eq!(broken(&whole[..whole.len() - 1]), "it is cut short in the middle of an MPEG-TS packet");
    let shifted = [&whole[..376], &[0], &whole[376..]].concat();
    assert_eq!(broken(&shifted), "MPEG-TS sync lost at byte 376");
    assert_eq!(broken(&whole[..188]), "no program table in the MPEG-TS");
    assert_eq!(broken(&whole[..376]), "no program map in the MPEG-TS");
    assert_eq!(broken(&whole[..564]), "the video stream has no H.264 parameters");
    let cut = counted(&whole[..whole.len() / 2 / 188 * 188]);
    assert!(cut.frames < 60, "half of it has {} frames", cut.frames);
    let two = [synth_segment(640, 360, 2, 30, 5_000), synth_segment(64, 64, 9, 30, 5_000)].concat();
    assert_eq!(broken(&two), "the picture size changes after 640x360");
}

#[test]
fn one_flipped_bit_of_the_video_changes_the_digest() {
    let mut bytes = synth_segment(64, 64, 5, 25, 20_000).to_vec();
    let before = counted(&bytes);
    let last = bytes.len() - 1;
    bytes[last] ^= 2;
    let after = counted(&bytes);
    assert_eq!(size(before), size(after));
    assert_ne!(before.digest, after.digest);
}

mod fields {
    use super::super::h264::Video;

    /// Interlaced 64x64: frame numbers of 4 bits, order type 2, fields allowed.
    const SEQUENCE: &str = "01000010 00000000 00011110 1 1 011 010 0 00100 010 0 0 1 0 0 1";
    const PICTURE: &str = "1 1 0 0 1 1 1 000 1 1 1 000 1";

    fn unit(kind: u8, bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        let mut bytes = vec![0, 0, 1, kind];
        bytes.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (n, bit)| sum | bit << (7 - n))));
        bytes.push(0x80);
        bytes
    }

    fn frames(slices: &[&str]) -> u64 {
        let mut video = Video::default();
        video.feed(&unit(0x67, SEQUENCE));
        video.feed(&unit(0x68, PICTURE));
        slices.iter().for_each(|slice| video.feed(&unit(0x61, slice)));
        let picture = video.finish().unwrap();
        assert_eq!((picture.width, picture.height), (64, 64));
        picture.frames
    }

    #[test]
    fn a_pair_of_fields_is_one_picture() {
        let (top, bottom) = ("1 00110 1 0001 1 0 11", "1 00110 1 0001 1 1 11");
        let (next_top, next_bottom) = ("1 00110 1 0010 1 0 11", "1 00110 1 0010 1 1 11");
        assert_eq!(frames(&[top, bottom]), 1);
        assert_eq!(frames(&[top, bottom, next_bottom, next_top]), 2);
        assert_eq!(frames(&[top, bottom, top, bottom]), 2);
        assert_eq!(frames(&[top, next_bottom]), 2);
        assert_eq!(frames(&[top, top]), 2);
    }

    #[test]
    fn only_first_slices_count() {
        let (first, second) = ("1 00110 1 0001 0 11", "00101 00110 1 0001 0 11");
        assert_eq!(frames(&[first, second, second, first, second]), 2);
        assert_eq!(frames(&[first, "1 00110 010 0001 0 11"]), 1, "an unknown parameter set");
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_facts(mut cuts in prop::collection::vec(0usize..41_360, 0..60), step in 1usize..400) {
        let bytes = sample(1).renditions[1].2;
        let whole = MediaFacts::Counted(counted(bytes));
        prop_assert_eq!(probe(bytes, step), whole.clone());
        cuts.sort_unstable();
        let mut probe = Probe::new();
        let mut at = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            probe.feed(&bytes[at..cut]);
            at = cut;
        }
        prop_assert_eq!(probe.finish(), whole);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), flips in prop::collection::vec((0usize..20_000, any::<u8>()), 1..30)) {
        probe(&bytes, 100);
        read_sequence(&bytes);
        let mut damaged = sample(1).renditions[1].2[..20_000 / 188 * 188].to_vec();
        for (at, value) in flips {
            let at = at % damaged.len();
            damaged[at] = value;
        }
        let facts = probe(&damaged, 1000);
        prop_assert_eq!(&probe(&damaged, 37), &facts);
    }
}
