//! Property tests of reading: any text is answered for, secrets stay hidden, quantities come back.
use std::time::Duration;

use proptest::prelude::*;

use super::redact::redact;
use super::units::{Bad, decimal, show_size, show_time, size, time, whole};
use super::{check_text, tree};

/// Bits of configurations, in any order: more likely to get somewhere than plain noise.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        Just("pool:\n".to_owned()),
        Just("  name: x\n".to_owned()),
        Just("orchestrators:\n".to_owned()),
        Just("  - url: a:1\n".to_owned()),
        Just("    secret: ".to_owned()),
        Just("workers: {join: [".to_owned()),
        Just("retry: &a\n".to_owned()),
        Just("*a\n".to_owned()),
        Just("<<: *a\n".to_owned()),
        Just("  \t".to_owned()),
        Just("|\n".to_owned()),
        Just("ø☃".to_owned()),
        Just("\r\n".to_owned()),
        Just("- [{\"".to_owned()),
        Just("}]\n".to_owned()),
        "[ -~\n]{0,12}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered_for(text in scraps()) {
        let told = check_text(&text);
        prop_assert!(!told.is_empty() && told.len() < 200_000);
    }

    #[test]
    fn a_secret_is_hidden_whatever_stands_around_it(before in scraps(), after in scraps(), quote in "[\"']?") {
        let text = format!("{before}\nadmin:\n  password: {quote}hunter2-planted{quote}\n{after}");
        prop_assert!(!check_text(&text).contains("hunter2-planted"), "{}", check_text(&text));
    }

    #[test]
    fn masking_keeps_every_place(text in scraps()) {
        let tree = tree::parse(&text).ok();
        let shown = redact(&text, tree.as_ref()).text;
        prop_assert_eq!(shown.len(), text.len());
        prop_assert_eq!(shown.matches('\n').count(), text.matches('\n').count());
    }

    #[test]
    fn quantities_come_back_as_they_were_shown(ms in 0u64..1 << 40, bytes in 0u64..1 << 50) {
        prop_assert_eq!(time(&show_time(Duration::from_millis(ms))), Ok(Duration::from_millis(ms)));
        prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
    }
}

#[test]
fn quantities_are_read_as_people_write_them() {
    assert_eq!(time("1.5 s"), Ok(Duration::from_millis(1500)));
    assert_eq!(time("350ms"), Ok(Duration::from_millis(350)));
    assert_eq!(time("2 minutes"), Ok(Duration::from_secs(120)));
    assert_eq!(time("10"), Err(Bad::NoUnit));
    assert_eq!(time("0.0001 s"), Err(Bad::Form));
    assert_eq!(time("s"), Err(Bad::Form));
    assert_eq!(size("8 MiB"), Ok(8 << 20));
    assert_eq!(size("300 MB"), Ok(300_000_000));
    assert_eq!(size("-1 kB"), Err(Bad::Negative));
    assert_eq!(whole("12_000"), Ok(12_000));
    assert_eq!(whole("1e3"), Err(Bad::Form));
    assert_eq!(decimal("12.5", 100), Ok(1250));
    assert_eq!(decimal("99999999999999999999", 100), Err(Bad::TooLarge));
}

#[test]
fn deep_and_large_texts_end_soon() {
    for text in [
        "[".repeat(100_000),
        "a: {".repeat(50_000),
        "- ".repeat(100_000),
        format!("{}pool: x", "a: &a [*a]\n".repeat(2_000)),
        "x: 1\n".repeat(40_000),
        "\"".repeat(200_000),
        "secret: \"\n".repeat(20_000),
        format!("pool:\n  name: {}\n", "x".repeat(200_000)),
        "k".repeat(tree::LARGEST_TEXT + 1),
    ] {
        let began = std::time::SystemTime::now();
        let told = check_text(&text);
        assert!(told.contains("error[E"), "{}", told.len());
        assert!(told.len() < 100_000, "{}", told.len());
        assert!(began.elapsed().unwrap() < Duration::from_secs(5), "{}", &text[..20]);
    }
}
