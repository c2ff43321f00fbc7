//! Data URLs, and whether a picture in one can be decoded.
use bytes::Bytes;

use crate::sim::ai_orchestrator::units::image_size;

/// The media type and the bytes.
pub(super) fn decode(url: &str) -> Result<(String, Bytes), String> {
    let rest = url.strip_prefix("data:").ok_or("invalid data url")?;
    let (kind, data) = rest.split_once(',').ok_or("invalid data url")?;
    let mime = kind.split(';').next().unwrap_or_default().to_owned();
    if !kind.ends_with(";base64") {
        return Ok((mime, Bytes::copy_from_slice(data.as_bytes())));
    }
    let bytes = base64(data).ok_or("illegal base64 data")?;
    Ok((mime, bytes.into()))
}

/// A picture that go-livepeer decodes and encodes again; its size and its end are looked at here.
pub(super) fn picture(url: &str) -> Result<Bytes, String> {
    // What is no picture is taken for the name of a local file.
    let no_file = |_| format!("open {}: no such file or directory", url.chars().take(40).collect::<String>());
    let (mime, bytes) = decode(url).map_err(no_file)?;
    image_size(&bytes).map_err(no_file)?;
    let whole = match mime.as_str() {
        "image/png" => bytes.ends_with(b"IEND\xaeB`\x82"),
        "image/jpeg" | "image/jpg" => bytes.ends_with(&[0xff, 0xd9]),
        "image/gif" => bytes.ends_with(b";"),
        _ => false,
    };
    if whole { Ok(bytes) } else { Err(no_file(String::new())) }
}

/// Standard alphabet, padded.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut sum, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        sum = sum << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((sum >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}
