//! A body of any bytes, in chunks of any size: the same events or the same error.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use openpool_proxy::wire::multipart::{BadMultipart, Event, Reader, boundary_from_content_type};

fn read(body: &[u8], step: usize) -> Result<Vec<Event>, BadMultipart> {
    let mut reader = Reader::new("b", 300);
    let mut events: Vec<Event> = Vec::new();
    for chunk in body.chunks(step) {
        reader.feed(Bytes::copy_from_slice(chunk));
        while let Some(event) = reader.next()? {
            match (events.last_mut(), event) {
                (Some(Event::Data(data)), Event::Data(more)) => *data = [&data[..], &more].concat().into(),
                (_, event) => events.push(event),
            }
        }
    }
    reader.finish()?;
    Ok(events)
}

fuzz_target!(|input: &[u8]| {
    let Some((step, body)) = input.split_first() else { return };
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = boundary_from_content_type(text);
    }
    let body = [b"--b\r\n", body].concat();
    assert_eq!(read(&body, usize::from(*step).max(1)), read(&body, body.len()));
});
