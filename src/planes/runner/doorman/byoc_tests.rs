//! Streams of events end for an orchestrator, however they were cut into pieces.
use super::*;

fn passed(pieces: &[&str]) -> String {
    let mut events = Events::default();
    let mut out = String::new();
    for (n, piece) in pieces.iter().enumerate() {
        let mut chunk = Some(Bytes::from((*piece).to_owned()));
        events.pass(&mut chunk, n + 1 == pieces.len());
        out.push_str(std::str::from_utf8(&chunk.unwrap_or_default()).unwrap());
    }
    out
}

#[test]
fn the_last_event_is_there_once() {
    let whole = "data: 1\n\ndata: [DONE]\n\n";
    for cut in 0..=whole.len() {
        assert_eq!(passed(&[&whole[..cut], &whole[cut..]]), whole, "cut at {cut}");
    }
    let letters: Vec<String> = whole.chars().map(String::from).collect();
    assert_eq!(passed(&letters.iter().map(String::as_str).collect::<Vec<_>>()), whole);
    for begun in ["data: 1\n\n", "data: 1\n", "data: 1", "data: [DON"] {
        let ended = passed(&[begun, ""]);
        assert!(ended.starts_with(begun) && ended.ends_with("\n\ndata: [DONE]\n\n"), "{ended:?}");
    }
    assert_eq!(passed(&[""]), "data: [DONE]\n\n");
    assert_eq!(passed(&["data: [DONE]"]), "data: [DONE]\n\n");
}

#[test]
fn what_breaks_off_gets_its_end_on_a_line_of_its_own() {
    let mut events = Events::default();
    events.pass(&mut Some(Bytes::from_static(b"data: hal")), false);
    events.tail = b"?".to_vec();
    assert_eq!(&events.end()[..], b"\n\ndata: [DONE]\n\n");
}
