//! Writes configuration files: the full one with every key, and the short one that people start from.
use super::file::{Written, WrittenOrchestrator, WrittenRunner};
use super::keys::{Key, orchestrator, runner_item, sections};

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
            text.push_str(&lines(key, value, indent, if live { "" } else { "#" }, (indent, "")));
        }
        match section.name {
            "pool" => text.push_str(&orchestrators()),
            "runner" => text.push_str(&runners()),
            _ => {}
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
        text.push_str(&lines(key, (key.show)(&item), lead, mark, ("    ", "orchestrators.")));
    }
    text
}

/// Switched off as a whole: a pool without AI lists none.
fn runners() -> String {
    let mut text = String::from(
        "\n# HTTP runners that work AI jobs: ai-runner containers, and whatever speaks like them.\n#runners:\n",
    );
    let item = WrittenRunner::default();
    for (index, key) in runner_item().iter().enumerate() {
        let (lead, mark) = if index == 0 { ("  ", "#- ") } else { ("    ", "#") };
        text.push_str(&lines(key, (key.show)(&item), lead, mark, ("    ", "runners.")));
    }
    text
}

/// The sentence above, the key below, its unit at the end.
fn lines<T: 'static>(
    key: &Key<T>,
    value: Option<String>,
    lead: &str,
    mark: &str,
    (indent, list): (&str, &str),
) -> String {
    let sample = sample(&format!("{list}{}", key.name));
    let value = value.filter(|v| sample.is_empty() || !["[]", "{}"].contains(&v.as_str()));
    let value = value.unwrap_or_else(|| sample.to_owned());
    let default = if mark.is_empty() || sample.is_empty() { "" } else { "; not set by default, an example" };
    format!("{indent}# {} ({}{default})\n{lead}{mark}{}: {value}\n", key.sentence, key.unit, key.leaf())
}

/// Examples of keys that have no default.
fn sample(name: &str) -> &'static str {
    match name {
        "orchestrators.url" => "127.0.0.1:8935",
        "orchestrators.secret" => "file:/etc/livepeer/secret",
        "orchestrators.name" => "oslo",
        "orchestrators.price" => "7/10",
        "orchestrators.segment_hosts" => "[cdn.example.org, 10.0.0.7:8935]",
        "runner.certificate" => "/etc/openpool/tls.crt",
        "runner.key" => "/etc/openpool/tls.key",
        "runner.token" => "file:/etc/openpool/runner-token",
        "runner.orchestrator" => "oslo",
        "runner.threads" => "2",
        "runners.url" => "https://10.0.0.7:8000",
        "runners.models" => {
            "[text-to-image SG161222/RealVisXL_V4.0_Lightning x2, llm meta-llama/Meta-Llama-3.1-8B-Instruct cold]"
        }
        "runners.name" => "gpu7",
        "runners.token" => "file:/etc/openpool/gpu7-token",
        "runners.address" => "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "runners.region" => "oslo",
        "runners.fingerprint" => {
            "9c:41:0e:77:5d:1e:c3:02:8b:4f:aa:90:17:d6:3b:e8:21:f0:6c:95:de:44:b9:73:08:1a:c7:5f:e2:36:80:4d"
        }
        "ai.prices" => "[llm 1/10, text-to-image SG161222/RealVisXL_V4.0_Lightning 4]",
        "ai.deadlines" => "{text-to-image: 2 min, llm: 5 min}",
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
