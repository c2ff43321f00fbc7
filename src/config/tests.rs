//! Tests of the configuration: the corpus of broken files, the examples, the environment, secrets.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

#[test]
fn scratch() {
    println!("{}", check_text(&fs::read_to_string(std::env::var_os("SCRATCH").unwrap()).unwrap()));
}
