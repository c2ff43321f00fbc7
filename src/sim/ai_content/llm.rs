//! What a language model says: at once, or word by word.
use serde_json::{Map, Value, json};

use super::{Draw, MOST_WORDS};

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Llm {
    pub id: String,
    pub created: i64,
    pub model: String,
    /// One is one token; together they are the text.
    pub words: Vec<String>,
    pub prompt_tokens: usize,
}

/// Where a stream tells what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Nowhere,
    /// In the chunk with the `finish_reason`.
    InLast,
    /// As OpenAI does: in one more chunk, of empty `choices`.
    After,
}

const WORDS: i64 = 32;

// === impl Llm ===

impl Llm {
    pub(super) fn drawn(draw: &Draw, request: &Map<String, Value>) -> Llm {
        let most = request.get("max_tokens").and_then(Value::as_i64).unwrap_or(WORDS).clamp(1, MOST_WORDS);
        let messages = request.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let content = |one: &Value| one.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
        Llm {
            id: format!("chatcmpl-{}", draw.hex()),
            created: 1_735_689_600 + draw.small(2, 1_000_000),
            model: request.get("model").and_then(Value::as_str).unwrap_or_default().to_owned(),
            words: draw.words(usize::try_from(most).unwrap_or(1)),
            prompt_tokens: messages.iter().map(|one| content(one).split_whitespace().count()).sum(),
        }
    }

    pub fn text(&self) -> String {
        self.words.concat()
    }

    pub fn usage(&self) -> Value {
        let (asked, made) = (self.prompt_tokens, self.words.len());
        json!({ "prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made })
    }

    pub fn whole(&self) -> Value {
        let message = json!({ "role": "assistant", "content": self.text() });
        self.shell(json!([{ "index": 0, "finish_reason": "stop", "message": message }]), Some(self.usage()))
    }

    /// The chunks of a stream, `count` at most: the text's parts, then the one that ends it.
    pub fn chunks(&self, count: usize, usage: Usage) -> Vec<Value> {
        let parts = count.clamp(2, self.words.len() + 1) - 1;
        let mut chunks: Vec<Value> = (0..parts)
            .map(|n| {
                let (from, to) = (n * self.words.len() / parts, (n + 1) * self.words.len() / parts);
                let delta = json!({ "role": "assistant", "content": self.words[from..to].concat() });
                self.shell(json!([{ "index": 0, "delta": delta }]), None)
            })
            .collect();
        let empty = json!({ "role": "assistant", "content": "" });
        let end = json!([{ "index": 0, "delta": empty, "finish_reason": "stop" }]);
        chunks.push(self.shell(end, (usage == Usage::InLast).then(|| self.usage())));
        if usage == Usage::After {
            chunks.push(self.shell(json!([]), Some(self.usage())));
        }
        chunks
    }

    fn shell(&self, choices: Value, usage: Option<Value>) -> Value {
        let mut chunk = json!({ "id": self.id, "model": self.model, "created": self.created, "choices": choices });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        chunk
    }
}
