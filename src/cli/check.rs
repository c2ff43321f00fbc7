//! `check`: the file, its meaning, the world around it; everything that is wrong at once.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;

use super::config::EXIT_CONFIG;
use super::world;
use crate::config::{self, Loaded, Origin};

/// Codes of what the world may answer; those of the file are `config::CODES`.
pub const CODES: &[(&str, &str)] = &[
    ("E601", "a port is taken or may not be used"),
    ("E602", "the data folder cannot be written"),
    ("E603", "an orchestrator cannot be reached"),
    ("E604", "an orchestrator does not speak HTTP/2, by TLS or in the clear as its url says"),
    ("E605", "a certificate or its key cannot be used"),
    ("W606", "few open files are allowed"),
    ("W607", "the disk is slow to keep what is written"),
    ("E608", "an orchestrator refuses the secret"),
    ("E609", "an orchestrator takes no transcoders"),
    ("W610", "an orchestrator answers strangely"),
    ("E611", "a runner cannot be reached"),
    ("E612", "a runner's certificate is not trusted"),
    ("W613", "a runner is not well"),
    ("W614", "a runner says that it runs something else"),
    ("W615", "the runner port's token can be read on its way"),
];

#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Look at the file only: no ports, no orchestrator, no disk
    #[arg(long)]
    pub config_only: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    Good(String),
    /// What, its code, what to do.
    Warning(String, &'static str, String),
    Error(String, &'static str, String),
}

/// A heading and what was found below it.
pub(super) type Chapter = (String, Vec<Finding>);

/// Returns the exit code: 78 when anything is wrong, 0 with warnings or without.
pub fn run(
    args: &CheckArgs,
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    colour: bool,
    out: &mut dyn Write,
) -> Result<u8> {
    let loaded = match config::load(&config::find(file, env), env.clone()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            out.write_all(faults.render(colour).as_bytes()).context("printing the faults")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let mut chapters = vec![well_formed(&loaded)];
    if !args.config_only {
        chapters.extend(world::look(&loaded.settings));
    }
    print(&chapters, out).context("printing what was found")
}

fn well_formed(loaded: &Loaded) -> Chapter {
    let set = loaded.rows.iter().filter(|row| row.origin != Origin::Default).count();
    let defaults = loaded.rows.len() - set;
    let text = format!("{} is well formed, {set} keys set, {defaults} defaults", loaded.path.display());
    ("config".into(), vec![Finding::Good(text)])
}

/// Good findings share a line, the others have one each.
fn print(chapters: &[Chapter], out: &mut dyn Write) -> io::Result<u8> {
    let (mut warnings, mut errors) = (0, 0);
    for (heading, findings) in chapters {
        writeln!(out, "{heading}")?;
        let good: Vec<String> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Good(text) => Some(format!("√ {text}")),
                _ => None,
            })
            .collect();
        if !good.is_empty() {
            writeln!(out, "  {}", good.join("   "))?;
        }
        for finding in findings {
            let (sign, text, code, remedy) = match finding {
                Finding::Good(_) => continue,
                Finding::Warning(text, code, remedy) => {
                    warnings += 1;
                    ("!", text, code, remedy)
                }
                Finding::Error(text, code, remedy) => {
                    errors += 1;
                    ("x", text, code, remedy)
                }
            };
            writeln!(out, "  {sign} {text} ({code})\n      to change: {remedy}")?;
        }
    }
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    writeln!(out, "{}, {}", plural(warnings, "warning"), plural(errors, "error"))?;
    Ok(if errors > 0 { EXIT_CONFIG } else { 0 })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
