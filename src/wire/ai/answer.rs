//! Answers of the worker road: what they must be like.
use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::json;
use super::llm::Spoken;
pub use super::llm::Usage;
use crate::domain::ai::Pipeline;

/// Pictures of one answer: with the JSON they are the parts that a multipart may have.
pub const MOST_FILES: usize = crate::wire::multipart::MOST_PARTS as usize - 1;
const MOST_NAME: usize = 64;

/// What is known of an answer that is as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// Names of the files that its addresses name, in their order.
    pub files: Vec<String>,
    /// What a language model counted.
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow)]
    images: Vec<Media<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Media<'a> {
    #[serde(borrow)]
    pub(super) url: Cow<'a, str>,
    pub(super) seed: Option<i64>,
    pub(super) nsfw: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Audio<'a> {
    #[serde(borrow)]
    pub(super) audio: AudioUrl<'a>,
}

#[derive(Deserialize)]
pub(super) struct AudioUrl<'a> {
    #[serde(borrow)]
    pub(super) url: Cow<'a, str>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "their types are what is checked")]
struct Text<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    chunks: Option<Vec<TextChunk<'a>>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "their types are what is checked")]
struct TextChunk<'a> {
    timestamp: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "their types are what is checked")]
struct Masks<'a> {
    #[serde(borrow)]
    masks: Cow<'a, str>,
    #[serde(borrow)]
    scores: Cow<'a, str>,
    #[serde(borrow)]
    logits: Cow<'a, str>,
}

/// Checks an answer of the worker road. `file_names` are the parts that came with it.
pub fn check_answer<N: AsRef<str>>(pipeline: Pipeline, json: &[u8], file_names: &[N]) -> Result<AnswerFacts, String> {
    let mut facts = AnswerFacts::default();
    let urls: Vec<Cow<'_, str>> = match pipeline {
        Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale | Pipeline::ImageToVideo => {
            images(json)?.into_iter().map(|media| media.url).collect()
        }
        Pipeline::TextToSpeech => vec![read::<Audio<'_>>(json)?.audio.url],
        _ => {
            facts.usage = check_text(pipeline, json)?;
            return Ok(facts);
        }
    };
    let mut seen = BTreeSet::new();
    for url in urls {
        let url = file_name(url)?;
        if !file_names.iter().any(|name| name.as_ref() == url) {
            return Err(format!("the answer names the file {url}, but no such part came"));
        }
        if !seen.insert(url.clone()) {
            return Err(format!("the answer names the file {url} twice"));
        }
        facts.files.push(url);
    }
    Ok(facts)
}

/// Answers without files are the same on both roads.
pub(super) fn check_text(pipeline: Pipeline, json: &[u8]) -> Result<Option<Usage>, String> {
    match pipeline {
        Pipeline::AudioToText | Pipeline::ImageToText => read::<Text<'_>>(json).map(|_| None),
        Pipeline::SegmentAnything2 => read::<Masks<'_>>(json).map(|_| None),
        Pipeline::Llm => {
            let spoken = Spoken::read(json).map_err(|fault| not_as(&fault))?;
            let choices = spoken.choices.as_deref().unwrap_or_default();
            if choices.is_empty() {
                return Err("the answer has no choices".into());
            }
            if choices.iter().any(|choice| choice.message.is_none()) {
                return Err("the answer has a choice without a message".into());
            }
            Ok(spoken.usage())
        }
        Pipeline::LiveVideoToVideo => check_live(json).map(|()| None),
        _ => Err(format!("{pipeline} has no answer of this kind")),
    }
}

/// An object will do, but what a stock program decodes of it must be strings.
fn check_live(json: &[u8]) -> Result<(), String> {
    let object = json::Object::read(json).map_err(|fault| not_as(&fault))?;
    for key in ["publish_url", "subscribe_url", "control_url", "events_url", "manifest_id", "request_id"] {
        if object.get(key).is_some_and(|value| json::text(value).is_none()) {
            return Err(not_as(&format!("{key} is not a string")));
        }
    }
    Ok(())
}

pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| not_as(&error.to_string()))
}

pub(super) fn not_as(fault: &str) -> String {
    format!("the answer is not as it must be: {fault}")
}

pub(super) fn images(json: &[u8]) -> Result<Vec<Media<'_>>, String> {
    let Images { images } = read(json)?;
    match images.len() {
        0 => Err("the answer has no images".into()),
        1..=MOST_FILES => Ok(images),
        count => Err(format!("the answer has {count} images, more than the {MOST_FILES} that are allowed")),
    }
}

/// A name that may stand in a header and in an address.
pub(super) fn file_name(url: Cow<'_, str>) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if url.is_empty() || url.len() > MOST_NAME || !url.bytes().all(plain) || url.starts_with('.') {
        return Err("the answer names a file whose name cannot be used".into());
    }
    Ok(url.into_owned())
}
