//! Messages of any bytes; what is patched reads as patched.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use openpool_proxy::wire::messages::{NoticeKind, patch_notice, read_notice, read_register, write_register};

fuzz_target!(|input: &[u8]| {
    let raw = Bytes::copy_from_slice(input);
    if let Ok(register) = read_register(&raw) {
        if let Some(capabilities) = &register.capabilities {
            let written = write_register(&register.secret, register.capacity, capabilities);
            assert_eq!(read_register(&written).unwrap().capabilities, register.capabilities);
        }
    }
    let before = read_notice(&raw);
    let Ok(patched) = patch_notice(&raw, "https://pool.example/s", 77) else {
        assert!(before.is_err());
        return;
    };
    assert_eq!(patch_notice(&patched, "https://pool.example/s", 77).unwrap(), patched);
    if let Ok(NoticeKind::Segment(mut notice)) = before {
        notice.url = "https://pool.example/s".into();
        notice.task = 77;
        assert_eq!(read_notice(&patched), Ok(NoticeKind::Segment(notice)));
    }
});
