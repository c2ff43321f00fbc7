//! What a job is charged by: the table of units, and a picture's size from its first bytes.
use std::io::ErrorKind::UnexpectedEof;

use imagesize::{ImageError, ImageType};

use super::json::{self, Object};
use super::request::{BadRequest, check_request};
use crate::domain::ai::Pipeline;

/// Longer sides or counts are not pictures.
const MOST_NUMBER: i64 = 1 << 20;

/// Bytes of a picture's beginning within which its size must stand: pictures carry whole
/// thumbnails and colour profiles before it.
pub const MOST_IMAGE_HEAD: usize = 1 << 20;

/// A picture's size, as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSize {
    Size(u32, u32),
    /// It may be a picture; more bytes will tell.
    More,
    /// No PNG, JPEG, GIF or WebP.
    NotAnImage,
}

/// What is known of an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMeasure {
    Image { width: u32, height: u32 },
    Audio { ms: u64 },
}

/// How a request is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// So many units, said by the request alone.
    Known(u64),
    /// The input picture's pixels, so many times.
    InputPixels {
        times: u64,
    },
    InputAudio,
    /// By the time that it takes.
    Seconds,
}

// === impl Measure ===

impl Measure {
    /// The units, once the input file is known.
    pub fn units(self, pipeline: Pipeline, file: Option<FileMeasure>) -> Result<u64, BadRequest> {
        let key = pipeline.file_field().unwrap_or("body");
        let bad = |fault| Err(BadRequest::new(pipeline, key, fault));
        match (self, file) {
            (Measure::Known(units), _) => Ok(units),
            (Measure::InputPixels { times }, Some(FileMeasure::Image { width, height })) => {
                // Sides of 32 bits each: only the number of pictures can go too far.
                let units = (u64::from(width) * u64::from(height)).checked_mul(times);
                match units.filter(|units| (1..=i64::MAX as u64).contains(units)) {
                    Some(units) => Ok(units),
                    None => bad("not a picture's size"),
                }
            }
            (Measure::InputAudio, Some(FileMeasure::Audio { ms })) => match ms / 1000 {
                0 => bad("less than a second of sound"),
                seconds => Ok(seconds.saturating_mul(1000).min(i64::MAX as u64)),
            },
            (Measure::InputPixels { .. }, _) => bad("not a picture that can be read"),
            (Measure::InputAudio, _) => bad("not a recording that can be read"),
            (Measure::Seconds, _) => bad("charged by the time that it takes"),
        }
    }
}

/// The units that a request is charged for, by what an orchestrator counts.
pub fn charge(pipeline: Pipeline, request: &[u8], file: Option<FileMeasure>) -> Result<u64, BadRequest> {
    check_request(pipeline, request)?.measure.units(pipeline, file)
}

/// The table of units: what an orchestrator charges for.
pub(super) fn measure(pipeline: Pipeline, object: &Object<'_>) -> Result<Measure, BadRequest> {
    let number = |key: &'static str, absent: i64, most: i64| {
        let value = object.get(key).and_then(json::int).unwrap_or(absent);
        match value {
            1.. if value <= most => Ok(value.unsigned_abs()),
            1.. => Err(BadRequest::new(pipeline, key, "it is too large")),
            _ => Err(BadRequest::new(pipeline, key, "it must be 1 or more")),
        }
    };
    let side = |key, absent| number(key, absent, MOST_NUMBER);
    // Three factors of at most 2^20 each.
    Ok(match pipeline {
        Pipeline::TextToImage => {
            Measure::Known(side("width", 512)? * side("height", 512)? * side("num_images_per_prompt", 1)?)
        }
        Pipeline::ImageToVideo => Measure::Known(side("width", 1024)? * side("height", 576)? * 25),
        Pipeline::ImageToImage => Measure::InputPixels { times: side("num_images_per_prompt", 1)? },
        Pipeline::Upscale | Pipeline::SegmentAnything2 | Pipeline::ImageToText => Measure::InputPixels { times: 1 },
        Pipeline::AudioToText => Measure::InputAudio,
        Pipeline::Llm => Measure::Known(number("max_tokens", 0, i64::from(i32::MAX))?),
        Pipeline::TextToSpeech => {
            let text = object.get("text").and_then(json::text).unwrap_or_default();
            if text.is_empty() {
                return Err(BadRequest::new(pipeline, "text", "it is empty"));
            }
            Measure::Known(text.chars().count() as u64 * 1000)
        }
        Pipeline::LiveVideoToVideo | Pipeline::Byoc | Pipeline::App => Measure::Seconds,
    })
}

pub fn image_size(head: &[u8]) -> ImageSize {
    let head = &head[..head.len().min(MOST_IMAGE_HEAD)];
    match imagesize::image_type(head) {
        Ok(ImageType::Png | ImageType::Jpeg | ImageType::Gif | ImageType::Webp) => {}
        _ if head.len() < 16 => return ImageSize::More,
        _ => return ImageSize::NotAnImage,
    }
    let side = |length: usize| u32::try_from(length).ok().filter(|length| (1..=1 << 20).contains(length));
    match imagesize::blob_size(head) {
        Ok(size) => match (side(size.width), side(size.height)) {
            (Some(width), Some(height)) => ImageSize::Size(width, height),
            _ => ImageSize::NotAnImage,
        },
        Err(ImageError::IoError(error)) if error.kind() == UnexpectedEof && head.len() < MOST_IMAGE_HEAD => {
            ImageSize::More
        }
        Err(_) => ImageSize::NotAnImage,
    }
}
