//! A result of 1.4 MB in four parts, read and counted in chunks of 16 KiB and written back,
//! beside a plain copy of the same bytes.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openpool_proxy::domain::work::MediaFacts;
use openpool_proxy::sim::media::synth_segment;
use openpool_proxy::wire::headers::MPEGTS_TYPE;
use openpool_proxy::wire::media::Probe;
use openpool_proxy::wire::multipart::{Event, PartOut, Reader, Writer, boundary_from_content_type};

const CHUNK: usize = 16 << 10;
const RENDITIONS: [(u32, u32, usize); 4] =
    [(1280, 720, 750_000), (854, 480, 350_000), (640, 360, 200_000), (426, 240, 100_000)];

/// A result as a transcoder sends it.
fn result() -> (String, Bytes, u64) {
    let videos: Vec<Bytes> = RENDITIONS.iter().map(|(w, h, bytes)| synth_segment(*w, *h, 60, 30, *bytes)).collect();
    let outs: Vec<PartOut<'_>> = videos
        .iter()
        .zip(RENDITIONS)
        .map(|(video, (w, h, _))| PartOut {
            content_type: MPEGTS_TYPE,
            length: video.len() as u64,
            pixels: Some(u64::from(w * h) * 60),
        })
        .collect();
    let writer = Writer::new(7, &outs);
    let mut body = BytesMut::new();
    for (n, video) in videos.iter().enumerate() {
        body.extend_from_slice(&writer.head(n));
        body.extend_from_slice(video);
    }
    body.extend_from_slice(&writer.tail());
    assert_eq!(body.len() as u64, writer.content_length());
    let pixels = outs.iter().filter_map(|part| part.pixels).sum();
    (writer.content_type(), body.freeze(), pixels)
}

fn chunks(body: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    (0..body.len()).step_by(CHUNK).map(|at| body.slice(at..body.len().min(at + CHUNK)))
}

/// Reads the body; the pixels that were counted when `count`, else those that were claimed.
fn read(content_type: &str, body: &Bytes, count: bool, parts: &mut Vec<(u64, u64, Vec<Bytes>)>) -> u64 {
    let boundary = boundary_from_content_type(content_type).unwrap();
    let mut reader = Reader::new(&boundary, 64 << 20);
    let mut probe = Probe::new();
    let mut pixels = 0;
    for chunk in chunks(body) {
        reader.feed(chunk);
        while let Some(event) = reader.next().unwrap() {
            match event {
                Event::Part(head) => {
                    parts.push((head.content_length.unwrap(), head.pixels.unwrap(), Vec::new()));
                    probe = Probe::new();
                }
                Event::Data(data) => {
                    if count {
                        probe.feed(&data);
                    }
                    parts.last_mut().unwrap().2.push(data);
                }
                Event::PartEnd if count => match std::mem::take(&mut probe).finish() {
                    MediaFacts::Counted(counted) => pixels += counted.pixels(),
                    other => panic!("{other:?}"),
                },
                Event::PartEnd => pixels += parts.last().unwrap().1,
                Event::End => {}
            }
        }
    }
    reader.finish().unwrap();
    pixels
}

/// Writes the result anew: the slices as they came, between new heads.
fn write(parts: &[(u64, u64, Vec<Bytes>)]) -> Vec<Bytes> {
    let out = |(length, pixels, _): &(u64, u64, Vec<Bytes>)| PartOut {
        content_type: MPEGTS_TYPE,
        length: *length,
        pixels: Some(*pixels),
    };
    let outs: Vec<PartOut<'_>> = parts.iter().map(out).collect();
    let writer = Writer::new(8, &outs);
    let mut frames = Vec::new();
    for (n, (_, _, data)) in parts.iter().enumerate() {
        frames.push(writer.head(n));
        frames.extend(data.iter().cloned());
    }
    frames.push(writer.tail());
    frames
}

fn relay(c: &mut Criterion) {
    let (content_type, body, pixels) = result();
    let mut group = c.benchmark_group("result of 1.4 MB");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for (name, count) in [("read and write", false), ("read, count and write", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut parts = Vec::with_capacity(4);
                assert_eq!(read(&content_type, black_box(&body), count, &mut parts), pixels);
                black_box(write(&parts))
            });
        });
    }
    group.bench_function("copy (baseline)", |b| {
        let mut copy = vec![0u8; body.len()];
        b.iter(|| {
            let mut at = 0;
            for chunk in chunks(black_box(&body)) {
                copy[at..at + chunk.len()].copy_from_slice(&chunk);
                at += chunk.len();
            }
            black_box(copy.last().copied())
        });
    });
    group.finish();
}

criterion_group!(benches, relay);
criterion_main!(benches);
