//! Walks a tree along the table of keys and collects every fault on its way.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::fault::{Faults, Place, Source, Wrong, quote};
use super::file::{Origin, Written, WrittenOrchestrator, WrittenRunner};
use super::hints;
use super::keys::{Key, Section, orchestrator, runner_item, sections};
use super::redact::redact;
use super::tree::{self, Entry, Kind, LARGEST_TEXT, Node, NotYaml};

/// What has been read so far.
pub(super) struct Reader {
    pub written: Written,
    pub faults: Faults,
    /// Where each key that is set stands, by its full name.
    pub places: BTreeMap<String, Place>,
    /// Lists that are misshapen, which was told.
    pub misshapen: BTreeSet<&'static str>,
    /// Nothing is known of a file that could not be taken apart; what it lacks is not told.
    pub unreadable: bool,
    /// Places of values that could not be read.
    faulty: BTreeSet<Place>,
    pub origins: BTreeMap<String, Origin>,
    pub sections: Vec<Section>,
    pub orchestrator_keys: Vec<Key<WrittenOrchestrator>>,
    pub runner_keys: Vec<Key<WrittenRunner>>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {
            written: Written::default(),
            faults: Faults::default(),
            places: BTreeMap::new(),
            misshapen: BTreeSet::new(),
            unreadable: false,
            faulty: BTreeSet::new(),
            origins: BTreeMap::new(),
            sections: sections(),
            orchestrator_keys: orchestrator(),
            runner_keys: runner_item(),
        }
    }

    /// Takes in a whole file.
    pub(super) fn file(&mut self, name: &str, text: &str) {
        if text.len() > LARGEST_TEXT {
            self.source(name, "", None);
            let cause = format!("the file has {} bytes, the most is {LARGEST_TEXT}", text.len());
            return self.refused(None, Wrong::new("E105", cause, "give the path of a configuration"));
        }
        let tree = match tree::parse(text) {
            Ok(tree) => tree,
            Err(why) => {
                let source = self.source(name, text, None);
                self.unreadable = true;
                return self.not_yaml(source, text, &why);
            }
        };
        let source = self.source(name, text, Some(&tree));
        self.top(source, &tree);
    }

    /// A fault of the file as a whole.
    pub(super) fn refused(&mut self, place: Option<Place>, wrong: Wrong) {
        self.unreadable = true;
        self.faults.add(place, wrong);
    }

    pub(super) fn source(&mut self, name: &str, text: &str, tree: Option<&Node>) -> usize {
        self.faults.sources.push(Source { name: name.to_owned(), shown: redact(text, tree) });
        self.faults.sources.len() - 1
    }

    pub(super) fn wrong(&mut self, source: usize, span: &Range<usize>, wrong: Wrong) {
        self.faulty.insert(Place::new(source, span));
        let mut wrong = wrong;
        for wrong in std::mem::take(&mut wrong.also).into_iter().chain([wrong]) {
            let span = wrong.at.clone().unwrap_or_else(|| span.clone());
            self.faults.add(Some(Place::new(source, &span)), wrong);
        }
    }

    /// Tabs are told one by one: each has to go.
    fn not_yaml(&mut self, source: usize, text: &str, why: &NotYaml) {
        let mut start = 0;
        let mut tabs = 0;
        for line in text.split_inclusive('\n') {
            let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
            if let Some(at) = indent.find('\t')
                && !line.trim().is_empty()
                && tabs < 20
            {
                tabs += 1;
                let wrong = Wrong::new("E103", "a tab indents this line", "indent by blanks; YAML knows no tabs");
                self.wrong(source, &(start + at..start + indent.len()), wrong);
            }
            start += line.len();
        }
        if tabs > 0 {
            return;
        }
        let said = why.said.lines().next().unwrap_or_default();
        let said = said.rsplit_once(" at line ").map_or(said, |(front, _)| front);
        if said.starts_with("multiple YAML documents") {
            let wrong = Wrong::new("E102", "a second document begins above this", "keep one, and remove its `---`");
            return self.wrong(source, &(why.at..why.at + 1), wrong);
        }
        let cause = format!("this is not YAML: {}", said.chars().take(160).collect::<String>());
        let remedy = "mend this line or the one above it: blanks after `:`, closed quotes and brackets, even indents";
        self.wrong(source, &(why.at..why.at + 1), Wrong::new("E102", cause, remedy));
    }

    fn top(&mut self, source: usize, tree: &Node) {
        let Kind::Map(entries) = &tree.kind else {
            let cause =
                if tree.kind == Kind::Null { "the file is empty" } else { "the file is not a mapping of sections" };
            let remedy = "begin with `pool:`; `openpool-proxy init` writes a working file";
            let place = Place::new(source, &(tree.span.start..tree.span.start));
            return self.refused(Some(place), Wrong::new("E106", cause, remedy));
        };
        for entry in self.once(source, "", entries) {
            match entry.key.as_str() {
                "orchestrators" => self.list::<WrittenOrchestrator>(source, &entry.value, &entry.key_span),
                "runners" => self.list::<WrittenRunner>(source, &entry.value, &entry.key_span),
                name if !name.is_empty() && self.sections.iter().any(|s| s.name == name) => {
                    self.section(source, entry);
                }
                name => self.key(source, name, "", entry),
            }
        }
    }

    /// Entries without those whose key was there before.
    pub(super) fn once<'a>(&mut self, source: usize, section: &str, entries: &'a [Entry]) -> Vec<&'a Entry> {
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let mut kept = Vec::new();
        for entry in entries {
            if entry.key == "<<" {
                let remedy = "write the keys out";
                self.wrong(source, &entry.key_span, Wrong::new("E107", "merge keys are not used here", remedy));
                continue;
            }
            match first.get(entry.key.as_str()) {
                None => {
                    first.insert(&entry.key, entry.key_span.start);
                    kept.push(entry);
                }
                Some(at) => {
                    let line = self.faults.sources.get(source).map_or(0, |s| s.line_column(*at).0);
                    let within = if section.is_empty() { String::new() } else { format!(" in `{section}`") };
                    let cause = format!("{} is set twice{within}", quote(&entry.key));
                    let wrong = Wrong::new("E104", cause, format!("keep one: the first is on line {line}"));
                    self.wrong(source, &entry.key_span, wrong);
                }
            }
        }
        kept
    }

    fn section(&mut self, source: usize, section: &Entry) {
        self.places.insert(section.key.clone(), Place::new(source, &section.key_span));
        let entries = match &section.value.kind {
            Kind::Map(entries) => entries,
            Kind::Null => return,
            _ => {
                let wrong = Wrong::new("E106", format!("`{}` is a section, not a value", section.key), {
                    format!("write its keys below it, indented; `{}:` alone is right, too", section.key)
                });
                return self.wrong(source, &section.value.span, wrong);
            }
        };
        for entry in self.once(source, &section.key, entries) {
            self.key(source, &format!("{}.{}", section.key, entry.key), &section.key, entry);
        }
    }

    fn key(&mut self, source: usize, full: &str, section: &str, entry: &Entry) {
        let found = self.sections.iter().filter(|s| s.name == section).flat_map(|s| &s.keys).find(|k| k.name == full);
        let Some(key) = found else {
            let within = if section.is_empty() { String::new() } else { format!(" in `{section}`") };
            let cause = format!("unknown key {}{within}", quote(&entry.key));
            let remedy = hints::unknown(&entry.key, section, &self.sections);
            return self.wrong(source, &entry.key_span, Wrong::new("E207", cause, remedy));
        };
        let origin = self.origin(source, entry.key_span.start);
        match (key.set)(&mut self.written, full, &entry.value) {
            Ok(()) => self.note(full, Place::new(source, &entry.value.span), origin),
            Err(wrong) => {
                let span = place_of_value(entry);
                self.note(full, Place::new(source, &span), origin);
                self.wrong(source, &span, wrong);
            }
        }
    }

    pub(super) fn note(&mut self, name: &str, place: Place, origin: Origin) {
        self.places.insert(name.to_owned(), place);
        self.origins.insert(name.to_owned(), origin);
    }

    pub(super) fn origin(&self, source: usize, at: usize) -> Origin {
        self.faults.sources.get(source).map_or(Origin::Default, |s| match s.name.strip_prefix("env ") {
            Some(variable) => Origin::Variable(variable.to_owned()),
            None => Origin::File { path: s.name.clone(), line: s.line_column(at).0 },
        })
    }

    /// Whether a fault was told at this key already.
    pub(super) fn is_faulty(&self, name: &str) -> bool {
        let Some(place) = self.places.get(name) else { return false };
        self.faulty.contains(place)
    }
}

/// A value's place, or its key's when nothing was written.
pub(super) fn place_of_value(entry: &Entry) -> Range<usize> {
    if entry.value.kind == Kind::Null { entry.key_span.clone() } else { entry.value.span.clone() }
}

/// The first thing written in an item.
pub(super) fn first_of(item: &Node) -> Range<usize> {
    match &item.kind {
        Kind::Map(entries) => entries.first().map_or(item.span.clone(), |e| e.key_span.clone()),
        _ => item.span.clone(),
    }
}
