//! What a misspelt key may have meant: near misses, keys of other sections, go-livepeer's flags.
use super::keys::{Key, Section, orchestrator, runner_item};

/// go-livepeer's flags and other spellings that people bring along, lower case without `-` and `_`.
const FOREIGN: [(&str, &str); 37] = [
    (
        "orchsecret",
        "the secret of an orchestrator is `orchestrators[].secret`, the workers' one `workers.shared_secret`",
    ),
    ("orchaddr", "an orchestrator's address is `orchestrators[].url`"),
    ("orchestrator", "write the list `orchestrators:` with `- url:` and `secret:`"),
    ("serviceaddr", "the address that workers dial is `workers.public_address`"),
    ("httpaddr", "the worker port is `workers.listen`"),
    ("httpport", "the worker port is `workers.listen`"),
    ("cliaddr", "the operator port is `admin.listen`"),
    ("cliport", "the operator port is `admin.listen`"),
    ("metrics", "metrics are always on, at `admin.listen`"),
    ("monitor", "metrics are always on, at `admin.listen`"),
    ("priceperunit", "the price is `pool.price`, such as `1200` or `7/10`"),
    ("pixelsperunit", "write the price as a fraction in `pool.price`, such as `7/10`"),
    ("priceperpixel", "the price is `pool.price`"),
    ("datadir", "the data folder is `pool.data`"),
    ("maxsessions", "workers tell it themselves (`-maxSessions`); the most we believe is `workers.most_capacity`"),
    ("maxcapacity", "the most that one registration may claim is `workers.most_capacity`"),
    ("v", "how much is logged is `log`, such as `log: debug`"),
    ("loglevel", "how much is logged is `log`, such as `log: debug`"),
    ("verbosity", "how much is logged is `log`, such as `log: debug`"),
    ("ethacctaddr", "remove it: the orchestrator is paid, the pool needs no account of its own"),
    ("ethkeystorepath", "remove it: the pool needs no account of its own"),
    ("ethpassword", "remove it: the pool needs no account of its own"),
    ("ethurl", "remove it: the pool does not talk to the chain"),
    ("network", "remove it: the pool does not talk to the chain"),
    ("nvidia", "remove it: GPUs are the workers' business (`-nvidia` there)"),
    ("transcoder", "remove it: workers join by `workers.join`"),
    ("transcodingoptions", "remove it: renditions come with each segment"),
    ("address", "an orchestrator's address is `url`, ours are `workers.listen` and `admin.listen`"),
    ("halflife", "the averages' time constants are `routing.slow_tau` and `routing.fast_tau`"),
    ("halflifesecond", "the averages' time constants are `routing.slow_tau` and `routing.fast_tau`"),
    ("halflifeseconds", "the averages' time constants are `routing.slow_tau` and `routing.fast_tau`"),
    (
        "aimodels",
        "runners and their models are the list `runners`; `openpool-proxy ai models` prints the orchestrator's file",
    ),
    ("aiworker", "remove it: AI workers join the worker port as transcoders do"),
    ("airunnerimage", "remove it: runners are started by their owners and listed below `runners`"),
    ("liverunneraddr", "the port that an orchestrator dials for AI is `runner.listen`"),
    ("certfile", "the certificate is `workers.certificate`"),
    ("keyfile", "the certificate's key is `workers.key`"),
];

/// The nearest of some names, when it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let closeness = |name: &str| {
        let near = strsim::normalized_damerau_levenshtein(&word, name);
        // `half_life` for `half_life_seconds`: a beginning is nearer than its length says.
        let begins = word.len() >= 3 && (name.starts_with(&word) || word.starts_with(name) && name.len() >= 3);
        if begins { near.max(0.7) } else { near }
    };
    names
        .into_iter()
        .map(|name| (closeness(name), name))
        .filter(|(near, _)| *near >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The remedy for an unknown key. `section` is "" on the top level, `orchestrators` and `runners` in their lists.
pub(super) fn unknown(word: &str, section: &str, all: &[Section]) -> String {
    let plain: String = word.to_ascii_lowercase().chars().filter(|c| !"-_. ".contains(*c)).collect();
    let here = names_in(section, all);
    if let Some(name) = here.iter().find(|name| name.replace('_', "") == plain) {
        return format!("did you mean `{name}`?");
    }
    if section == "orchestrators" && plain == "address" {
        return "did you mean `url`?".into();
    }
    if section == "orchestrators" && plain == "orchsecret" {
        return "did you mean `secret`?".into();
    }
    if section == "runners" && ["capacity", "warm", "pipeline", "model"].contains(&plain.as_str()) {
        return format!("did you mean `{plain}` of an item below `models`, such as `- text-to-image org/model x2`?");
    }
    if section == "runners" && ["secret", "pin", "certificate", "ethereumaddress"].contains(&plain.as_str()) {
        let meant = match plain.as_str() {
            "secret" => "token",
            "ethereumaddress" => "address",
            _ => "fingerprint",
        };
        return format!("did you mean `{meant}`?");
    }
    if let Some((_, hint)) = FOREIGN.iter().find(|(name, _)| *name == plain) {
        return (*hint).into();
    }
    if let Some(owner) = owner_of(word, section, all) {
        return owner;
    }
    if let Some(name) = nearest(word, here.iter().copied()) {
        return format!("did you mean `{name}`?");
    }
    let everywhere: Vec<&str> = all.iter().flat_map(|s| s.keys.iter().map(|k| k.name)).collect();
    let leaves = everywhere.iter().map(|name| name.rsplit('.').next().unwrap_or(name));
    if let Some(leaf) = nearest(word, leaves).filter(|leaf| strsim::normalized_damerau_levenshtein(word, leaf) > 0.75)
        && let Some(full) = everywhere.iter().find(|name| name.rsplit('.').next() == Some(leaf))
    {
        return format!("did you mean `{full}`?");
    }
    let list = here.join("`, `");
    let list =
        if list.len() > 100 { format!("{}…", &list[..list[..100].rfind('`').unwrap_or(0)]) } else { list + "`" };
    format!("keys here: `{list}")
}

/// The key as it stands in another section.
fn owner_of(word: &str, section: &str, all: &[Section]) -> Option<String> {
    let of_runner = |names: &[&str]| names.contains(&word) && runner_item().iter().any(|k| k.name == word);
    if section != "runners" && of_runner(&["models", "region", "fingerprint"])
        || section == "runner" && of_runner(&["url", "name", "address", "health"])
    {
        return Some(format!("`{word}` belongs to an item of `runners`"));
    }
    if section != "orchestrators" && orchestrator().iter().any(|k| k.name == word && word != "name" && word != "price")
    {
        return Some(format!("`{word}` belongs to an item of `orchestrators`"));
    }
    let owner = all.iter().find(|s| s.name != section && s.keys.iter().any(|k| k.leaf() == word))?;
    Some(match owner.name {
        "" => format!("`{word}` belongs on the top level"),
        name => format!("`{word}` belongs in `{name}`"),
    })
}

fn names_in(section: &str, all: &[Section]) -> Vec<&'static str> {
    if section == "orchestrators" {
        return orchestrator().iter().map(|k| k.name).collect();
    }
    if section == "runners" {
        return runner_item().iter().map(|k| k.name).collect();
    }
    let mut names: Vec<&'static str> =
        all.iter().filter(|s| s.name == section).flat_map(|s| s.keys.iter().map(Key::leaf)).collect();
    if section.is_empty() {
        names.extend(all.iter().map(|s| s.name).filter(|name| !name.is_empty()));
        names.extend(["orchestrators", "runners"]);
    }
    names
}
