//! Answers carried between files (worker road) and data URLs (runner API).
use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::answer::{Audio, check_text, file_name, images, not_as, read};
use super::measure::{ImageSize, image_size};
use crate::domain::ai::Pipeline;
use crate::wire::headers::{PNG_TYPE, WAV_TYPE};

/// A file that came inside an answer's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedFile {
    /// As the answer names it now.
    pub name: String,
    pub content_type: &'static str,
    pub bytes: Bytes,
}

/// A part of the runner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Bytes),
    /// The file of this name goes here, as base64: see `Base64Feed`.
    File(String),
}

/// The answer of the runner API, to be sent without holding its files twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerAnswer {
    pub pieces: Vec<Piece>,
    /// Bytes of the whole body, the files encoded.
    pub length: u64,
}

/// Bytes as base64, chunk by chunk.
#[derive(Debug, Default)]
pub struct Base64Feed {
    /// Bytes that do not make three yet.
    left: Vec<u8>,
}

/// The runner's answer to what a worker answered: where its files go, and how long it is.
/// `file` tells a file's length. Text answers are the same on both roads.
pub fn plan_runner_answer(
    pipeline: Pipeline,
    json: &Bytes,
    file: impl Fn(&str) -> Option<u64>,
) -> Result<RunnerAnswer, String> {
    let mut plan = Plan::default();
    match pipeline {
        Pipeline::ImageToVideo => return Err(no_frames()),
        Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale => {
            for (n, media) in images(json)?.into_iter().enumerate() {
                plan.text.push_str(if n == 0 { "{\"images\":[{\"url\":\"" } else { ",{\"url\":\"" });
                plan.data_url(PNG_TYPE, media.url, &file)?;
                plan.text.push_str(&format!("\",{}}}", seed_and_nsfw(&media.seed, &media.nsfw)));
            }
            plan.text.push_str("]}");
        }
        Pipeline::TextToSpeech => {
            plan.text.push_str("{\"audio\":{\"url\":\"");
            plan.data_url(WAV_TYPE, read::<Audio<'_>>(json)?.audio.url, &file)?;
            plan.text.push_str("\"}}");
        }
        _ => {
            check_text(pipeline, json)?;
            return Ok(RunnerAnswer { pieces: vec![Piece::Text(json.clone())], length: json.len() as u64 });
        }
    }
    plan.flush();
    Ok(RunnerAnswer { pieces: plan.pieces, length: plan.length })
}

#[derive(Default)]
struct Plan {
    pieces: Vec<Piece>,
    text: String,
    length: u64,
}

// === impl Plan ===

impl Plan {
    /// Whatever its bytes are, a stock program decodes a picture and writes it again as the type
    /// that is said here.
    fn data_url(&mut self, kind: &str, url: Cow<'_, str>, file: impl Fn(&str) -> Option<u64>) -> Result<(), String> {
        let name = file_name(url)?;
        let length = file(&name).ok_or_else(|| format!("the answer names the file {name}, but no such part came"))?;
        self.text.push_str(&format!("data:{kind};base64,"));
        self.flush();
        self.length = length.div_ceil(3).saturating_mul(4).saturating_add(self.length);
        self.pieces.push(Piece::File(name));
        Ok(())
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        self.length += text.len() as u64;
        self.pieces.push(Piece::Text(text.into()));
    }
}

/// The runner's answer in one piece, for files that are in memory.
pub fn answer_to_runner(
    pipeline: Pipeline,
    json: &Bytes,
    file: impl Fn(&str) -> Option<Bytes>,
) -> Result<Bytes, String> {
    let plan = plan_runner_answer(pipeline, json, |name| file(name).map(|bytes| bytes.len() as u64))?;
    let mut out = String::with_capacity(usize::try_from(plan.length).unwrap_or(0));
    for piece in plan.pieces {
        match piece {
            Piece::Text(text) => out.push_str(std::str::from_utf8(&text).map_err(|_| not_as("not UTF-8"))?),
            Piece::File(name) => STANDARD.encode_string(file(&name).unwrap_or_default(), &mut out),
        }
    }
    Ok(out.into())
}

/// The worker's answer to what a runner answered: data URLs become files. `name` gives eight hex
/// digits, others each time.
pub fn runner_to_answer(
    pipeline: Pipeline,
    json: &[u8],
    mut name: impl FnMut() -> String,
) -> Result<(Bytes, Vec<DecodedFile>), String> {
    let mut files = Vec::new();
    match pipeline {
        Pipeline::ImageToVideo => Err(no_frames()),
        Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale => {
            let mut out = String::new();
            for media in images(json)? {
                let bytes = decode_image(&media.url)?;
                let file = file_name(format!("{}.png", name()).into())?;
                out.push_str(if files.is_empty() { "{\"images\":[" } else { "," });
                out.push_str(&format!("{{\"url\":\"{file}\",{}}}", seed_and_nsfw(&media.seed, &media.nsfw)));
                files.push(DecodedFile { name: file, content_type: PNG_TYPE, bytes });
            }
            out.push_str("]}");
            Ok((out.into(), files))
        }
        Pipeline::TextToSpeech => {
            let bytes = decode_data_url(&read::<Audio<'_>>(json)?.audio.url)?.1;
            let file = file_name(format!("{}.wav", name()).into())?;
            let out = format!("{{\"audio\":{{\"url\":\"{file}\"}}}}");
            files.push(DecodedFile { name: file, content_type: WAV_TYPE, bytes });
            Ok((out.into(), files))
        }
        _ => {
            check_text(pipeline, json)?;
            Ok((Bytes::copy_from_slice(json), files))
        }
    }
}

fn no_frames() -> String {
    "image-to-video answers frames by one road and a film by the other".into()
}

fn seed_and_nsfw(seed: &Option<i64>, nsfw: &Option<bool>) -> String {
    format!("\"seed\":{},\"nsfw\":{}", seed.unwrap_or(0), nsfw.unwrap_or(false))
}

/// A picture that a stock program can decode, by its type and by its first bytes.
fn decode_image(url: &str) -> Result<Bytes, String> {
    let (kind, bytes) = decode_data_url(url)?;
    if !["image/png", "image/jpeg", "image/jpg", "image/gif"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err("the answer has a picture that is neither PNG, JPEG nor GIF".into());
    }
    match image_size(&bytes) {
        ImageSize::Size(..) if !bytes.starts_with(b"RIFF") => Ok(bytes),
        _ => Err("the answer has a picture that cannot be read".into()),
    }
}

/// `data:type;parameters;base64,bytes`: the type, and the bytes.
fn decode_data_url(url: &str) -> Result<(&str, Bytes), String> {
    let rest = url.strip_prefix("data:").ok_or("the answer has an address that is not a data URL")?;
    let (head, data) = rest.split_once(',').ok_or("the answer has a data URL without data")?;
    let kind = head.strip_suffix(";base64").ok_or("the answer has a data URL that is not base64")?;
    let bytes = STANDARD.decode(data).map_err(|_| "the answer has a data URL with bad base64")?;
    if bytes.is_empty() {
        return Err("the answer has an empty file".into());
    }
    Ok((kind.split(';').next().unwrap_or_default(), bytes.into()))
}

// === impl Base64Feed ===

impl Base64Feed {
    /// The characters that are complete with this chunk.
    pub fn feed(&mut self, chunk: &[u8]) -> Bytes {
        let needed = (3 - self.left.len() % 3) % 3;
        if self.left.is_empty() || chunk.len() < needed {
            self.left.extend_from_slice(chunk);
            let whole = self.left.len() / 3 * 3;
            let out = STANDARD.encode(&self.left[..whole]);
            self.left.drain(..whole);
            return out.into();
        }
        let (first, rest) = chunk.split_at(needed);
        self.left.extend_from_slice(first);
        let whole = rest.len() / 3 * 3;
        let mut out = STANDARD.encode(&self.left);
        STANDARD.encode_string(&rest[..whole], &mut out);
        self.left.clear();
        self.left.extend_from_slice(&rest[whole..]);
        out.into()
    }

    /// What is left, padded.
    pub fn end(self) -> Bytes {
        STANDARD.encode(&self.left).into()
    }
}
