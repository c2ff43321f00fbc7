//! YAML text into a tree whose every node knows its place, so that all faults of a file can be told at once.
use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

/// The largest text we read, bytes. A full file with every key is under 40 kB.
pub(super) const LARGEST_TEXT: usize = 256 << 10;

/// A value as written, and the bytes where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub kind: Kind,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    /// A plain scalar keeps its spelling: `0.70` stays `0.70`.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

/// Why a text is no tree: where, and what the parser said of it.
#[derive(Debug)]
pub(super) struct NotYaml {
    pub at: usize,
    pub said: String,
}

/// Parses one document. Duplicate keys are kept: telling of them is the walker's task.
pub(super) fn parse(text: &str) -> Result<Node, NotYaml> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        budget: serde_saphyr::budget! {
            max_depth: 24,
            max_nodes: 8_000,
            max_events: 40_000,
            max_anchors: 64,
            max_aliases: 64,
            flow_nesting_limit: 24,
        },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(place(raw, text)),
        Err(error) => {
            let at = error.location().map(|l| offset(text, l)).unwrap_or(0);
            Err(NotYaml { at, said: error.without_snippet().to_string() })
        }
    }
}

// === impl Node ===

impl Node {
    pub(super) fn scalar(text: &str) -> Node {
        Node { kind: Kind::Scalar(text.to_owned()), span: 0..text.len() }
    }
}

/// What serde hands over, before spellings are taken from the text.
enum Raw {
    Null,
    /// Something that YAML takes for a number or a boolean: its spelling is in the text.
    Plain,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

/// Byte offset of a place; lines and columns are the fallback when the parser kept no bytes.
fn offset(text: &str, at: serde_saphyr::Location) -> usize {
    if let Some(byte) = at.span().byte_offset() {
        return floor(text, usize::try_from(byte).unwrap_or(usize::MAX));
    }
    let line = usize::try_from(at.line()).unwrap_or(1).max(1);
    let column = usize::try_from(at.column()).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let row = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    start + row.char_indices().nth(column - 1).map_or(row.len(), |(i, _)| i)
}

/// The nearest start of a character at or before `at`.
pub(super) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn range(text: &str, at: serde_saphyr::Location) -> Range<usize> {
    let start = offset(text, at);
    let bytes = at.span().byte_len().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let end = floor(text, start.saturating_add(bytes)).max(start);
    // A block scalar's span reaches over the line ends that follow it.
    let written = text.get(start..end).unwrap_or_default().trim_end().len();
    start..start + written
}

fn place(raw: Spanned<Raw>, text: &str) -> Node {
    let span = range(text, raw.referenced);
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Plain => {
            let spelled = text.get(range(text, raw.defined)).unwrap_or_default().trim();
            Kind::Scalar(spelled.to_owned())
        }
        Raw::Text(text) => Kind::Scalar(text),
        Raw::List(items) => Kind::List(items.into_iter().map(|item| place(item, text)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_span: range(text, key.referenced),
                    key: key.value,
                    value: place(value, text),
                })
                .collect(),
        ),
    };
    Node { kind, span }
}

// === impl Raw ===

struct RawVisitor;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a mapping")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Plain)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
