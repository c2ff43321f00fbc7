//! Reads what a secret's reference names; a file that others may read is refused.
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::fault::{Wrong, quote};
use super::words::SecretRef;

const LONGEST: u64 = 4_096;

/// The secret, without the blanks around it.
pub(super) fn read(name: &str, reference: &SecretRef, env: &BTreeMap<String, String>) -> Result<String, Wrong> {
    let text = match reference {
        SecretRef::File(path) => from_file(name, path)?,
        SecretRef::Env(variable) => {
            let found = env.get(variable).cloned();
            let cause = || format!("`{name}`: the environment variable {} is not set", quote(variable));
            found.ok_or_else(|| Wrong::new("E404", cause(), "set it for this process, or name a `file:`"))?
        }
    };
    let secret = text.trim();
    let unusable = |why: &str| {
        Err(Wrong::new("E405", format!("`{name}`: the secret of {reference} {why}"), {
            "write the secret on one line, up to 4096 bytes"
        }))
    };
    match secret {
        "" => unusable("is empty"),
        _ if secret.len() as u64 > LONGEST => unusable("is too long"),
        _ if secret.chars().any(char::is_control) => unusable("has more than one line"),
        _ => Ok(secret.to_owned()),
    }
}

fn from_file(name: &str, path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let unreadable = |why: String, remedy: String| Wrong::new("E402", format!("`{name}`: {shown}: {why}"), remedy);
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            unreadable("no such file".into(), format!("write the secret into it, then `chmod 600 {shown}`"))
        }
        std::io::ErrorKind::PermissionDenied => unreadable(
            "this user may not read it".into(),
            format!("give it to the user that runs this: `chown USER {shown}`"),
        ),
        _ => unreadable(error.to_string(), "name a readable file".into()),
    };
    // Looked at before it is opened: opening a pipe would wait for ever.
    let meta = fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(unreadable("not a file".into(), "name a regular file".into()));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let cause = format!("`{name}`: {shown} has mode {mode:03o}, others can get at it");
        return Err(Wrong::new("E403", cause, format!("run `chmod 600 {shown}`")));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(io)?;
    file.take(LONGEST * 2).read_to_end(&mut bytes).map_err(io)?;
    String::from_utf8(bytes).map_err(|_| unreadable("not a text".into(), "write the secret into it as text".into()))
}
