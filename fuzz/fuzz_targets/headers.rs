//! Header values of any bytes.
#![no_main]
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use openpool_proxy::wire::headers::{self, PIXELS, TASK_ID};
use openpool_proxy::wire::multipart::boundary_from_content_type;

fuzz_target!(|input: &[u8]| {
    let mut map = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(4) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            map.append(TASK_ID, value.clone());
            map.insert(PIXELS, value);
        }
    }
    if let Ok(task) = headers::task_id(&map) {
        let text = map[TASK_ID].to_str().unwrap();
        assert_eq!(text.parse(), Ok(task.0));
    }
    if let Ok(pixels) = headers::pixels(&map) {
        assert_eq!(map[PIXELS].to_str().unwrap().parse(), Ok(pixels));
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(boundary) = boundary_from_content_type(text)
    {
        assert!(!boundary.is_empty() && boundary.len() <= 70);
    }
});
