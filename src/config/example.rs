//! Writes configuration files: the full one with every key, and the short one that people start from.
use super::file::{Written, WrittenOrchestrator};
use super::keys::{Key, orchestrator, sections};

/// `config/openpool.yaml`: every key with its default, unit and a sentence.
pub fn example() -> String {
    let mut text = String::from(
        "# Every key with its default: `# ` begins a sentence, `#` alone a key that shows its default or\n\
         # an example; remove that `#` to change it. Any key may be set by the environment instead:\n\
         # OPENPOOL_SECTION__KEY, such as OPENPOOL_RETRY__ATTEMPTS=2. Secrets are references:\n\
         # `file:/path` (mode 600) or `env:NAME`. `openpool-proxy config show` tells what is in force.\n",
    );
    let written = Written { pool_name: "My Pool".into(), ..Written::default() };
    for section in sections() {
        text.push_str(&format!("\n# {}\n", section.sentence));
        let indent = if section.name.is_empty() { "" } else { "  " };
        if !section.name.is_empty() {
            text.push_str(&format!("{}:\n", section.name));
        }
        for key in &section.keys {
            let value = (key.show)(&written);
            let live = key.name == "pool.name";
            text.push_str(&lines(key, value, indent, if live { "" } else { "#" }, indent));
        }
        if section.name == "pool" {
            text.push_str(&orchestrators());
        }
    }
    text
}

fn orchestrators() -> String {
    let mut text = String::from("\n# The orchestrators that give us work.\norchestrators:\n");
    let item = WrittenOrchestrator::default();
    for (index, key) in orchestrator().iter().enumerate() {
        let (lead, mark) = match key.name {
            "url" | "secret" => (if index == 0 { "  - " } else { "    " }, ""),
            _ => ("    ", "#"),
        };
        text.push_str(&lines(key, (key.show)(&item), lead, mark, "    "));
    }
    text
}

/// The sentence above, the key below, its unit at the end.
fn lines<T: 'static>(key: &Key<T>, value: Option<String>, lead: &str, mark: &str, indent: &str) -> String {
    let value =
        value.filter(|v| key.name != "segment_hosts" || v != "[]").unwrap_or_else(|| sample(key.name).to_owned());
    let default = if mark.is_empty() || sample(key.name).is_empty() { "" } else { "; not set by default, an example" };
    format!("{indent}# {} ({}{default})\n{lead}{mark}{}: {value}\n", key.sentence, key.unit, key.leaf())
}

/// Examples of keys that have no default.
fn sample(name: &str) -> &'static str {
    match name {
        "url" => "127.0.0.1:8935",
        "secret" => "file:/etc/livepeer/secret",
        "name" => "oslo",
        "price" => "7/10",
        "segment_hosts" => "[cdn.example.org, 10.0.0.7:8935]",
        "workers.public_address" => "pool.example.org:8945",
        "workers.shared_secret" => "file:/etc/openpool/shared-secret",
        "workers.certificate" => "/etc/openpool/tls.crt",
        "workers.key" => "/etc/openpool/tls.key",
        "limits.memory_limit" => "4 GiB",
        "workers.help_url" => "https://pool.example.org/help",
        _ => "",
    }
}

/// What `init` writes: the few keys that an operator has to know.
pub fn init_text(name: &str, orchestrator: &str, secret: &str, data: &str, price: &str) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    format!(
        "# Every other key has a default: see config/openpool.yaml or `openpool-proxy config show`.\n\
         pool:\n  name: {}\n  commission: 25 %    # workers get 75 %\n  price: {price}    # wei a pixel\n  data: {}\n\
         orchestrators:\n  - url: {orchestrator}\n    secret: {}\n\
         workers:\n  listen: 0.0.0.0:8945\n  join: invite    # invite, open, shared, or a list\n\
         admin:\n  listen: 127.0.0.1:7945\n",
        text(name),
        text(data),
        text(secret),
    )
}
