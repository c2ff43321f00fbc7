//! Streams of a language model: lines cut anywhere, chunks that break the rules.
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn lines(chunks: &[&[u8]]) -> Result<Vec<Line>, LineTooLong> {
    let mut reader = SseReader::new();
    let mut lines = Vec::new();
    for chunk in chunks {
        reader.feed(chunk);
        while let Some(line) = reader.next()? {
            lines.push(line);
        }
    }
    lines.extend(reader.finish()?);
    Ok(lines)
}

fn data(text: &'static str) -> Line {
    Line::Data(Bytes::from_static(text.as_bytes()))
}

fn skipped(text: &'static str) -> Line {
    Line::Skipped(Bytes::from_static(text.as_bytes()))
}

#[test]
fn lines_are_sorted() {
    let body = b"data: {\"a\":1}\r\n\r\n: ping\nevent: x\ndata:\ndata:{\"b\":2}\n{\"c\":3}\n\ndata: [DONE]\n[DONE]\nretry: 1\ndata: end";
    let expected = [
        data("{\"a\":1}"),
        skipped(": ping"),
        skipped("event: x"),
        data("{\"b\":2}"),
        data("{\"c\":3}"),
        Line::Done,
        Line::Done,
        skipped("retry: 1"),
        data("end"),
    ];
    assert_eq!(lines(&[body]).unwrap(), expected);
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(lines(&bytes).unwrap(), expected);
    assert_eq!(lines(&[]), Ok(vec![]));
    assert_eq!(lines(&[b"\n\r\n"]), Ok(vec![]));
}

#[test]
fn lines_have_a_limit() {
    let line = |length: usize| [b"x".repeat(length), b"\n".to_vec()].concat();
    assert_eq!(lines(&[&line(MOST_LINE)]).unwrap().len(), 1);
    assert_eq!(lines(&[&line(MOST_LINE + 1)]), Err(LineTooLong));
    assert_eq!(lines(&[&b"x".repeat(MOST_LINE + 1)]), Err(LineTooLong));
    assert_eq!(lines(&[&line(10), &line(100_000), &line(1)]), Err(LineTooLong));
    let mut reader = SseReader::new();
    reader.feed(&line(MOST_LINE + 2));
    assert_eq!(reader.next(), Err(LineTooLong));
    reader.feed(b"ok\n");
    assert_eq!(reader.next(), Err(LineTooLong), "an error stays");
    assert_eq!(reader.finish(), Err(LineTooLong));
    assert_eq!(sse_event(b"{}"), "data: {}\n\n");
}

fn chunk(content: &str, finish: Option<&str>) -> Value {
    let mut chunk = json!({"id": "c1", "model": "m", "created": 1735689600, "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": content}}]});
    if let Some(reason) = finish {
        chunk["choices"][0]["finish_reason"] = json!(reason);
    }
    chunk
}

fn count() -> Value {
    json!({"id": "c1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
}

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

/// What comes out of each push, and of the end.
fn fix(chunks: &[Value]) -> (Vec<Fixed>, Option<Value>) {
    let mut fixer = ChunkFixer::new();
    let pushed = chunks.iter().map(|chunk| fixer.push(bytes(chunk))).collect();
    let end = fixer.finish().map(|chunk| serde_json::from_slice(&chunk).unwrap());
    assert_eq!(fixer.finish(), None);
    (pushed, end)
}

fn send(value: &Value) -> Fixed {
    Fixed::Send(bytes(value))
}

fn read(fixed: &Fixed) -> Value {
    match fixed {
        Fixed::Last(chunk) => serde_json::from_slice(chunk).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_count_behind_the_end_goes_into_the_end() {
    let (first, last) = (chunk("a", None), chunk("", Some("stop")));
    let (pushed, end) = fix(&[first.clone(), last.clone(), count(), chunk("never", None)]);
    assert_eq!(pushed[..2], [send(&first), Fixed::Nothing]);
    let mut expected = last.clone();
    expected["usage"] = count()["usage"].clone();
    assert_eq!(read(&pushed[2]), expected);
    assert_eq!((pushed[3].clone(), end), (Fixed::Nothing, None));
    // The count may come before the end, in it, or not at all.
    let (pushed, end) = fix(&[first.clone(), count(), last.clone()]);
    assert_eq!((pushed, end), (vec![send(&first), Fixed::Nothing, Fixed::Nothing], Some(expected.clone())));
    let (pushed, _) = fix(&[expected.clone()]);
    assert_eq!(pushed, [Fixed::Last(bytes(&expected))], "no waiting");
    let mut zero = last.clone();
    zero["usage"] = json!({"total_tokens": 0});
    let (pushed, _) = fix(&[zero, count()]);
    assert_eq!(read(&pushed[1])["usage"], count()["usage"]);
    assert_eq!(fix(&[first, last.clone()]).1, Some(last));
}

#[test]
fn what_follows_the_end_is_not_delivered() {
    let last = chunk("", Some("length"));
    let (pushed, end) = fix(&[last.clone(), chunk("more", None)]);
    assert_eq!((pushed, end), (vec![Fixed::Nothing, Fixed::Last(bytes(&last))], None));
    let (pushed, end) = fix(&[last.clone(), json!({"choices": []})]);
    assert!(matches!(pushed[1], Fixed::Bad(_) | Fixed::Nothing));
    assert_eq!(end, Some(last));
}

#[test]
fn a_stream_without_an_end_gets_one() {
    let (pushed, end) = fix(&[chunk("a \"b\"", None), count()]);
    assert_eq!(pushed[1], Fixed::Nothing);
    let end = end.unwrap();
    assert_eq!(
        end["choices"],
        json!([{"index": 0, "finish_reason": "stop", "delta": {"role": "assistant", "content": ""}}])
    );
    assert_eq!((&end["id"], &end["model"], &end["created"]), (&json!("c1"), &json!("m"), &json!(1735689600)));
    assert_eq!(end["usage"], count()["usage"]);
    assert_eq!(fix(&[]).1, None);
    assert_eq!(fix(&[count(), json!({"choices": []})]).1, None, "an answer that never began");
    // An empty reason is none.
    assert_eq!(fix(&[chunk("a", Some(""))]).0, [send(&chunk("a", Some("")))]);
}

#[test]
fn what_is_no_chunk_is_told() {
    for (key, value) in [
        ("created", json!(1.5)),
        ("id", json!(1)),
        ("choices", json!({})),
        ("usage", json!(7)),
        ("choices", json!(null)),
    ] {
        let mut broken = chunk("a", None);
        broken[key] = value;
        assert!(matches!(&fix(&[broken.clone()]).0[..], [Fixed::Bad(_)]), "{broken}");
    }
    for broken in [json!({"error": {"message": "out of memory"}}), json!([]), json!("x"), json!({})] {
        assert!(matches!(&fix(&[broken]).0[..], [Fixed::Bad(_)]));
    }
    let mut fixer = ChunkFixer::new();
    let pretty = Bytes::from(serde_json::to_string_pretty(&chunk("a", None)).unwrap());
    assert!(matches!(fixer.push(pretty), Fixed::Bad(_)));
    let long = bytes(&chunk(&"x".repeat(MOST_LINE), None));
    assert!(matches!(fixer.push(long), Fixed::Bad(_)));
    assert!(!fixer.has_begun());
}

proptest! {
    #[test]
    fn a_split_never_changes_the_lines(
        pieces in prop::collection::vec(prop_oneof![
            Just("data: "), Just("data:"), Just("{\"a\":1}"), Just("\n"), Just("\r\n"), Just("\r"), Just("[DONE]"), Just(": x"),
        ], 0..30),
        step in 1usize..9,
    ) {
        let body = pieces.concat();
        let chunks: Vec<&[u8]> = body.as_bytes().chunks(step).collect();
        prop_assert_eq!(lines(&chunks), lines(&[body.as_bytes()]));
    }

    #[test]
    fn whatever_comes_the_rules_are_kept(kinds in prop::collection::vec(0..7u8, 0..12)) {
        let chunks: Vec<Value> = kinds.iter().map(|kind| match kind {
            0 | 1 => chunk("a", None),
            2 => chunk("", Some("stop")),
            3 => count(),
            4 => json!({"choices": []}),
            5 => json!({"error": "x"}),
            _ => { let mut last = chunk("", Some("stop")); last["usage"] = count()["usage"].clone(); last }
        }).collect();
        let mut fixer = ChunkFixer::new();
        let mut out = Vec::new();
        for (n, chunk) in chunks.iter().enumerate() {
            let over = fixer.is_over();
            match fixer.push(bytes(chunk)) {
                Fixed::Send(sent) => { prop_assert!(!over && sent == bytes(chunk)); out.push(sent); }
                Fixed::Last(sent) => { prop_assert!(!over && fixer.is_over()); out.push(sent); }
                Fixed::Nothing => prop_assert!(over || fixer.is_holding() || ![0, 1].contains(&kinds[n])),
                Fixed::Bad(_) => {}
            }
        }
        out.extend(fixer.finish());
        let begun = kinds.iter().any(|kind| [0, 1, 2, 6].contains(kind));
        prop_assert_eq!(begun, !out.is_empty());
        for (n, chunk) in out.iter().enumerate() {
            let chunk: Value = serde_json::from_slice(chunk).unwrap();
            let last = chunk["choices"][0]["finish_reason"].as_str().is_some_and(|reason| !reason.is_empty());
            prop_assert_eq!(last, n + 1 == out.len());
            prop_assert!(chunk["choices"][0]["delta"].is_object());
        }
        prop_assert!(begun == fixer.is_over());
    }

    #[test]
    fn garbage_never_panics(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = lines(&[&raw]);
        let mut fixer = ChunkFixer::new();
        let _ = (fixer.push(raw.into()), fixer.finish());
    }
}
