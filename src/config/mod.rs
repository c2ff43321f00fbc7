//! One YAML file and the environment, turned into settings; or all that is wrong with them.
mod ai_forms;
#[cfg(test)]
mod ai_tests;
mod env;
mod example;
mod fault;
mod file;
mod forms;
mod hints;
mod items;
mod keys;
mod meaning;
mod reader;
mod redact;
mod runner_forms;
mod secret;
pub mod settings;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;
mod tree;
mod units;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use env::of_process;
pub use example::{example, init_text};
pub use fault::{CODES, Fault, Faults};
pub use file::Origin;
use items::Item;
use reader::Reader;
use settings::Settings;

/// Where the configuration is looked for when nobody names it.
pub const PLACES: [&str; 2] = ["openpool.yaml", "/etc/openpool/proxy.yaml"];

/// A configuration that has no fault.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub path: PathBuf,
    pub settings: Settings,
    /// Every key in the order of the file; secrets are shown as their references.
    pub rows: Vec<Row>,
}

/// One key as `config show` prints it.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    /// None: not set, and without a default.
    pub value: Option<String>,
    pub unit: &'static str,
    pub origin: Origin,
    pub sentence: &'static str,
}

/// Reads file, environment and secrets. Every fault is told, not just the first.
pub fn load(path: &Path, env: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Box<Faults>> {
    let env: BTreeMap<String, String> = env.into_iter().collect();
    let mut reader = Reader::new();
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => reader.file(&name, &text),
        Err(why) => {
            reader.source(&name, "", None);
            let remedy = "`openpool-proxy init` writes one; `--config FILE` or OPENPOOL_CONFIG names another";
            reader.refused(None, fault::Wrong::new("E101", format!("the configuration cannot be read: {why}"), remedy));
        }
    }
    if !reader.unreadable {
        env::overlay(&mut reader, &env);
    }
    finish(reader, path, &|name, reference| secret::read(name, reference, &env))
}

/// A text without its environment; secrets are taken for good. For what is yet to be written.
pub fn of_text(name: &str, text: &str) -> Result<Loaded, Box<Faults>> {
    let mut reader = Reader::new();
    reader.file(name, text);
    finish(reader, Path::new(name), &|_, _| Ok("secret".to_owned()))
}

/// For a text of unknown origin: all of reading and drawing, without touching file or environment.
/// Returns what would be printed.
pub fn check_text(text: &str) -> String {
    match of_text("text", text) {
        Ok(loaded) => format!("{} keys\n", loaded.rows.len()),
        Err(faults) => faults.render(false),
    }
}

/// The file to read: the one named, that of OPENPOOL_CONFIG, or the first that is there.
pub fn find(named: Option<&Path>, env: &BTreeMap<String, String>) -> PathBuf {
    if let Some(path) = named {
        return path.to_owned();
    }
    if let Some(path) = env.get("OPENPOOL_CONFIG").filter(|p| !p.is_empty()) {
        return PathBuf::from(path);
    }
    let there = PLACES.iter().find(|p| Path::new(p).exists());
    PathBuf::from(there.unwrap_or(&PLACES[0]))
}

fn read_file(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let say = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    };
    if std::fs::metadata(path).map_err(say)?.is_dir() {
        return Err("it is a folder".into());
    }
    let mut bytes = Vec::new();
    let most = tree::LARGEST_TEXT as u64 + 1;
    std::fs::File::open(path).and_then(|f| f.take(most).read_to_end(&mut bytes)).map_err(say)?;
    String::from_utf8(bytes).map_err(|bad| format!("byte {} is not UTF-8", bad.utf8_error().valid_up_to()))
}

fn finish(mut reader: Reader, path: &Path, read: meaning::ReadSecret) -> Result<Loaded, Box<Faults>> {
    let settings = if reader.unreadable { None } else { meaning::settle(&mut reader, read) };
    match settings {
        Some(settings) => Ok(Loaded { path: path.to_owned(), settings, rows: rows(&reader) }),
        None => {
            reader.faults.sort();
            Err(Box::new(reader.faults))
        }
    }
}

fn rows(reader: &Reader) -> Vec<Row> {
    let origin = |key: &str| reader.origins.get(key).cloned().unwrap_or(Origin::Default);
    let mut rows = Vec::new();
    for section in &reader.sections {
        rows.extend(section.keys.iter().map(|key| Row {
            key: key.name.to_owned(),
            value: (key.show)(&reader.written),
            unit: key.unit,
            origin: origin(key.name),
            sentence: key.sentence,
        }));
        match section.name {
            "pool" => rows.extend(item_rows(reader, &reader.written.orchestrators)),
            "runner" => rows.extend(item_rows(reader, &reader.written.runners)),
            _ => {}
        }
    }
    rows
}

fn item_rows<T: Item>(reader: &Reader, items: &[T]) -> Vec<Row> {
    let row = |index: usize, item: &T, key: &keys::Key<T>| {
        let full = format!("{}[{index}].{}", T::LIST, key.name);
        let origin = reader.origins.get(&full).cloned().unwrap_or(Origin::Default);
        Row { key: full, value: (key.show)(item), unit: key.unit, origin, sentence: key.sentence }
    };
    let rows =
        items.iter().enumerate().flat_map(|(index, item)| T::keys(reader).iter().map(move |key| row(index, item, key)));
    rows.collect()
}
