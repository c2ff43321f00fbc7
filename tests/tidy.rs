//! House rules, checked: layering, package homes, sizes, and words that must not be here.
#![allow(clippy::unwrap_used, reason = "what cannot be read ends the test")]
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms of ours a room may import. `None` in the list: everything.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &["domain"]),
    ("wire", &["domain", "wire"]),
    ("policy", &["domain", "policy"]),
    ("state", &["domain", "state", "telemetry"]),
    ("telemetry.rs", &["domain", "telemetry"]),
    ("pool", &["domain", "policy", "state", "pool", "telemetry"]),
    ("transport", &["telemetry", "transport"]),
    ("planes/worker", &["domain", "wire", "pool", "transport", "telemetry", "planes::worker"]),
    ("planes/uplink", &["domain", "wire", "pool", "transport", "telemetry", "planes::uplink"]),
    ("planes/runner", &["domain", "wire", "pool", "transport", "telemetry", "planes::runner"]),
    ("planes/admin", &["domain", "wire", "pool", "transport", "telemetry", "planes::admin"]),
    ("config", &["domain", "policy", "pool", "transport", "planes", "config"]),
];

/// Packages with one home.
const HOMES: &[(&str, &[&str])] = &[
    ("dashmap", &["state", "pool"]),
    ("governor", &["state"]),
    ("arc_swap", &["pool/rulebook.rs"]),
    ("serde_saphyr", &["config"]),
    ("rustls", &["transport", "sim"]),
    ("tokio_rustls", &["transport", "planes/runner", "sim"]),
    ("pingora_core", &["planes/runner", "app"]),
    ("pingora_error", &["planes/runner"]),
    ("pingora_http", &["planes/runner"]),
    ("pingora_proxy", &["planes/runner"]),
    ("tonic", &["transport", "planes", "wire", "sim"]),
    ("axum", &["transport", "planes"]),
    ("hyper", &["transport", "planes", "sim"]),
    ("metrics", &["telemetry.rs"]),
    ("rusqlite", &["state/store"]),
    ("tracing", &["telemetry.rs", "transport/tasks.rs", "cli", "main.rs"]),
];

/// A source file may have this many lines; its tests too.
const LONGEST_FILE: usize = 500;

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let Some((_, allowed)) = LAYERS.iter().find(|(room, _)| in_room(&file, room)) else { continue };
        if is_test(&file) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for import in imports(line) {
                if !allowed.iter().any(|room| import == *room || import.starts_with(&format!("{room}::"))) {
                    faults.push(format!("{}:{number}: imports crate::{import}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "a room reaches where it must not:\n{}", faults.join("\n"));
}

#[test]
fn packages_stay_in_their_homes() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        if is_test(&file) || file.ends_with("app.rs") {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for (package, homes) in HOMES {
                let used = [format!("use {package}::"), format!("{package}::")];
                let named = used.iter().any(|u| word(line, u));
                if named && !homes.iter().any(|home| in_room(&file, home)) {
                    faults.push(format!("{}:{number}: {package} lives in {homes:?}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "a package is used away from its home:\n{}", faults.join("\n"));
}

#[test]
fn files_are_small_and_say_what_they_are() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{}: {lines} lines, at most {LONGEST_FILE}", file.display()));
        }
        if !text.starts_with("//!") {
            faults.push(format!("{}: does not begin with a //! sentence", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn ground_and_policy_neither_wait_nor_lock_nor_log() {
    let banned = [".await", "Mutex", "RwLock", "tracing::", "SystemTime", "Instant::", "rand::rng()"];
    let mut faults = Vec::new();
    for (file, text) in sources() {
        if !(in_room(&file, "domain") || in_room(&file, "policy")) || is_test(&file) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "the ground floor is pure:\n{}", faults.join("\n"));
}

#[test]
fn money_has_no_floats() {
    let text = fs::read_to_string(root().join("src/domain/money.rs")).unwrap();
    let post = fs::read_to_string(root().join("src/state/store/ledger/post.rs")).unwrap();
    for (name, text) in [("money.rs", text), ("post.rs", post)] {
        for (number, line) in code_lines(&text) {
            assert!(!line.contains("f64") && !line.contains("f32"), "{name}:{number}: a float in money code");
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, by its path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the walk found {} files", files.len());
    files
}

fn walk(folder: &Path, files: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let below = path.strip_prefix(root().join("src")).unwrap().to_path_buf();
            files.push((below, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn in_room(file: &Path, room: &str) -> bool {
    file.starts_with(room)
}

fn is_test(file: &Path) -> bool {
    let name = file.file_stem().unwrap().to_string_lossy();
    name == "tests" || name.ends_with("_tests") || file.components().any(|c| c.as_os_str() == "tests")
}

/// Lines of code with their numbers: no comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

/// Paths after `crate::` in a line.
fn imports(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .map(|(at, _)| line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect())
        .collect()
}

/// `needle` in `line`, not as the end of a longer word or path.
fn word(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}
