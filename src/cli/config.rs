//! `config show`: each key with its value and where it comes from.
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use super::table::{Cell, Output, Sheet};
use crate::config;

/// The exit code of a configuration that cannot be used (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// Prints every key; secrets are shown as the references that they are. Returns the exit code.
pub fn show(
    args: &ShowArgs,
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    out: &mut dyn Write,
    errors: &mut dyn Write,
) -> Result<u8> {
    let loaded = match config::load(&config::find(file, env), env.clone()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            errors.write_all(faults.render(false).as_bytes()).context("printing the faults")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let mut sheet = Sheet::new(&["key", "value", "unit", "origin"]);
    for row in &loaded.rows {
        sheet.row(vec![
            Cell::text(row.key.as_str()),
            Cell::maybe(row.value.as_deref()),
            Cell::text(row.unit),
            Cell::text(row.origin.to_string()),
        ]);
    }
    sheet.print(args.output, out).context("printing the keys")?;
    Ok(0)
}
