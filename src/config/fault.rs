//! Faults: what is wrong, where, and what to do; all of them, in the order of the file.
use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::redact::Redacted;
use super::tree::floor;

/// Every code that a fault may have, and what it stands for. Codes are never given a new meaning.
pub const CODES: &[(&str, &str)] = &[
    ("E101", "the file cannot be read"),
    ("E102", "the file is not YAML"),
    ("E103", "a tab indents a line"),
    ("E104", "a key is set twice"),
    ("E105", "the file is too large"),
    ("E106", "a section is not a mapping, or the file is empty"),
    ("E107", "aliases, anchors and merge keys are not used here"),
    ("E201", "a required key is missing"),
    ("E202", "a list or mapping stands where one value belongs, or the other way round"),
    ("E203", "a key has no value"),
    ("E207", "unknown key"),
    ("E208", "unknown environment variable"),
    ("E301", "not a whole number"),
    ("E302", "not a time"),
    ("E303", "not a size"),
    ("E304", "not a number"),
    ("E305", "not true or false"),
    ("E306", "not an address"),
    ("E307", "not a URL"),
    ("E308", "not a price"),
    ("E309", "not a usable text"),
    ("E310", "out of range"),
    ("E311", "not a commission"),
    ("E312", "not a join mode"),
    ("E313", "not a pipeline"),
    ("E314", "not an Ethereum address"),
    ("E315", "not a certificate's fingerprint"),
    ("E401", "a secret stands in the file"),
    ("E402", "a secret's file cannot be read"),
    ("E403", "a secret's file is open to others"),
    ("E404", "a secret's environment variable is not set"),
    ("E405", "a secret is empty or not usable"),
    ("E501", "two listeners on one port"),
    ("E502", "the operator port is open to the network"),
    ("E503", "the join mode and the pool's secret do not fit"),
    ("E504", "a certificate without its key, or the other way round"),
    ("E505", "an orchestrator, a runner or a model is named twice"),
    ("E506", "two values contradict one another"),
    ("E507", "the runner port is open to the network without a token"),
    ("E508", "no orchestrator of that name"),
];

/// A text that faults point into: the file, or the value of a variable.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: String,
    pub shown: Redacted,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into the sources.
    pub source: usize,
    pub start: usize,
    pub end: usize,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
    pub(super) place: Option<Place>,
}

/// All faults of one reading.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub(super) sources: Vec<Source>,
    list: Vec<Fault>,
}

/// A fault found in a value, before its place is known.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub code: &'static str,
    pub cause: String,
    pub remedy: String,
    /// Where, when it is not the whole value.
    pub at: Option<Range<usize>>,
    /// More that is wrong in the same value, each with its own place.
    pub also: Vec<Wrong>,
}

/// More faults than this are counted, not kept.
const MOST: usize = 200;
/// A longer line is not drawn.
const LONGEST_LINE: usize = 400;

// === impl Wrong ===

impl Wrong {
    pub(super) fn new(code: &'static str, cause: impl Into<String>, remedy: impl Into<String>) -> Wrong {
        Wrong { code, cause: cause.into(), remedy: remedy.into(), at: None, also: Vec::new() }
    }

    pub(super) fn at(mut self, span: &Range<usize>) -> Wrong {
        self.at = Some(span.clone());
        self
    }

    /// All that is wrong in one value; None: nothing is.
    pub(super) fn all(wrongs: Vec<Wrong>) -> Option<Wrong> {
        let mut wrongs = wrongs.into_iter();
        let mut first = wrongs.next()?;
        first.also.extend(wrongs);
        Some(first)
    }
}

// === impl Place ===

impl Place {
    pub(super) fn new(source: usize, span: &Range<usize>) -> Place {
        Place { source, start: span.start, end: span.end }
    }
}

// === impl Source ===

impl Source {
    /// Line and column, from 1; the column counts characters.
    pub(super) fn line_column(&self, at: usize) -> (usize, usize) {
        let (start, line) = self.line(at);
        let before = self.shown.text.get(start..floor(&self.shown.text, at)).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// Start and number of the line that holds `at`.
    fn line(&self, at: usize) -> (usize, usize) {
        let bytes = self.shown.text.as_bytes();
        let before = bytes.get(..at.min(bytes.len())).unwrap_or_default();
        let start = memchr::memrchr(b'\n', before).map_or(0, |n| n + 1);
        (start, memchr::memchr_iter(b'\n', before).count() + 1)
    }
}

// === impl Faults ===

impl Faults {
    pub(super) fn add(&mut self, place: Option<Place>, wrong: Wrong) {
        if self.list.len() < MOST {
            self.list.push(Fault { code: wrong.code, cause: wrong.cause, remedy: wrong.remedy, place });
        }
    }

    /// In file order; what has no place comes first, variables after the file.
    pub(super) fn sort(&mut self) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        for fault in &mut self.list {
            for hidden in self.sources.iter().flat_map(|s| &s.shown.hidden) {
                wipe(&mut fault.cause, hidden);
                wipe(&mut fault.remedy, hidden);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter()
    }

    /// Name of the text, line and column of a fault.
    pub fn place_of(&self, fault: &Fault) -> Option<(&str, usize, usize)> {
        let place = fault.place.as_ref()?;
        let source = self.sources.get(place.source)?;
        let (line, column) = source.line_column(place.start);
        Some((&source.name, line, column))
    }

    /// Drawn for a screen; `colour` for a terminal that wants it.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.term_width(120);
        let groups: Vec<Group> = self.list.iter().map(|fault| self.draw(fault)).collect();
        let drawn = renderer.render(&groups);
        // The renderer closes its first group by a bare bar; nothing follows it there, so it goes.
        let mut text = String::with_capacity(drawn.len());
        let mut lines = drawn.lines().filter(|line| !bare(line).is_empty()).peekable();
        while let Some(line) = lines.next() {
            if bare(line) != "|" || lines.peek().is_some_and(|next| !bare(next).starts_with("error")) {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        let count = self.list.len();
        let word = if count == 1 { "error" } else { "errors" };
        let more = if count == MOST { " or more" } else { "" };
        text.push_str(&format!("{count}{more} {word}\n"));
        text
    }

    fn draw<'a>(&'a self, fault: &'a Fault) -> Group<'a> {
        let title = Level::ERROR.primary_title(fault.cause.as_str()).id(fault.code);
        let found = fault.place.as_ref().and_then(|p| Some((p, self.sources.get(p.source)?)));
        let Some((place, source)) = found else {
            let group = match self.sources.first() {
                Some(source) => title.element(Origin::path(source.name.as_str())),
                None => Group::with_title(title),
            };
            return group.element(Level::HELP.message(fault.remedy.as_str()));
        };
        let (start, number) = source.line(place.start);
        let rest = source.shown.text.get(start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        if line.len() > LONGEST_LINE {
            let (line, column) = source.line_column(place.start);
            let origin = Origin::path(source.name.as_str()).line(line).char_column(column);
            return title.element(origin).element(Level::HELP.message(fault.remedy.as_str()));
        }
        // The renderer wants whole characters.
        let from = floor(line, place.start - start);
        let end = place.end.saturating_sub(start).clamp(from, line.len());
        let to = (end..=line.len()).find(|at| line.is_char_boundary(*at)).unwrap_or(from);
        let mark = AnnotationKind::Primary.span(from..to).label(fault.remedy.as_str());
        title.element(Snippet::source(line).line_start(number).path(source.name.as_str()).annotation(mark))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}

/// A drawn line without blanks and colours.
fn bare(line: &str) -> String {
    let mut plain = String::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(|c| c.is_ascii_alphabetic());
        } else {
            plain.push(letter);
        }
    }
    plain.trim().to_owned()
}

fn wipe(text: &mut String, hidden: &str) {
    if text.contains(hidden) {
        *text = text.replace(hidden, "***");
    }
}

/// A value in a message: short, one line, in back-quotes.
pub(super) fn quote(value: &str) -> String {
    let mut short: String = value.chars().take(40).flat_map(|c| c.escape_debug()).collect();
    if value.chars().nth(40).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}
