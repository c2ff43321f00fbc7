//! Whether an answer arrived as it was made.
use base64::Engine;
use bytes::Bytes;
use serde_json::Value;

use super::{Answer, Llm, Shape};

// === impl Answer ===

impl Answer {
    /// An answer by the runner road: files as data URLs.
    pub fn check_runner(&self, body: &Value) -> Result<(), String> {
        self.check(body, |url| {
            let coded = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).ok_or("no data URL")?;
            let bytes = base64::engine::general_purpose::STANDARD.decode(coded.1).map_err(|error| error.to_string())?;
            Ok(bytes.into())
        })
    }

    /// An answer by the worker road: each url names one of the files.
    pub fn check_worker(&self, body: &Value, files: &[(String, Bytes)]) -> Result<(), String> {
        if files.len() != self.files.len() {
            return Err(format!("{} files, not {}", files.len(), self.files.len()));
        }
        self.check(body, |url| {
            let found = files.iter().find(|(name, _)| name == url).ok_or(format!("no file {url}"))?;
            Ok(found.1.clone())
        })
    }

    fn check(&self, body: &Value, bytes: impl Fn(&str) -> Result<Bytes, String>) -> Result<(), String> {
        let mut urls = Vec::new();
        for (n, file) in self.files.iter().enumerate() {
            let place = match self.shape {
                Shape::Images(_) => format!("/images/{n}/url"),
                Shape::Frames(_) => format!("/frames/0/{n}/url"),
                _ => "/audio/url".to_owned(),
            };
            let url = body.pointer(&place).and_then(Value::as_str).ok_or(format!("no {place}"))?;
            if bytes(url)? != file.bytes {
                return Err(format!("{place}: not the bytes that were made"));
            }
            urls.push(url.to_owned());
        }
        let made = self.json(|n| urls.get(n).cloned().unwrap_or_default());
        if *body == made { Ok(()) } else { Err(format!("not as it was made: {body}, but {made}")) }
    }
}

// === impl Llm ===

impl Llm {
    /// The chunks that arrived of a stream, in order, by the rules that a stock peer survives.
    pub fn check_chunks(&self, chunks: &[Value]) -> Result<(), String> {
        let mut text = String::new();
        let mut ended = false;
        for (n, chunk) in chunks.iter().enumerate() {
            if ended {
                return Err(format!("chunk {n} comes after the end"));
            }
            let choice = chunk.pointer("/choices/0").ok_or(format!("chunk {n} has no choice"))?;
            text += choice.pointer("/delta/content").and_then(Value::as_str).ok_or(format!("chunk {n}: no delta"))?;
            ended = choice.get("finish_reason").and_then(Value::as_str).is_some_and(|reason| !reason.is_empty());
            let named = chunk.get("id").and_then(Value::as_str) == Some(&self.id);
            if !named || chunk.get("model").and_then(Value::as_str) != Some(&self.model) {
                return Err(format!("chunk {n} is of another answer"));
            }
        }
        match () {
            () if !ended => Err("no end".into()),
            () if text != self.text() => Err("not the text that was made".into()),
            () => Ok(()),
        }
    }
}
