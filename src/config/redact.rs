//! What is drawn of a text when something is wrong with it: the same length, no secrets.
use std::fmt;
use std::ops::Range;

use super::tree::{Kind, Node};

const SECRET_WORDS: [&str; 12] = [
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "private_key",
    "privatekey",
    "apikey",
    "api_key",
    "authorization",
    "mnemonic",
];

/// Whether what stands under this key is nobody's business.
pub(super) fn secret_name(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `file:` and `env:` name a secret without being one.
pub(super) fn is_reference(text: &str) -> bool {
    text.starts_with("file:") || text.starts_with("env:")
}

/// A text that may be shown, and the words that must not be.
#[derive(Clone, Default)]
pub(super) struct Redacted {
    pub text: String,
    /// Secrets that were found, to be wiped from messages, too.
    pub hidden: Vec<String>,
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redacted({:?})", self.text)
    }
}

/// Masks by the tree where there is one, and by the look of each line in any case.
pub(super) fn redact(text: &str, tree: Option<&Node>) -> Redacted {
    let mut masks = Vec::new();
    let mut hidden = Vec::new();
    if let Some(tree) = tree {
        by_tree(tree, false, &mut masks, &mut hidden);
    }
    by_look(text, tree.is_none(), &mut masks);
    if tree.is_none() {
        let words = masks.iter().filter_map(|m| text.get(m.clone())).flat_map(|part| {
            part.split(|c: char| c.is_whitespace() || "\"'`,{}[]".contains(c)).map(str::to_owned).collect::<Vec<_>>()
        });
        hidden.extend(words);
    }
    hidden.retain(|word| word.len() >= 4);
    hidden.sort_by_key(|word| std::cmp::Reverse(word.len()));
    hidden.dedup();
    hidden.truncate(1_000);
    Redacted { text: mask(text, &masks), hidden }
}

/// Replaces every letter by a star, byte by byte, so that places stay right. Line ends stay.
fn mask(text: &str, masks: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in masks {
        for byte in bytes.get_mut(range.clone()).unwrap_or_default() {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b'*';
            }
        }
    }
    // Masks begin and end at characters, so this always is UTF-8; if not, show nothing.
    String::from_utf8(bytes).unwrap_or_else(|bad| "*".repeat(bad.as_bytes().len()))
}

fn by_tree(node: &Node, secret: bool, masks: &mut Vec<Range<usize>>, hidden: &mut Vec<String>) {
    match &node.kind {
        Kind::Null => {}
        Kind::Scalar(text) => {
            if (secret && !is_reference(text)) || text.contains("PRIVATE KEY") {
                masks.push(node.span.clone());
                hidden.push(text.trim().to_owned());
            }
        }
        Kind::List(items) => items.iter().for_each(|item| by_tree(item, secret, masks, hidden)),
        Kind::Map(entries) => {
            for entry in entries {
                if secret {
                    masks.push(entry.key_span.clone());
                }
                by_tree(&entry.value, secret || secret_name(&entry.key), masks, hidden);
            }
        }
    }
}

/// Masks what follows `...secret...:` on a line (but a reference), user:password in addresses, and,
/// when the text is no YAML, what hangs below such a line.
fn by_look(text: &str, no_tree: bool, masks: &mut Vec<Range<usize>>) {
    let mut start = 0;
    // The indent of a secret key whose value may go on below; `all` after an open quote.
    let mut below: Option<usize> = None;
    let mut all = false;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches(['\n', '\r']);
        let range = start..start + body.len();
        let indent = body.len() - body.trim_start().len();
        start += line.len();
        if all || below.is_some_and(|least| indent > least && !body.trim().is_empty()) {
            masks.push(range);
            continue;
        }
        if !body.trim().is_empty() {
            below = None;
        }
        masks.extend(user_info(body).map(|r| range.start + r.start..range.start + r.end));
        let Some(value_at) = secret_value(body) else { continue };
        let value = &body[value_at..];
        let kept = reference_len(value);
        masks.push(range.start + value_at + kept..range.end);
        if no_tree && kept == 0 {
            below = Some(indent);
            all = value.matches(['"', '\'']).count() % 2 == 1;
        }
    }
}

/// Where the value of a secret-like key begins on this line.
fn secret_value(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let word = SECRET_WORDS.iter().filter_map(|word| lower.find(word)).min()?;
    let rest = &line[word..];
    // The rest of the key, then its colon; prose about secrets has blanks between.
    let colon = rest.find([':', '='])?;
    let key_tail = rest[..colon].trim_end_matches(['"', '\'', ' ', '\t']);
    if key_tail.contains(char::is_whitespace) {
        return None;
    }
    let value = &rest[colon + 1..];
    Some(word + colon + 1 + (value.len() - value.trim_start().len()))
}

/// How much of a value is a reference that may be shown.
fn reference_len(value: &str) -> usize {
    let quoted = usize::from(value.starts_with(['"', '\'']));
    if !is_reference(&value[quoted..]) {
        return 0;
    }
    let rest = &value[quoted..];
    let end = rest.find(|c: char| c.is_whitespace() || ",}]\"'".contains(c)).unwrap_or(rest.len());
    quoted + end + usize::from(quoted > 0 && rest[end..].starts_with(['"', '\'']))
}

/// `user:password` of an address.
fn user_info(line: &str) -> Option<Range<usize>> {
    let at = line.find("://")? + 3;
    let end = line[at..].find(|c: char| c.is_whitespace() || "/\"',}]".contains(c)).map_or(line.len(), |n| at + n);
    line[at..end].rfind('@').map(|n| at..at + n)
}
