//! What a language model says: whole answers, and chunks of one.
use std::borrow::Cow;

use serde::Deserialize;

/// Tokens as the model counted them; for the record, not for the charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    pub completion: u64,
    pub total: u64,
}

/// The keys that every hop reads: a wrong type in one of them fails the whole for a stock program.
#[derive(Deserialize)]
pub(super) struct Spoken<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) created: Option<i64>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    usage: Option<RawUsage>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[allow(dead_code, reason = "its type is what is checked")]
    index: Option<i64>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) message: Option<Said<'a>>,
    #[allow(dead_code, reason = "its type is what is checked")]
    #[serde(borrow)]
    delta: Option<Said<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "their types are what is checked")]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawUsage {
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    total_tokens: Option<i64>,
}

// === impl Usage ===

impl Usage {
    pub fn is_zero(&self) -> bool {
        *self == Usage::default()
    }

    pub(super) fn json(&self) -> String {
        let Usage { prompt, completion, total } = self;
        format!("{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}}}")
    }
}

// === impl Spoken ===

impl<'a> Spoken<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Spoken<'a>, String> {
        super::json::parse(json)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.choices.as_ref().is_none_or(Vec::is_empty)
    }

    /// The first choice has its `finish_reason`: a stock program reads no further.
    pub(super) fn is_last(&self) -> bool {
        let first = self.choices.as_ref().and_then(|choices| choices.first());
        first.and_then(|choice| choice.finish_reason.as_ref()).is_some_and(|reason| !reason.is_empty())
    }

    /// `None` when it is absent or zero.
    pub(super) fn usage(&self) -> Option<Usage> {
        let count = |tokens: Option<i64>| tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(0);
        let usage = self.usage.as_ref().map(|raw| Usage {
            prompt: count(raw.prompt_tokens),
            completion: count(raw.completion_tokens),
            total: count(raw.total_tokens),
        });
        usage.filter(|usage| !usage.is_zero())
    }
}
