//! What simulated AI workers answer: the same bytes for the same request, whatever road it came by.
mod check;
mod fields;
mod llm;
mod media;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use fields::{Field, Kind, fields};
pub use llm::{Llm, Usage};
pub use media::{png, wav};

use crate::domain::ai::Pipeline;

/// How an answer travels: image-to-video is frames on one road and a video on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    Runner,
    Worker,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    shape: Shape,
    /// In the order in which the JSON names them.
    pub files: Vec<AnswerFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerFile {
    pub content_type: &'static str,
    /// Of its name on the worker road.
    pub ending: &'static str,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Images(Vec<i64>),
    Frames(Vec<i64>),
    Audio,
    Json(Value),
}

/// What all that is in an answer is drawn from.
struct Draw([u8; 32]);

/// Images of one answer, and frames of a video.
const MOST_IMAGES: i64 = 16;
const FRAMES: usize = 5;
/// An image without a size in its request, and the longest side of any.
const SIDE: u32 = 16;
const MOST_SIDE: i64 = 1024;
const MOST_WORDS: i64 = 10_000;

const WORDS: [&str; 32] = [
    "river",
    "glass",
    "seven",
    "quiet",
    "lantern",
    "over",
    "copper",
    "and",
    "field",
    "naïve",
    "winter",
    "under",
    "bridge",
    "green",
    "the",
    "paper",
    "stone",
    "walks",
    "cloud",
    "日本",
    "engine",
    "of",
    "salt",
    "bright",
    "harbour",
    "slow",
    "moth",
    "with",
    "ladder",
    "orange",
    "snow",
    "„quote“",
];

/// The answer of an honest worker. `request` is read by its known keys alone: numbers as float32
/// where they are floats, `stream` aside, so that it does not matter how they were written.
pub fn answer(road: Road, pipeline: Pipeline, request: &Map<String, Value>, file: Option<&[u8]>) -> Answer {
    let draw = Draw::of(pipeline, request, file);
    let side = |key: &str| match request.get(key).and_then(Value::as_i64) {
        Some(side) => u32::try_from(side.clamp(1, MOST_SIDE)).unwrap_or(SIDE),
        None => SIDE,
    };
    let image = |n: usize| AnswerFile {
        content_type: "image/png",
        ending: ".png",
        bytes: match pipeline {
            Pipeline::TextToImage => png(side("width"), side("height"), draw.number(n)),
            _ => png(SIDE, SIDE, draw.number(n)),
        },
    };
    let seed = request.get("seed").and_then(Value::as_i64).unwrap_or_else(|| draw.small(0, 1 << 30));
    let seeds = |count: usize| (0i64..).take(count).map(|n| seed.wrapping_add(n)).collect::<Vec<_>>();
    let (shape, files) = match (pipeline, road) {
        (Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale, _) => {
            let asked = request.get("num_images_per_prompt").and_then(Value::as_i64).unwrap_or(1);
            let count = usize::try_from(asked.clamp(1, MOST_IMAGES)).unwrap_or(1);
            (Shape::Images(seeds(count)), (0..count).map(image).collect())
        }
        (Pipeline::ImageToVideo, Road::Runner) => (Shape::Frames(seeds(FRAMES)), (0..FRAMES).map(image).collect()),
        (Pipeline::ImageToVideo, Road::Worker) => {
            let bytes = media::mp4(draw.number(0));
            (Shape::Images(seeds(1)), vec![AnswerFile { content_type: "video/mp4", ending: ".mp4", bytes }])
        }
        (Pipeline::TextToSpeech, _) => {
            let bytes = wav(u32::try_from(draw.small(1, 800)).unwrap_or(1) + 800, draw.number(0));
            (Shape::Audio, vec![AnswerFile { content_type: "audio/wav", ending: ".wav", bytes }])
        }
        (Pipeline::Llm, _) => (Shape::Json(Llm::drawn(&draw, request).whole()), Vec::new()),
        (Pipeline::AudioToText, _) => (Shape::Json(draw.heard()), Vec::new()),
        (Pipeline::SegmentAnything2, _) => (Shape::Json(draw.masks()), Vec::new()),
        _ => (Shape::Json(json!({ "text": draw.text(12) })), Vec::new()),
    };
    Answer { shape, files }
}

/// What is streamed or said at once to an llm request.
pub fn llm(request: &Map<String, Value>) -> Llm {
    Llm::drawn(&Draw::of(Pipeline::Llm, request, None), request)
}

/// How large a job is; 1 for a usual one.
pub fn size(pipeline: Pipeline, request: &Map<String, Value>) -> f64 {
    let number = |key: &str, otherwise: f64| request.get(key).and_then(Value::as_f64).unwrap_or(otherwise).max(0.0);
    let length = |key: &str| request.get(key).and_then(Value::as_str).map_or(0, |text| text.chars().count());
    match pipeline {
        Pipeline::TextToImage => {
            number("width", 512.0) * number("height", 512.0) * number("num_images_per_prompt", 1.0) / (512.0 * 512.0)
        }
        Pipeline::ImageToImage => number("num_images_per_prompt", 1.0),
        Pipeline::Llm => number("max_tokens", 32.0) / 32.0,
        Pipeline::TextToSpeech => length("text") as f64 / 100.0,
        _ => 1.0,
    }
}

// === impl Answer ===

impl Answer {
    /// The JSON, with what `url` says of each file.
    pub fn json(&self, mut url: impl FnMut(usize) -> String) -> Value {
        let mut media = |seeds: &[i64]| -> Vec<Value> {
            let one = |(n, seed): (usize, &i64)| json!({ "url": url(n), "seed": seed, "nsfw": false });
            seeds.iter().enumerate().map(one).collect()
        };
        match &self.shape {
            Shape::Images(seeds) => json!({ "images": media(seeds) }),
            Shape::Frames(seeds) => json!({ "frames": [media(seeds)] }),
            Shape::Audio => json!({ "audio": { "url": url(0) } }),
            Shape::Json(json) => json.clone(),
        }
    }

    /// As a runner says it: files as data URLs.
    pub fn runner_json(&self) -> Value {
        self.json(|n| self.files.get(n).map(AnswerFile::data_url).unwrap_or_default())
    }
}

impl AnswerFile {
    pub fn data_url(&self) -> String {
        use base64::Engine;
        let coded = base64::engine::general_purpose::STANDARD.encode(&self.bytes);
        format!("data:{};base64,{coded}", self.content_type)
    }
}

// === impl Draw ===

impl Draw {
    fn of(pipeline: Pipeline, request: &Map<String, Value>, file: Option<&[u8]>) -> Draw {
        let mut hash = Sha256::new();
        hash.update(pipeline.name());
        for field in fields(pipeline).iter().filter(|field| field.name != "stream") {
            let Some(value) = request.get(field.name).filter(|value| !value.is_null()) else { continue };
            hash.update([0]);
            hash.update(field.name);
            hash.update([1]);
            hash.update(field.canonical(value));
        }
        if let Some(file) = file {
            hash.update([2]);
            hash.update(file);
        }
        Draw(hash.finalize().into())
    }

    /// The `n`th number.
    fn number(&self, n: usize) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update((n as u64).to_le_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        bytes.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// The `n`th number, from 0 up to and without `below`.
    fn small(&self, n: usize, below: i64) -> i64 {
        (self.number(n) % below.unsigned_abs().max(1)) as i64
    }

    fn hex(&self) -> String {
        self.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn words(&self, count: usize) -> Vec<String> {
        let mut state = self.number(1);
        let mut words: Vec<String> = Vec::with_capacity(count.min(MOST_WORDS as usize));
        for n in 0..count {
            let word = WORDS[(media::step(&mut state) % 32) as usize];
            words.push(if n == 0 { self.hex() } else { format!(" {word}") });
        }
        words
    }

    fn text(&self, words: usize) -> String {
        self.words(words).concat()
    }

    fn heard(&self) -> Value {
        // Halves: whoever reads and writes them again changes nothing.
        let words = self.words(8);
        let (first, second) = words.split_at(4);
        json!({
            "text": words.concat(),
            "chunks": [
                { "timestamp": [0.5, 1.5], "text": first.concat() },
                { "timestamp": [1.5, 2.5], "text": second.concat() },
            ],
        })
    }

    fn masks(&self) -> Value {
        let row = |n: usize| json!([self.small(n, 2), self.small(n + 1, 2), self.small(n + 2, 2)]);
        json!({
            "masks": json!([row(10), row(20)]).to_string(),
            "scores": json!([self.small(30, 1000) as f64 / 1000.0]).to_string(),
            "logits": json!([row(40)]).to_string(),
        })
    }
}
