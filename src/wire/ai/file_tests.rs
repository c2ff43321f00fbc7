//! Files: forms that carry them, pictures' sizes, recordings' lengths, the parts of an answer.
use std::process::{Command, Stdio};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::multipart::{FileOut, Reader, Writer, boundary_from_content_type};

type Read = (Vec<(String, String)>, Vec<(String, String, Vec<u8>)>);

fn read_form(content_type: &str, body: &[u8], step: usize, most: u64) -> Result<Read, BadForm> {
    let mut reader = FormReader::new(content_type, most)?;
    let (mut fields, mut files, mut open, mut ended) = (vec![], Vec::<(String, String, Vec<u8>)>::new(), false, false);
    for chunk in body.chunks(step.max(1)) {
        reader.feed(Bytes::copy_from_slice(chunk));
        while let Some(event) = reader.next()? {
            assert!(!ended);
            match event {
                FormEvent::Field { name, value } => fields.push((name, value)),
                FormEvent::FileStart { name, file_name, .. } => {
                    assert!(!std::mem::replace(&mut open, true));
                    files.push((name, file_name, vec![]));
                }
                FormEvent::FileData(data) => files.last_mut().unwrap().2.extend_from_slice(&data),
                FormEvent::FileEnd => assert!(std::mem::replace(&mut open, false)),
                FormEvent::End => ended = true,
            }
        }
    }
    reader.finish()?;
    assert!(ended && !open);
    Ok((fields, files))
}

#[test]
fn forms_are_read_as_clients_write_them() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a \\\"b\\\".png\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n\x01\r\n--x\r\n--b\r\ncontent-disposition: form-data; name=prompt\r\n\r\n\
        h\u{e9}\r\n--b\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--b\r\n\
        Content-Disposition: form-data; filename*=UTF-8''x; name=\"audio\"\r\n\r\ny\r\n--b--\r\n";
    let expected: Read = (
        vec![("prompt".into(), "h\u{e9}".into()), ("empty".into(), String::new())],
        vec![
            ("image".into(), "a \"b\".png".into(), b"\x01\r\n--x".to_vec()),
            ("audio".into(), "UTF-8''x".into(), b"y".to_vec()),
        ],
    );
    for step in [1, 2, 7, 4096] {
        assert_eq!(read_form("multipart/form-data; boundary=b", body.as_bytes(), step, 100), Ok(expected.clone()));
    }
}

#[test]
fn broken_forms_are_refused() {
    let read = |body: &[u8]| read_form("multipart/form-data; boundary=b", body, 4096, 10).unwrap_err();
    assert!(matches!(read_form("multipart/mixed; boundary=b", b"", 1, 1), Err(BadForm::Multipart(_))));
    assert_eq!(read(b"--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--"), BadForm::NoName(1));
    assert_eq!(read(b"--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nx\r\n--b--"), BadForm::NoName(1));
    let part = |head: &str, body: &[u8]| {
        [format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), body, b"\r\n--b--"].concat()
    };
    assert_eq!(read(&part("name=x", b"\xff")), BadForm::NotUtf8("x".into()));
    assert_eq!(read(&part("name=x; filename=y", b"0123456789a")), BadForm::FileTooLong(10));
    assert!(read(&part("name=x", &vec![b'x'; MOST_REQUEST + 1])).is_limit());
    assert!(!read(b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\nx").is_limit());
    assert!(read_form("multipart/form-data; boundary=b", &part("name=x; filename=y", b"0123456789"), 1, 10).is_ok());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        fields in prop::collection::vec(("[a-z_]{1,9}", any::<String>()), 0..5),
        file in prop::option::of((any::<String>(), prop::collection::vec(any::<u8>(), 0..99))), step in 1usize..50,
    ) {
        let named: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let out = file.as_ref().map(|(name, data)| FormFile { name: "image", file_name: name, length: data.len() as u64 });
        let writer = FormWriter::new(0xabcd, out, &named);
        let data = file.as_ref().map_or(&[][..], |(_, data)| data);
        let body = [&writer.head()[..], data, &writer.tail()].concat();
        prop_assert_eq!(body.len() as u64, writer.content_length());
        let read = read_form(&writer.content_type(), &body, step, 1000).unwrap();
        prop_assert_eq!(read.0, fields);
        let plain = |name: &str| name.chars().filter(|c| !c.is_control()).collect::<String>();
        let expected: Vec<_> = file.iter().map(|(name, data)| ("image".to_owned(), plain(name), data.clone())).collect();
        prop_assert_eq!(read.1, expected);
    }
}

proptest! {
    // Each case opens a dozen recordings.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn garbage_never_panics(raw in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..9) {
        let _ = read_form("multipart/form-data; boundary=b", &[b"--b\r\nContent-Disposition: ", &raw[..]].concat(), step, 9);
        let _ = image_size(&raw);
        let _ = audio_ms(raw.clone().into());
        for magic in [&b"\xff\xd8\xff"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8", b"RIFF\xff\0\0\0WAVEfmt ",
            b"ID3\x04\0\0", b"fLaC", b"OggS\0", b"\0\0\0\x18ftypM4A ", b"\xff\xfb\x90\0", b"\xff\xf1\x50\x80", b"\x1a\x45\xdf\xa3"] {
            let raw = [magic, &raw].concat();
            let _ = (image_size(&raw), audio_ms(raw.into()));
        }
    }
}

#[test]
fn an_answer_is_written_as_a_stock_worker_writes_it() {
    let file = FileOut { name: "0a1b2c3d.png", content_type: "image/png", length: 3 };
    let writer = Writer::for_answer(0x0123_4567_89ab_cdef_0123, &[file], 2);
    let body = [&writer.head(0)[..], b"png", &writer.head(1), b"{}", &writer.tail()].concat();
    let expected = "--0123456789abcdef0123\r\nContent-Disposition: attachment; filename=0a1b2c3d.png\r\nContent-Length: 3\r\n\
        Content-Type: image/png\r\n\r\npng\r\n--0123456789abcdef0123\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n\
        {}\r\n--0123456789abcdef0123--\r\n";
    assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
    assert_eq!(writer.content_length(), expected.len() as u64);
    let mut reader = Reader::new(&boundary_from_content_type(&writer.content_type()).unwrap(), 100);
    reader.feed(body.into());
    let Ok(Some(crate::wire::multipart::Event::Part(head))) = reader.next() else { panic!("no part") };
    assert_eq!((head.parameter("FileName"), head.parameter("name")), (Some("0a1b2c3d.png".into()), None));
}

fn ffmpeg(input: &str, arguments: &str) -> Bytes {
    let directory = tempfile::tempdir().unwrap();
    let (options, kind) = arguments.rsplit_once(' ').unwrap_or(("", arguments));
    // A file rather than a pipe: then headers hold the length.
    let path = directory.path().join(format!("out.{kind}"));
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", input])
        .args(options.split_whitespace())
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(path).unwrap().into()
}

#[test]
#[ignore = "needs ffmpeg: `make test` installs it and runs this"]
fn recordings_that_ffmpeg_makes_have_their_length() {
    for arguments in [
        "wav",
        "mp3",
        "flac",
        "aac",
        "m4a",
        "ogg",
        "-c:a libopus opus",
        "-c:a libopus webm",
        "-q:a 9 mp3",
        "-write_xing 0 mp3",
        "-movflags +faststart mp4",
        "mkv",
    ] {
        let bytes = ffmpeg("sine=frequency=300:duration=3.4", arguments);
        let ms = audio_ms(bytes.clone()).unwrap_or_else(|bad| panic!("{arguments}: {bad}"));
        assert!((3_350..3_500).contains(&ms), "{arguments}: {ms}");
        let half = audio_ms(bytes.slice(..bytes.len() / 2));
        assert!(half.as_ref().is_err() || half.as_ref().is_ok_and(|ms| *ms < 3_000), "{arguments}: {half:?}");
    }
}

#[test]
#[ignore = "needs ffmpeg: `make test` installs it and runs this"]
fn pictures_that_ffmpeg_makes_have_their_size() {
    for kind in ["png", "jpg", "gif", "-c:v libwebp webp", "-c:v libwebp -lossless 1 webp"] {
        let bytes = ffmpeg("testsrc2=size=322x246:rate=1", &format!("-frames:v 1 {kind}"));
        assert_eq!(image_size(&bytes), ImageSize::Size(322, 246), "{kind}");
        let mut seen = false;
        for end in 0..bytes.len() {
            match image_size(&bytes[..end]) {
                ImageSize::More => assert!(!seen, "{kind} at {end}"),
                size => {
                    seen = true;
                    assert_eq!(size, ImageSize::Size(322, 246), "{kind} at {end}");
                }
            }
        }
    }
}

/// So many frames of silence, of 1,152 samples each.
fn mp3(frames: usize) -> Bytes {
    let mut frame = vec![0xff, 0xfb, 0x90, 0xc4];
    frame.resize(417, 0);
    frame.repeat(frames).into()
}

fn wav(samples: u32, claimed: u32) -> Bytes {
    let head = |size: u32| {
        let fmt = [
            &16u32.to_le_bytes()[..],
            &1u16.to_le_bytes(),
            &1u16.to_le_bytes(),
            &8000u32.to_le_bytes(),
            &16000u32.to_le_bytes(),
            &2u16.to_le_bytes(),
            &16u16.to_le_bytes(),
        ]
        .concat();
        [b"RIFF", &(size.saturating_add(36)).to_le_bytes()[..], b"WAVEfmt ", &fmt, b"data", &size.to_le_bytes()]
            .concat()
    };
    [head(claimed), vec![0; samples as usize * 2]].concat().into()
}

#[test]
fn recordings_are_as_long_as_their_sound() {
    assert_eq!(audio_ms(wav(8_000, 16_000)), Ok(1_000));
    // The last block may be counted whole. A header that claims an hour, or that was written before the length was known.
    for claimed in [57_600_000, u32::MAX, u32::MAX - 36] {
        let ms = audio_ms(wav(12_000, claimed)).unwrap();
        assert!((1_400..1_600).contains(&ms), "{ms}");
    }
    let ms = audio_ms(mp3(100)).unwrap();
    assert!((2_500..=2_613).contains(&ms), "{ms}");
    for nothing in [&b""[..], b"RIFF", b"<html>nothing to hear</html>", &[0; 5000]] {
        assert!(audio_ms(Bytes::copy_from_slice(nothing)).is_err());
    }
    assert!(audio_ms(wav(0, 0)).is_err());
}

#[test]
fn sizes_of_pictures() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0";
    assert_eq!(image_size(png), ImageSize::Size(640, 480));
    for end in 0..png.len() {
        assert_eq!(image_size(&png[..end]), ImageSize::More);
    }
    assert_eq!(image_size(b"GIF87a\x02\0\x03\0\0\0\0\0\0\0"), ImageSize::Size(2, 3));
    let jpeg = [b"\xff\xd8\xff\xe0\xff\xff".to_vec(), vec![0; 0xfffd], b"\xff\xc0\0\x11\x08\x01\xe0\x02\x80".to_vec()]
        .concat();
    assert_eq!(image_size(&jpeg), ImageSize::Size(640, 480));
    assert_eq!(image_size(&jpeg[..60_000]), ImageSize::More);
    assert_eq!(image_size(b"%PDF-1.7 and so on"), ImageSize::NotAnImage);
    assert_eq!(image_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0"), ImageSize::NotAnImage);
    assert_eq!(image_size(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\0\0\0\x01"), ImageSize::NotAnImage);
    let endless = [&b"\xff\xd8\xff\xe0"[..], &[0xff; 2 << 20]].concat();
    assert_eq!(image_size(&endless), ImageSize::NotAnImage);
}
