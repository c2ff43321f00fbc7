use super::Probe;
use crate::domain::work::{Counted, MediaFacts};
use crate::sim::media::sample;

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

#[test]
fn reads_the_samples_as_ffprobe_does() {
    for n in 0..3 {
        let sample = sample(n);
        let source = counted(sample.source);
        assert_eq!((source.width, source.height, source.frames, source.duration_ms), (640, 360, 60, 2000));
        for (width, height, bytes) in sample.renditions {
            let facts = counted(bytes);
            assert_eq!((facts.width, facts.height, facts.frames, facts.duration_ms), (width, height, 60, 2000));
            assert_ne!(facts.digest, source.digest);
        }
    }
}

#[test]
fn any_split_gives_the_same_facts() {
    let bytes = sample(0).renditions[1].2;
    let whole = counted(bytes);
    for step in [1, 2, 3, 7, 187, 188, 189, 1000] {
        assert_eq!(probe(bytes, step), MediaFacts::Counted(whole), "chunks of {step}");
    }
}
