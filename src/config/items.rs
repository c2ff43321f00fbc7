//! The lists of the configuration whose items are mappings: orchestrators, runners.
use std::ops::Range;

use super::fault::{Place, Wrong, quote};
use super::file::{Written, WrittenOrchestrator, WrittenRunner};
use super::hints;
use super::keys::Key;
use super::reader::{Reader, first_of, place_of_value};
use super::tree::{Entry, Kind, Node};

/// One item of such a list.
pub(super) trait Item: Clone + Default + 'static {
    /// The list's key.
    const LIST: &'static str;
    /// One of them, in words.
    const ONE: &'static str;
    /// The most items of one pool.
    const MOST: usize;
    /// Keys without which an item is none.
    const MUST: &'static [&'static str];
    /// How an item is written.
    const REMEDY: &'static str;
    fn all(written: &mut Written) -> &mut Vec<Self>;
    fn keys(reader: &Reader) -> &[Key<Self>];
}

// === impl Item ===

impl Item for WrittenOrchestrator {
    const LIST: &'static str = "orchestrators";
    const ONE: &'static str = "an orchestrator";
    const MOST: usize = 64;
    const MUST: &'static [&'static str] = &["url", "secret"];
    const REMEDY: &'static str = "write `- url:` and `secret:` below `orchestrators:`";
    fn all(written: &mut Written) -> &mut Vec<Self> {
        &mut written.orchestrators
    }
    fn keys(reader: &Reader) -> &[Key<Self>] {
        &reader.orchestrator_keys
    }
}

impl Item for WrittenRunner {
    const LIST: &'static str = "runners";
    const ONE: &'static str = "a runner";
    const MOST: usize = 1_000;
    const MUST: &'static [&'static str] = &["url", "models"];
    const REMEDY: &'static str = "write `- url:` and `models:` below `runners:`";
    fn all(written: &mut Written) -> &mut Vec<Self> {
        &mut written.runners
    }
    fn keys(reader: &Reader) -> &[Key<Self>] {
        &reader.runner_keys
    }
}

// === impl Reader ===

impl Reader {
    /// A whole list; a later one replaces an earlier one.
    pub(super) fn list<T: Item>(&mut self, source: usize, node: &Node, key_span: &Range<usize>) {
        T::all(&mut self.written).clear();
        self.places.insert(T::LIST.into(), Place::new(source, key_span));
        let items = match &node.kind {
            Kind::List(items) => items,
            Kind::Null => return,
            _ => {
                self.misshapen.insert(T::LIST);
                let cause = format!("`{}` is a list, one item {}", T::LIST, T::ONE);
                return self.wrong(source, &node.span, Wrong::new("E202", cause, T::REMEDY));
            }
        };
        if items.len() > T::MOST {
            let cause = format!("{} {}, the most is {}", items.len(), T::LIST, T::MOST);
            self.wrong(source, key_span, Wrong::new("E310", cause, "run a second pool for the others"));
        }
        for item in items.iter().take(T::MOST) {
            let Kind::Map(entries) = &item.kind else {
                self.misshapen.insert(T::LIST);
                let cause = format!("{} is a mapping", T::ONE);
                self.wrong(source, &item.span, Wrong::new("E202", cause, T::REMEDY));
                continue;
            };
            let all = T::all(&mut self.written);
            let index = all.len();
            all.push(T::default());
            self.places.insert(format!("{}[{index}]", T::LIST), Place::new(source, &first_of(item)));
            for entry in self.once(source, T::LIST, entries) {
                self.list_key::<T>(source, index, entry);
            }
        }
    }

    /// One key of one item.
    pub(super) fn list_key<T: Item>(&mut self, source: usize, index: usize, entry: &Entry) {
        let full = format!("{}[{index}].{}", T::LIST, entry.key);
        let mut target = T::all(&mut self.written).get(index).cloned();
        let found = T::keys(self).iter().find(|k| k.name == entry.key);
        let (Some(key), Some(item)) = (found, &mut target) else {
            let cause = format!("unknown key {} in `{}`", quote(&entry.key), T::LIST);
            let remedy = hints::unknown(&entry.key, T::LIST, &self.sections);
            return self.wrong(source, &entry.key_span, Wrong::new("E207", cause, remedy));
        };
        let result = match entry.value.kind {
            // A key that was begun and left empty is a slip here: nothing of it has a default.
            Kind::Null if T::MUST.contains(&key.name) => {
                let remedy = format!("write its value after `{}:`", key.name);
                Err(Wrong::new("E203", format!("`{full}` has no value"), remedy))
            }
            _ => (key.set)(item, &full, &entry.value),
        };
        if let (Some(slot), Some(item)) = (T::all(&mut self.written).get_mut(index), target) {
            *slot = item;
        }
        let span = place_of_value(entry);
        let origin = self.origin(source, entry.key_span.start);
        self.note(&full, Place::new(source, &span), origin);
        if let Err(wrong) = result {
            self.wrong(source, &span, wrong);
        }
    }
}
