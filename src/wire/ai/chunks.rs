//! Chunks of a language model's stream, kept within the rules that stock programs crash without.
use bytes::Bytes;

use super::json::{Object, quoted};
use super::llm::{Spoken, Usage};
use super::sse::MOST_CHUNK;

/// What becomes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Pass it on, there will be more.
    Send(Bytes),
    /// Pass it on and end the stream.
    Last(Bytes),
    /// Nothing to pass on now.
    Nothing,
    /// Not a chunk; stock programs log and skip it. Why.
    Bad(String),
}

/// Keeps the rules of a stream: a choice in every chunk, a `finish_reason` in the last, nothing
/// behind it, and the count of tokens in that last one. A chunk is held back only when it ends
/// the answer without a count, for the count may come behind it: see `is_holding`.
#[derive(Debug, Default)]
pub struct ChunkFixer {
    /// The chunk with the `finish_reason`.
    held: Option<Bytes>,
    over: bool,
    /// `id`, `model` and `created` of the first chunk.
    named: Option<(String, String, i64)>,
    usage: Option<Usage>,
}

// === impl ChunkFixer ===

impl ChunkFixer {
    pub fn new() -> ChunkFixer {
        ChunkFixer::default()
    }

    pub fn push(&mut self, chunk: Bytes) -> Fixed {
        if self.over {
            return Fixed::Nothing;
        }
        if chunk.len() > MOST_CHUNK || chunk.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            return Fixed::Bad("the chunk does not fit into a line".into());
        }
        let spoken = match Spoken::read(&chunk) {
            Ok(spoken) => spoken,
            Err(fault) => return Fixed::Bad(fault),
        };
        let (usage, empty, last) = (spoken.usage(), spoken.is_empty(), spoken.is_last());
        if spoken.choices.is_none() && usage.is_none() {
            return Fixed::Bad("the chunk has no choices".into());
        }
        self.usage = usage.or(self.usage);
        match self.held.take() {
            // What follows the end is not delivered; only its count is.
            Some(held) if !empty || usage.is_some() => return Fixed::Last(self.end(held)),
            Some(held) => {
                self.held = Some(held);
                return Fixed::Nothing;
            }
            None if empty => return Fixed::Nothing,
            None => {}
        }
        if self.named.is_none() {
            let text = |text: Option<std::borrow::Cow<'_, str>>| text.unwrap_or_default().into_owned();
            self.named = Some((text(spoken.id), text(spoken.model), spoken.created.unwrap_or(0)));
        }
        match last {
            false => Fixed::Send(chunk),
            true if usage.is_some() => {
                self.over = true;
                Fixed::Last(chunk)
            }
            true => {
                self.held = Some(chunk);
                Fixed::Nothing
            }
        }
    }

    /// The answer is whole, but its last chunk waits for a count of tokens: do not wait long, and
    /// call `finish`.
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// The last chunk has been given out.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// A chunk with a choice was seen: the answer has begun.
    pub fn has_begun(&self) -> bool {
        self.named.is_some()
    }

    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The stream ended, by `[DONE]`, by its body or by an error: the chunk that is still to be
    /// passed on. A stream that broke off gets an end of ours; one that never began gets none.
    pub fn finish(&mut self) -> Option<Bytes> {
        self.end_with("stop")
    }

    /// The same for an answer that is not whole: `length` is the word for that which every client
    /// knows.
    pub fn break_off(&mut self) -> Option<Bytes> {
        self.end_with("length")
    }

    fn end_with(&mut self, reason: &str) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if let Some(held) = self.held.take() {
            return Some(self.end(held));
        }
        let (id, model, created) = self.named.as_ref()?;
        self.over = true;
        let usage = self.usage.unwrap_or_default().json();
        let (id, model) = (quoted(id), quoted(model));
        Some(
            format!(
                "{{\"id\":{id},\"model\":{model},\"created\":{created},\"choices\":[{{\"index\":0,\
                 \"finish_reason\":\"{reason}\",\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}}}}],\"usage\":{usage}}}"
            )
            .into(),
        )
    }

    fn end(&mut self, held: Bytes) -> Bytes {
        self.over = true;
        let Some(usage) = self.usage else { return held };
        let Ok(object) = Object::read(&held) else { return held };
        let with = Bytes::from(object.with("usage", &usage.json()));
        if with.len() > MOST_CHUNK { held } else { with }
    }
}
