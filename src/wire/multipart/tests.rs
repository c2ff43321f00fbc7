//! Multipart: whole, cut, lying, and in any chunks.
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::headers::{HASH_TYPE, MPEGTS_TYPE};

const BOUNDARY: &str = "0123456789abcdef0123";
const ROOM: u64 = 1 << 20;

/// A body taken apart: heads and bytes of its parts.
type Parts = Vec<(PartHead, Vec<u8>)>;

fn take_apart(body: &[u8], boundary: &str, cuts: &[usize]) -> Result<Parts, BadMultipart> {
    let mut reader = Reader::new(boundary, ROOM);
    let (mut parts, mut open, mut ended, mut at) = (Parts::new(), false, false, 0);
    for cut in cuts.iter().copied().chain([body.len()]) {
        reader.feed(Bytes::copy_from_slice(&body[at..cut]));
        at = cut;
        while let Some(event) = reader.next()? {
            assert!(!ended);
            match event {
                Event::Part(head) => {
                    assert!(!std::mem::replace(&mut open, true));
                    parts.push((head, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::PartEnd => assert!(std::mem::replace(&mut open, false)),
                Event::End => ended = true,
            }
        }
    }
    reader.finish()?;
    assert!(ended && !open);
    Ok(parts)
}

fn apart(body: &str) -> Result<Parts, BadMultipart> {
    let body = body.replace('\n', "\r\n");
    let whole = take_apart(body.as_bytes(), "b", &[]);
    let every: Vec<usize> = (1..body.len()).collect();
    assert_eq!(take_apart(body.as_bytes(), "b", &every), whole, "split at every byte");
    whole
}

fn fault(body: &str) -> (u32, PartFault) {
    match apart(body) {
        Err(BadMultipart::Part { part, fault }) => (part, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn boundaries_are_read_from_the_content_type() {
    for (value, boundary) in [
        ("multipart/mixed; boundary=0123456789abcdef0123", "0123456789abcdef0123"),
        ("Multipart/Mixed;BOUNDARY=\"a b:c\"; charset=x", "a b:c"),
        ("multipart/mixed; charset=\"a;b\"; boundary=x;", "x"),
    ] {
        assert_eq!(boundary_from_content_type(value).as_deref(), Ok(boundary), "{value}");
    }
    for value in [
        "",
        "multipart/mixed",
        "multipart/mixed; boundary",
        "multipart/form-data; boundary=x",
        "text/html; boundary=x",
        "multipart/mixed; charset=x",
        "multipart/mixed; boundary=\"x",
        "multipart/mixed; boundary=\"x\"y",
    ] {
        assert_eq!(boundary_from_content_type(value), Err(BadMultipart::ContentType), "{value}");
    }
    let long = format!("multipart/mixed; boundary={}", "x".repeat(71));
    for value in
        ["multipart/mixed; boundary=", "multipart/mixed; boundary=\"x \"", "multipart/mixed; boundary=a@b", &long]
    {
        assert_eq!(boundary_from_content_type(value), Err(BadMultipart::Boundary), "{value}");
    }
    assert!(boundary_from_content_type("multipart/mixed; boundary=a; boundary=b").unwrap_err().is_type());
}

#[test]
fn writes_what_a_stock_transcoder_writes() {
    let rendition = PartOut { content_type: MPEGTS_TYPE, length: 5, pixels: Some(12_800) };
    let hash = PartOut { content_type: HASH_TYPE, length: 2, pixels: None };
    let writer = Writer::new(0xffff_0123_4567_89ab_cdef_0123, &[rendition, hash]);
    assert_eq!(writer.content_type(), "multipart/mixed; boundary=0123456789abcdef0123");
    let body = [&writer.head(0)[..], b"hello", &writer.head(1), b"hi", &writer.tail()].concat();
    let expected = "--0123456789abcdef0123\nContent-Length: 5\nContent-Type: video/mp2t\nPixels: 12800\n\nhello\n\
         --0123456789abcdef0123\nContent-Length: 2\nContent-Type: application/octet-stream\n\nhi\n\
         --0123456789abcdef0123--\n";
    assert_eq!(String::from_utf8(body).unwrap(), expected.replace('\n', "\r\n"));
    assert_eq!(writer.content_length(), expected.replace('\n', "\r\n").len() as u64);
    assert_eq!(Writer::new(1, &[]).content_type().len(), "multipart/mixed; boundary=".len() + 20);
    assert_eq!(writer.head(2), Bytes::new());
}

#[test]
fn reads_parts_with_and_without_lengths() {
    let body = "--b\nContent-Type: video/mp2t\npixels:  42 \nContent-Length: 5\n\nhello\n--b  \n\nworld--b\n\n--b\nX: y\n\n\n--b--\n\n";
    let parts = apart(body).unwrap();
    let head =
        PartHead { content_type: MPEGTS_TYPE.into(), content_length: Some(5), pixels: Some(42), ..Default::default() };
    assert_eq!(parts[0], (head, b"hello".to_vec()));
    assert_eq!(parts[1], (PartHead::default(), b"world--b\r\n".to_vec()));
    assert_eq!(parts[2], (PartHead::default(), Vec::new()));
}

#[test]
fn a_body_without_parts_is_a_closing_boundary() {
    assert_eq!(apart("--b--"), Ok(vec![]));
    assert_eq!(apart("\n--b--\n"), Ok(vec![]));
    assert_eq!(apart("\n--other--\n"), Err(BadMultipart::NoStart));
}

#[test]
fn a_length_is_believed_until_it_lies() {
    let hidden = "--b\nContent-Length: 7\n\nab\n--b\n--b--\n";
    assert_eq!(apart(hidden).unwrap()[0].1, b"ab\r\n--b");
    assert_eq!(fault("--b\nContent-Length: 3\n\nhello\n--b--\n"), (1, PartFault::LyingLength(3)));
    assert_eq!(fault("--b\n\nx\n--b\nContent-Length: 6\n\nhello\n--b--\n"), (2, PartFault::LyingLength(6)));
    assert_eq!(fault("--b\nContent-Length: 600\n\nhello\n--b--\n"), (1, PartFault::CutShort));
    assert_eq!(fault("--b\nContent-Length: 1048577\n\n"), (1, PartFault::TooLong(ROOM)));
    assert_eq!(fault("--b\nContent-Length: 99999999999999999999\n\n"), (1, PartFault::Malformed("Content-Length")));
}

#[test]
fn broken_bodies_name_the_part() {
    assert_eq!(apart(""), Err(BadMultipart::NoStart));
    assert_eq!(apart("<html>"), Err(BadMultipart::NoStart));
    assert_eq!(apart("--"), Err(BadMultipart::NoStart));
    assert_eq!(apart("--b--\nmore"), Err(BadMultipart::Trailing));
    assert_eq!(apart("--b"), Err(BadMultipart::Truncated { parts: 0 }));
    assert_eq!(apart("--b\n\nx\n--b"), Err(BadMultipart::Truncated { parts: 1 }));
    assert_eq!(fault("--bX\n\nx\n--b--"), (1, PartFault::Delimiter));
    assert_eq!(fault("--b\n\nx\n--bc\n\ny\n--b--"), (2, PartFault::Delimiter));
    assert_eq!(fault("--b\nContent-Type: video"), (1, PartFault::CutShort));
    assert_eq!(fault("--b\n\nx\n--b\n\ny"), (2, PartFault::CutShort));
    assert_eq!(fault("--b\nno colon\n\n\n--b--"), (1, PartFault::Head));
    assert_eq!(fault("--b\nPixels: 1\n folded: x\n\n\n--b--"), (1, PartFault::Head));
    assert_eq!(fault("--b\nPixels: 1\nPixels: 1\n\n\n--b--"), (1, PartFault::Repeated("Pixels")));
    assert_eq!(fault("--b\nPixels: -1\n\n\n--b--"), (1, PartFault::Malformed("Pixels")));
    assert_eq!(fault("--b\nContent-Type: multipart/mixed; boundary=c\n\n\n--b--"), (1, PartFault::Nested));
    let error = apart("--b\n\nx\n--b\nPixels: many\n\n").unwrap_err();
    assert_eq!(error.to_string(), "part 2: its Pixels is malformed");
}

#[test]
fn limits() {
    assert_eq!(apart(&format!("{}--b--", "--b\n\nx\n".repeat(64))).unwrap().len(), 64);
    assert_eq!(apart(&format!("{}--b--", "--b\n\nx\n".repeat(65))), Err(BadMultipart::TooManyParts));
    assert_eq!(fault(&format!("--b\nX: {}\n\n", "y".repeat(5_000))), (1, PartFault::HeadTooLong));
    let mut reader = Reader::new("b", 10);
    reader.feed(Bytes::from_static(b"--b\r\n\r\n0123456789ab"));
    assert!(matches!(reader.next(), Ok(Some(Event::Part(_)))));
    let error = reader.next().unwrap_err();
    assert!(error.is_limit());
    assert_eq!(reader.next(), Err(error.clone()), "an error stays");
    assert_eq!(reader.finish(), Err(error));
}

#[test]
fn data_are_slices_of_the_chunks() {
    let chunk = Bytes::from(format!("--b\r\nContent-Length: 9000\r\n\r\n{}", "x".repeat(5_000)));
    let range = chunk.as_ptr_range();
    let mut reader = Reader::new("b", ROOM);
    reader.feed(chunk);
    reader.next().unwrap();
    let Ok(Some(Event::Data(data))) = reader.next() else { panic!("no data") };
    assert!(range.contains(&data.as_ptr()));
}

/// Bytes in which pieces of the delimiter are common.
fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r\n--".to_vec()),
        Just(b"\r\n--0123456789abcdef012".to_vec()),
        Just(b"--".to_vec()),
        prop::collection::vec(any::<u8>(), 0..30),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_is_read_at_any_split(
        parts in prop::collection::vec((tricky(), prop::option::of(0..i64::MAX as u64)), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        counted in any::<bool>(),
    ) {
        // Without lengths a part cannot hold the delimiter; chance makes one now and then.
        let delimiter = format!("\r\n--{BOUNDARY}");
        prop_assume!(counted || parts.iter().all(|(data, _)| memchr::memmem::find(data, delimiter.as_bytes()).is_none()));
        let outs: Vec<_> = parts.iter()
            .map(|(data, pixels)| PartOut { content_type: MPEGTS_TYPE, length: data.len() as u64, pixels: *pixels })
            .collect();
        let writer = Writer::new(0x0123_4567_89ab_cdef_0123, &outs);
        let mut body = Vec::new();
        for (n, (data, _)) in parts.iter().enumerate() {
            body.extend_from_slice(&writer.head(n));
            body.extend_from_slice(data);
        }
        body.extend_from_slice(&writer.tail());
        prop_assert_eq!(body.len() as u64, writer.content_length());
        if !counted {
            // Another header of the same length: now the delimiter must be searched.
            for at in memchr::memmem::find_iter(&body.clone(), b"Content-Length") {
                body[at..at + 14].copy_from_slice(b"Content-Lengtx");
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.sort_unstable();
        let boundary = boundary_from_content_type(&writer.content_type()).unwrap();
        let read = take_apart(&body, &boundary, &cuts).unwrap();
        prop_assert_eq!(read.len(), parts.len());
        for ((head, data), (sent, pixels)) in read.iter().zip(&parts) {
            prop_assert_eq!(data, sent);
            prop_assert_eq!(head.pixels, *pixels);
            prop_assert_eq!(head.content_length, counted.then_some(sent.len() as u64));
        }
    }

    #[test]
    fn a_split_never_changes_the_verdict(
        pieces in prop::collection::vec(prop_oneof![
            Just("--0123456789abcdef0123"), Just("\r\n"), Just("--"), Just("\r"), Just("Content-Length: 3"),
            Just("Pixels: 7"), Just("abc"), Just(" "), Just("\r\n--0123456789abcdef0123"),
        ], 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let body = format!("--{BOUNDARY}\r\n{}", pieces.concat());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.sort_unstable();
        let whole = take_apart(body.as_bytes(), BOUNDARY, &[]);
        prop_assert_eq!(take_apart(body.as_bytes(), BOUNDARY, &cuts), whole);
    }
}
