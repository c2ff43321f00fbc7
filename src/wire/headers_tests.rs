//! Headers of results.
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

fn with(name: HeaderName, values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(&name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn task(values: &[&[u8]]) -> Result<i64, BadHeader> {
    task_id(&with(TASK_ID, values)).map(|task| task.0)
}

#[test]
fn task_ids_are_plain_decimal_numbers() {
    assert_eq!(task(&[b"0"]), Ok(0));
    assert_eq!(task(&[b"9223372036854775807"]), Ok(i64::MAX));
    assert_eq!(task(&[b"9223372036854775808"]), Err(BadHeader::TooLarge("TaskId")));
    assert_eq!(task(&[b"99999999999999999999999"]), Err(BadHeader::TooLarge("TaskId")));
    assert_eq!(task(&[b"-1"]), Err(BadHeader::Negative("TaskId")));
    assert_eq!(task(&[]), Err(BadHeader::Missing("TaskId")));
    assert_eq!(task(&[b"1", b"1"]), Err(BadHeader::Repeated("TaskId")));
    for bad in ["abc", "", "+1", "1.0", "0x1", "1 2", "-", "--1", "1e3", "\u{661}"] {
        assert_eq!(task(&[bad.as_bytes()]), Err(BadHeader::NotANumber("TaskId")), "{bad}");
    }
    assert_eq!(task(&[b"\xff"]), Err(BadHeader::NotANumber("TaskId")));
}

#[test]
fn pixels_are_at_most_what_go_reads() {
    let read = |value: &[u8]| pixels(&with(PIXELS, &[value]));
    assert_eq!(read(b"9223372036854775807"), Ok(i64::MAX as u64));
    assert_eq!(read(b"9223372036854775808"), Err(BadHeader::TooLarge("Pixels")));
    assert_eq!(read(b"-5"), Err(BadHeader::Negative("Pixels")));
    assert_eq!(pixels(&HeaderMap::new()).unwrap_err().to_string(), "no Pixels header");
}

#[test]
fn header_names_match_in_any_case() {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::try_from("TaskId").unwrap(), HeaderValue::from_static("7"));
    assert_eq!(task_id(&headers), Ok(TaskId(7)));
}

proptest! {
    #[test]
    fn every_number_is_read_back(value in 0..=i64::MAX) {
        prop_assert_eq!(task(&[value.to_string().as_bytes()]), Ok(value));
    }

    #[test]
    fn agrees_with_the_standard_parser(text in "[0-9]{1,25}") {
        let ours = task(&[text.as_bytes()]).ok();
        prop_assert_eq!(ours, text.parse::<i64>().ok());
    }
}
