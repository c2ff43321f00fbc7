//! `init`: three answers, asked or given by flags, become a working file.
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use super::config::EXIT_CONFIG;
use crate::config;

const DEFAULT_OUT: &str = "openpool.yaml";
const DEFAULT_PRICE: &str = "1200";

#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// Where the orchestrator listens, HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub orchestrator: Option<String>,
    /// Its -orchSecret: the path of a file that holds it, `env:NAME`, or the secret itself
    #[arg(long, value_name = "SECRET")]
    pub orchestrator_secret: Option<String>,
    /// What workers and reports call the pool
    #[arg(long)]
    pub name: Option<String>,
    /// Wei a pixel: 1200, 7/10, 0.7
    #[arg(long)]
    pub price: Option<String>,
    /// Folder of ledger and certificate
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = DEFAULT_OUT)]
    pub out: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Where a secret is to come from.
enum Secret {
    Reference(String),
    /// The secret itself; it goes into a file of its own.
    Text(String),
}

/// `ask` is the terminal, when there is one. Returns the exit code.
pub fn run(args: &InitArgs, mut ask: Option<&mut dyn BufRead>, out: &mut dyn Write) -> Result<u8> {
    let path = &args.out;
    if path.exists() && !args.force {
        bail!("{} is there already; name another file by --out, or write over it by --force", path.display());
    }
    let orchestrator =
        answer(&args.orchestrator, "--orchestrator", "orchestrator's address (HOST:PORT): ", &mut ask, out)?;
    let question = "its -orchSecret (a file's path, or the secret, which will be seen): ";
    let secret = answer(&args.orchestrator_secret, "--orchestrator-secret", question, &mut ask, out)?;
    let name = answer(&args.name, "--name", "pool's name: ", &mut ask, out)?;

    let secret = secret_of(&secret)?;
    let secret_file = path.with_extension("orchestrator-secret");
    let reference = match &secret {
        Secret::Reference(reference) => reference.clone(),
        Secret::Text(_) => format!("file:{}", absolute(&secret_file)?.display()),
    };
    let data = match &args.data {
        Some(data) => data.clone(),
        None if path.starts_with("/etc") => PathBuf::from("/var/lib/openpool"),
        None => PathBuf::from("openpool-data"),
    };
    let price = args.price.as_deref().unwrap_or(DEFAULT_PRICE);
    let text = config::init_text(&name, &orchestrator, &reference, &data.display().to_string(), price);
    if let Err(faults) = config::of_text(&path.display().to_string(), &text) {
        out.write_all(faults.render(false).as_bytes())?;
        writeln!(out, "nothing was written; answer again")?;
        return Ok(EXIT_CONFIG);
    }
    if let Secret::Text(secret) = &secret {
        write_new(&secret_file, &format!("{secret}\n"), 0o600, args.force)?;
        writeln!(out, "wrote {} (mode 600)", secret_file.display())?;
    }
    write_new(path, &text, 0o644, args.force)?;
    writeln!(out, "wrote {} ({} lines)", path.display(), text.lines().count())?;
    if args.price.is_none() {
        writeln!(
            out,
            "price: {DEFAULT_PRICE} wei a pixel; set `pool.price` to what your orchestrator charges (its -pricePerUnit)"
        )?;
    }
    next(path, out)?;
    Ok(0)
}

/// The flag's value, or what the terminal says.
fn answer(
    flag: &Option<String>,
    name: &str,
    question: &str,
    ask: &mut Option<&mut dyn BufRead>,
    out: &mut dyn Write,
) -> Result<String> {
    if let Some(value) = flag {
        return Ok(value.trim().to_owned());
    }
    let Some(terminal) = ask else { bail!("{name} is missing, and there is no terminal to ask") };
    // Three tries: a slip is forgiven, a closed or empty input is not waited for.
    for _ in 0..3 {
        write!(out, "{question}")?;
        out.flush()?;
        let mut line = String::new();
        if terminal.read_line(&mut line).context("reading the answer")? == 0 {
            break;
        }
        if !line.trim().is_empty() {
            return Ok(line.trim().to_owned());
        }
    }
    Err(anyhow!("no answer; give {name} instead"))
}

/// A path that is there or looks like one, a reference, or the secret itself.
fn secret_of(answer: &str) -> Result<Secret> {
    if answer.starts_with("env:") {
        return Ok(Secret::Reference(answer.to_owned()));
    }
    let path = Path::new(answer.strip_prefix("file:").unwrap_or(answer));
    let looks = answer.starts_with("file:") || answer.starts_with(['/', '.', '~']) || path.is_file();
    if !looks {
        return Ok(Secret::Text(answer.to_owned()));
    }
    if !path.is_file() {
        bail!("{} is not there; write the orchestrator's secret into it, or give another path", path.display());
    }
    Ok(Secret::Reference(format!("file:{}", absolute(path)?.display())))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

/// Whole or not at all, and never over a file that is there unless `force` says so.
fn write_new(path: &Path, text: &str, mode: u32, force: bool) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let why = || format!("writing {}", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(why)?;
    file.write_all(text.as_bytes()).with_context(why)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).with_context(why)?;
    file.as_file().sync_all().with_context(why)?;
    let kept =
        if force { file.persist(path).map_err(|e| e.error) } else { file.persist_noclobber(path).map_err(|e| e.error) };
    kept.map(drop).with_context(|| format!("writing {}; --force writes over it", path.display()))
}

fn next(path: &Path, out: &mut dyn Write) -> Result<()> {
    let found = config::PLACES.iter().any(|place| Path::new(place) == path);
    let named = if found { String::new() } else { format!(" --config {}", path.display()) };
    writeln!(
        out,
        "next:  openpool-proxy{named} check\n       openpool-proxy{named} serve\n       \
         openpool-proxy{named} worker invite --name rig1"
    )?;
    Ok(())
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
