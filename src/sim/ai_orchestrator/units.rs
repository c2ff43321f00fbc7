//! What an orchestrator charges for, from the request and its file alone.
use serde_json::Value;

use crate::domain::ai::Pipeline;

/// The units of a request, or the text of its 400.
pub(in crate::sim) fn charged(pipeline: Pipeline, request: &Value, file: Option<&[u8]>) -> Result<u64, String> {
    let number = |key: &str, absent: u64| request[key].as_u64().unwrap_or(absent);
    let area = || image_size(file.unwrap_or_default()).map(|(width, height)| width * height);
    let pixels = |height: u64, width: u64| number("height", height).saturating_mul(number("width", width));
    Ok(match pipeline {
        Pipeline::TextToImage => pixels(512, 512).saturating_mul(number("num_images_per_prompt", 1)),
        Pipeline::ImageToImage => area()?.saturating_mul(number("num_images_per_prompt", 1)),
        Pipeline::Upscale | Pipeline::SegmentAnything2 | Pipeline::ImageToText => area()?,
        Pipeline::ImageToVideo => pixels(576, 1024).saturating_mul(25),
        Pipeline::AudioToText => match audio_seconds(file.unwrap_or_default()) {
            Some(seconds) if seconds > 0 => seconds * 1000,
            _ => return Err("Unable to calculate duration".into()),
        },
        Pipeline::Llm => request["max_tokens"].as_u64().ok_or("MaxTokens not specified")?,
        Pipeline::TextToSpeech => request["text"].as_str().unwrap_or_default().chars().count() as u64 * 1000,
        Pipeline::LiveVideoToVideo | Pipeline::Byoc | Pipeline::App => 0,
    })
}

/// Width and height from the first bytes of a PNG, JPEG or GIF: what Go's decoders are there for.
pub(in crate::sim) fn image_size(bytes: &[u8]) -> Result<(u64, u64), String> {
    let be = |at: usize, length: usize| number(bytes, at, length, true);
    let le = |at: usize, length: usize| number(bytes, at, length, false);
    let found = match bytes {
        [0x89, b'P', b'N', b'G', ..] => be(16, 4).zip(be(20, 4)),
        [b'G', b'I', b'F', b'8', ..] => le(6, 2).zip(le(8, 2)),
        [0xff, 0xd8, ..] => jpeg_size(bytes),
        _ => None,
    };
    found.ok_or_else(|| "image: unknown format".into())
}

/// The first frame header.
fn jpeg_size(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut at = 2;
    loop {
        let (mark, kind) = (*bytes.get(at)?, *bytes.get(at + 1)?);
        if mark != 0xff {
            return None;
        }
        match kind {
            0xff => at += 1,
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return number(bytes, at + 7, 2, true).zip(number(bytes, at + 5, 2, true));
            }
            _ => at += 2 + usize::try_from(number(bytes, at + 2, 2, true)?).ok()?,
        }
    }
}

/// Whole seconds of WAV or FLAC; other formats are not known here.
fn audio_seconds(bytes: &[u8]) -> Option<u64> {
    if bytes.starts_with(b"fLaC") {
        // STREAMINFO: 20 bits of rate, 8 of other things, 36 of samples.
        let packed = number(bytes, 18, 8, true)?;
        return (packed & ((1 << 36) - 1)).checked_div(packed >> 44);
    }
    if !bytes.starts_with(b"RIFF") {
        return None;
    }
    let (mut at, mut rate) = (12, None);
    loop {
        let size = number(bytes, at + 4, 4, false)?;
        match bytes.get(at..at + 4)? {
            b"fmt " => rate = number(bytes, at + 16, 4, false),
            b"data" => return size.min((bytes.len() - at - 8) as u64).checked_div(rate?),
            _ => {}
        }
        at = at.checked_add(8)?.checked_add(usize::try_from(size + (size & 1)).ok()?)?;
    }
}

fn number(bytes: &[u8], at: usize, length: usize, big_end_first: bool) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Some(if big_end_first { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) })
}
