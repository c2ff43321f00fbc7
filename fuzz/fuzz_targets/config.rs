//! A configuration of any text.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let told = openpool_proxy::config::check_text(text);
    assert!(!told.is_empty());
});
