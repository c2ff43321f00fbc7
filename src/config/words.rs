//! The forms of words: names, paths, addresses, URLs, join modes, references to secrets.
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use super::fault::{Wrong, quote};
use super::forms::{Form, scalar};
use super::redact::is_reference;
use super::tree::{Kind, Node};

/// A line of text, up to so many characters.
pub(super) struct Text(pub usize);
pub(super) struct Folder;
pub(super) struct Listen;
/// `host:port` that others dial.
pub(super) struct Dial;
pub(super) struct Page;
pub(super) struct OrchestratorUrl;
pub(super) struct Hosts;
pub(super) struct JoinModes;
pub(super) struct SecretForm;
pub(super) struct LogFilter;
pub(super) struct Version;

/// Which ways of joining are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Modes {
    pub invite: bool,
    pub open: bool,
    pub shared: bool,
}

/// Where a secret is; never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretRef {
    File(PathBuf),
    Env(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "file:{}", path.display()),
            SecretRef::Env(name) => write!(f, "env:{name}"),
        }
    }
}

/// `[a, b]`, or one word alone.
fn words<'a>(name: &str, node: &'a Node, remedy: &str) -> Result<Vec<(&'a str, &'a Range<usize>)>, Wrong> {
    let word = |item: &'a Node| scalar(name, item, remedy).map(|w| (w, &item.span)).map_err(|w| w.at(&item.span));
    match &node.kind {
        Kind::List(items) => items.iter().map(word).collect(),
        _ => word(node).map(|word| vec![word]),
    }
}

/// Whether a text is a host name or an IP address.
pub(super) fn is_host(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match inner {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !text.is_empty() && text.len() <= 253 && text.chars().all(good) && !text.starts_with(['-', '.'])
        }
    }
}

pub(super) fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|p| p > 0))
}

// === impl Form ===

impl Form for Text {
    type Value = String;
    fn unit(&self) -> &'static str {
        "text"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        let remedy = "write a short text on one line";
        let text = scalar(name, node, remedy)?;
        let wrong = |why: String| Err(Wrong::new("E309", format!("`{name}` {why}"), remedy));
        match text {
            "" => wrong("is empty".into()),
            _ if text.chars().any(char::is_control) => wrong("has a control character".into()),
            _ if text.chars().count() > self.0 => wrong(format!("is longer than {} characters", self.0)),
            _ => Ok(text.to_owned()),
        }
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}

impl Form for Folder {
    type Value = PathBuf;
    fn unit(&self) -> &'static str {
        "path"
    }
    fn read(&self, name: &str, node: &Node) -> Result<PathBuf, Wrong> {
        let remedy = "write a path such as `/var/lib/openpool`";
        let text = scalar(name, node, remedy)?;
        if text.is_empty() || text.len() > 4_000 || text.chars().any(char::is_control) {
            return Err(Wrong::new("E309", format!("`{name}` is not a path"), remedy));
        }
        Ok(PathBuf::from(text))
    }
    fn show(&self, value: &PathBuf) -> Option<String> {
        Some(value.display().to_string())
    }
}

impl Form for Listen {
    type Value = SocketAddr;
    fn unit(&self) -> &'static str {
        "address"
    }
    fn read(&self, name: &str, node: &Node) -> Result<SocketAddr, Wrong> {
        let remedy = "write an IP address and a port, such as `0.0.0.0:8945` or `[::]:8945`";
        let text = scalar(name, node, remedy)?;
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(address),
            Err(_) => {
                Err(Wrong::new("E306", format!("`{name}` is {}, not an address to listen on", quote(text)), remedy))
            }
        }
    }
    fn show(&self, value: &SocketAddr) -> Option<String> {
        Some(value.to_string())
    }
}

impl Form for Dial {
    type Value = String;
    fn unit(&self) -> &'static str {
        "host:port"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        let remedy = "write a host and a port, such as `pool.example.org:8945`";
        let text = scalar(name, node, remedy)?;
        if is_host_port(text) {
            return Ok(text.to_owned());
        }
        Err(Wrong::new("E306", format!("`{name}` is {}, not host:port", quote(text)), remedy))
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}

impl Form for Page {
    type Value = String;
    fn unit(&self) -> &'static str {
        "URL"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        let remedy = "write the address of a page, such as `https://pool.example.org/help`";
        let text = scalar(name, node, remedy)?;
        let web = text.starts_with("https://") || text.starts_with("http://");
        // It ends sentences that stock workers print: short, and nothing but letters.
        let good = web && text.len() <= 100 && text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('%');
        let host = text.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some_and(is_host));
        if good && host {
            return Ok(text.to_owned());
        }
        Err(Wrong::new(
            "E307",
            format!("`{name}` is {}, not a web address of 100 letters at most", quote(text)),
            remedy,
        ))
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}

impl Form for OrchestratorUrl {
    type Value = http::Uri;
    fn unit(&self) -> &'static str {
        "URL"
    }
    fn read(&self, name: &str, node: &Node) -> Result<http::Uri, Wrong> {
        let remedy = "write its host and port, such as `127.0.0.1:8935` or `https://orch.example.org:8935`";
        let text = scalar(name, node, remedy)?;
        let wrong = |why: &str| Wrong::new("E307", format!("`{name}` is {}, {why}", quote(text)), remedy);
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        if scheme != "https" && scheme != "http" {
            return Err(wrong("only https and http are known"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(Wrong::new("E307", format!("`{name}` names a user"), remedy));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("a path does not belong here"));
        }
        if is_host(rest) {
            return Err(wrong("its port is missing"));
        }
        let uri = is_host_port(rest).then(|| format!("{scheme}://{rest}").parse().ok()).flatten();
        uri.ok_or_else(|| wrong("not an address"))
    }
    fn show(&self, value: &http::Uri) -> Option<String> {
        Some(value.to_string().trim_end_matches('/').to_owned())
    }
}

impl Form for Hosts {
    type Value = Vec<String>;
    fn unit(&self) -> &'static str {
        "hosts"
    }
    fn read(&self, name: &str, node: &Node) -> Result<Vec<String>, Wrong> {
        let remedy = "write a list of hosts, such as `[cdn.example.org, 10.0.0.7:8935]`";
        let words = if node.kind == Kind::Null { vec![] } else { words(name, node, remedy)? };
        if words.len() > 100 {
            return Err(Wrong::new("E310", format!("`{name}` has {} hosts, the most is 100", words.len()), remedy));
        }
        match words.iter().find(|(w, _)| !is_host(w) && !is_host_port(w)) {
            Some((word, at)) => {
                Err(Wrong::new("E306", format!("`{name}` has {}, not a host", quote(word)), remedy).at(at))
            }
            None => Ok(words.into_iter().map(|(w, _)| w.to_ascii_lowercase()).collect()),
        }
    }
    fn show(&self, value: &Vec<String>) -> Option<String> {
        Some(format!("[{}]", value.join(", ")))
    }
}

impl Form for JoinModes {
    type Value = Modes;
    fn unit(&self) -> &'static str {
        "modes"
    }
    fn read(&self, name: &str, node: &Node) -> Result<Modes, Wrong> {
        let remedy = "write `invite`, `open` or `shared`, or a list such as `[invite, open]`";
        let mut modes = Modes::default();
        for (word, at) in words(name, node, remedy)? {
            match word {
                "invite" => modes.invite = true,
                "open" => modes.open = true,
                "shared" => modes.shared = true,
                other => {
                    let near = super::hints::nearest(other, ["invite", "open", "shared"]);
                    let remedy = near.map_or(remedy.to_owned(), |n| format!("did you mean `{n}`?"));
                    let cause = format!("`{name}` has {}, not a join mode", quote(other));
                    return Err(Wrong::new("E312", cause, remedy).at(at));
                }
            }
        }
        if modes == Modes::default() {
            return Err(Wrong::new("E312", format!("`{name}` is empty: nobody could join"), remedy));
        }
        Ok(modes)
    }
    fn show(&self, value: &Modes) -> Option<String> {
        let all = [(value.invite, "invite"), (value.open, "open"), (value.shared, "shared")];
        let words: Vec<&str> = all.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        Some(format!("[{}]", words.join(", ")))
    }
}

impl Form for SecretForm {
    type Value = SecretRef;
    fn unit(&self) -> &'static str {
        "secret"
    }
    fn read(&self, name: &str, node: &Node) -> Result<SecretRef, Wrong> {
        let remedy = "put it into a file of mode 600 and write `file:/path/to/it`, or `env:NAME`";
        let text = scalar(name, node, remedy)?;
        if !is_reference(text) {
            return Err(Wrong::new("E401", format!("`{name}` is written out in the configuration"), remedy));
        }
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        if rest.trim().is_empty() || rest.chars().any(char::is_control) {
            return Err(Wrong::new("E405", format!("`{name}` names nothing after `{kind}:`"), remedy));
        }
        Ok(match kind {
            "file" => SecretRef::File(PathBuf::from(rest.trim())),
            _ => SecretRef::Env(rest.trim().to_owned()),
        })
    }
    fn show(&self, value: &SecretRef) -> Option<String> {
        Some(value.to_string())
    }
}

impl Form for LogFilter {
    type Value = String;
    fn unit(&self) -> &'static str {
        "filter"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let remedy = "write a level such as `info`, or a filter such as `info,openpool_proxy=debug`";
        let text = scalar(name, node, remedy)?;
        let odd = text.len() > 1_000 || !text.bytes().all(|b| b.is_ascii_graphic()) || text.is_empty();
        let bad = text.split(',').map(|part| part.rsplit('=').next().unwrap_or(part)).find(|level| {
            !LEVELS.contains(&level.to_ascii_lowercase().as_str()) && !level.contains("::") && !level.contains('_')
        });
        match bad.filter(|_| !text.contains('[')) {
            None if !odd => Ok(text.to_owned()),
            word => {
                let near = super::hints::nearest(word.unwrap_or_default(), LEVELS);
                let remedy = near.map_or(remedy.to_owned(), |n| format!("did you mean `{n}`?"));
                Err(Wrong::new("E309", format!("`{name}` is {}, not a log filter", quote(text)), remedy))
            }
        }
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}

impl Form for Version {
    type Value = String;
    fn unit(&self) -> &'static str {
        "version"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        let remedy = "write a version such as `0.8.8`";
        let text = scalar(name, node, remedy)?;
        match semver::Version::parse(text) {
            Ok(_) if text.len() <= 60 => Ok(text.to_owned()),
            _ => Err(Wrong::new("E309", format!("`{name}` is {}, not a version", quote(text)), remedy)),
        }
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}
