//! Media of any bytes: damage laid over a real beginning, in chunks of any size.
#![no_main]
use libfuzzer_sys::fuzz_target;
use openpool_proxy::domain::work::MediaFacts;
use openpool_proxy::sim::media::synth_segment;
use openpool_proxy::wire::media::Probe;

fn read(bytes: &[u8], step: usize) -> MediaFacts {
    let mut probe = Probe::new();
    bytes.chunks(step.max(1)).for_each(|chunk| probe.feed(chunk));
    probe.finish()
}

fuzz_target!(|input: &[u8]| {
    let Some((step, rest)) = input.split_first() else { return };
    let step = usize::from(*step);
    assert_eq!(read(rest, step), read(rest, 188 * 9));
    // Each three bytes: where, and what.
    let mut segment = synth_segment(64, 64, 4, 30, 6_000).to_vec();
    for change in rest.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % segment.len();
        segment[at] = change[2];
    }
    assert_eq!(read(&segment, step), read(&segment, 1 << 20));
    // The input as video, behind true tables: packets of 184 bytes.
    let mut segment = synth_segment(64, 64, 1, 30, 0).to_vec();
    for piece in rest.chunks_exact(184) {
        segment.extend_from_slice(&[0x47, 1, 0, 0x10]);
        segment.extend_from_slice(piece);
    }
    assert_eq!(read(&segment, step), read(&segment, 1 << 20));
});
