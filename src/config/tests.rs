//! Tests of the configuration: the corpus of broken files, the examples, the environment, secrets.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;

/// Planted in the corpus as secrets; must never be seen.
const PLANTED: &str = "hunter2-planted";

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `CODE line:column` of each fault, in order.
fn codes(faults: &Faults) -> Vec<String> {
    faults
        .iter()
        .map(|fault| match faults.place_of(fault) {
            Some((_, line, column)) => format!("{} {line}:{column}", fault.code),
            None => format!("{} -", fault.code),
        })
        .collect()
}

/// Loads a text from a file of its own.
fn load_text(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Box<Faults>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.yaml");
    fs::write(&path, text).unwrap();
    load(&path, env(pairs))
}

const SOUND: &str = "pool:\n  name: Fjord Pool\norchestrators:\n  - url: 127.0.0.1:8935\n    secret: env:ORCH_SECRET\n";
const ORCH: (&str, &str) = ("ORCH_SECRET", PLANTED);

fn corpus() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(project("tests/configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn each_broken_file_tells_all_its_faults_in_order_and_no_secret() {
    let mut told = String::new();
    for path in corpus() {
        let faults = load(&path, env(&[ORCH])).expect_err(&format!("{} loads", path.display()));
        let drawn = [faults.render(false), faults.render(true), format!("{faults:?}")];
        assert!(drawn.iter().all(|text| !text.contains(PLANTED)), "{} shows its secret:\n{}", path.display(), drawn[0]);
        for fault in faults.iter() {
            assert!(CODES.iter().any(|(code, _)| *code == fault.code), "{} is not in the list", fault.code);
            assert!(fault.cause.len() > 5 && fault.remedy.len() > 3, "{fault:?}");
            assert!(drawn[0].contains(fault.code), "{} is not drawn", fault.code);
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        told.push_str(&format!("{name}: {}\n", codes(&faults).join(", ")));
    }
    let expected = project("tests/configs/expected.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected, &told).unwrap();
    }
    let wanted = fs::read_to_string(&expected).unwrap();
    for (told, wanted) in told.lines().zip(wanted.lines()) {
        assert_eq!(told, wanted);
    }
    assert_eq!(told.lines().count(), wanted.lines().count());
    assert!(corpus().len() >= 40);
}

#[test]
fn the_full_example_is_what_the_table_says_and_changes_nothing() {
    let path = project("config/openpool.yaml");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, example()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text == example(), "config/openpool.yaml is stale: run this test with UPDATE_EXPECTED=1");
    // As shipped, and with every default and example switched on.
    let whole = text.replace("file:/etc/livepeer/secret", "env:ORCH_SECRET");
    let shipped = load_text(&whole, &[ORCH]).unwrap_or_else(|f| panic!("{f}"));
    let live: String = whole.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    let mut live = live.replace("[invite]", "[invite, shared]");
    for file in ["shared-secret", "runner-token", "gpu7-token"] {
        live = live.replace(&format!("file:/etc/openpool/{file}"), "env:ORCH_SECRET");
    }
    let all = load_text(&live, &[ORCH]).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(all.rows.iter().filter(|row| row.origin == Origin::Default).count(), 0, "every key is in the example");
    assert!(shipped.rows.iter().all(|row| !row.key.starts_with("runners")), "the example lists no live runner");
    assert!(shipped.settings.runner.port.is_none() && all.settings.runner.port.is_some());
    let examples = ["workers.join", "orchestrators[0].segment_hosts", "ai.prices", "ai.deadlines"];
    for shipped in shipped.rows.iter().filter(|row| row.value.is_some() && !examples.contains(&row.key.as_str())) {
        let live = all.rows.iter().find(|row| row.key == shipped.key).unwrap();
        assert_eq!(shipped.value, live.value, "{} is not shown by its default", shipped.key);
    }
}

/// `  #key: value` as a live line; prose stays as it is.
fn uncommented(line: &str) -> String {
    let key = line.trim_start().starts_with('#') && !line.trim_start().starts_with("# ");
    if key { line.replacen('#', "", 1) } else { line.to_owned() }
}

#[test]
fn the_defaults_are_those_of_the_rooms() {
    let settings = load_text(SOUND, &[ORCH]).unwrap().settings;
    let rules = crate::pool::Rules::default();
    assert_eq!(format!("{:?}", settings.rules), format!("{rules:?}"));
    assert_eq!(format!("{:?}", settings.edge), format!("{:?}", crate::transport::limits::EdgeLimits::default()));
    let uplink = crate::planes::uplink::config::UplinkConfig::default();
    assert_eq!(format!("{:?}", settings.uplink), format!("{uplink:?}"));
    assert_eq!(settings.worker.listen.to_string(), "0.0.0.0:8945");
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:7945");
    let orchestrator = &settings.orchestrators[0];
    assert_eq!(
        (orchestrator.url.to_string().as_str(), &*orchestrator.name.0),
        ("https://127.0.0.1:8935/", "127.0.0.1:8935")
    );
    assert_eq!(orchestrator.secret, PLANTED);
}

#[test]
fn each_field_of_the_rooms_can_be_set() {
    // Every default is shown by exactly one key: a field without a key would be missing here.
    let settings = load_text(SOUND, &[ORCH]).unwrap().settings;
    let fields = |text: String| text.matches(": ").count();
    let score = fields(format!("{:?}", settings.rules.route.score));
    let route = fields(format!("{:?}", settings.rules.route)) - 1;
    assert_eq!(keys_below("routing."), route);
    assert!(score > 5);
    assert_eq!(keys_below("retry."), fields(format!("{:?}", settings.rules.retry)));
    let limits = fields(format!("{:?}", settings.rules.limits)) + fields(format!("{:?}", settings.edge));
    assert_eq!(keys_below("limits."), limits);
    assert_eq!(keys_below("uplink."), fields(format!("{:?}", settings.uplink)));
    // The score is flat in the file, and a price is one key of two fields.
    assert_eq!(keys_below("ai."), fields(format!("{:?}", settings.rules.ai)) - 1 - 2);
    // Connect and silence of the care: one is the port's own, the other a key. Then listen, certificate,
    // key, token, threads; orchestrator, wait.
    let runner = crate::planes::runner::RunnerLimits::default();
    let care = fields(format!("{:?}", settings.runner.care)) - 1;
    assert_eq!(keys_below("runner."), fields(format!("{runner:?}")) + care + 5 + 2);
    // Three modes are one key; listen, public_address, certificate + key, help_url, shared_secret.
    assert_eq!(keys_below("workers."), fields(format!("{:?}", settings.rules.join)) - 3 + 1 + 6);
}

fn keys_below(prefix: &str) -> usize {
    keys::sections().iter().flat_map(|s| &s.keys).filter(|k| k.name.starts_with(prefix)).count()
}

#[test]
fn the_minimal_file_loads_and_is_short() {
    let text = fs::read_to_string(project("config/minimal.yaml")).unwrap();
    assert!(text.lines().count() < 17);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, format!("{PLANTED}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let text = text.replace("/etc/openpool/orchestrator-secret", secret.to_str().unwrap());
    let loaded = load_text(&text, &[]).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(loaded.settings.orchestrators[0].secret, PLANTED);
    assert!(!format!("{loaded:?}").contains(PLANTED));
}

#[test]
fn a_secret_file_open_to_others_is_refused_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let text = SOUND.replace("env:ORCH_SECRET", &format!("file:{}", secret.display()));
    for (mode, content, code) in [
        (0o644, PLANTED, Some("E403 5:13")),
        (0o640, PLANTED, Some("E403 5:13")),
        (0o600, PLANTED, None),
        (0o400, PLANTED, None),
        (0o600, "", Some("E405 5:13")),
        (0o600, "hunter2-planted\nand more\n", Some("E405 5:13")),
    ] {
        let _ = fs::remove_file(&secret);
        fs::write(&secret, content).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        match (load_text(&text, &[]), code) {
            (Ok(_), None) => {}
            (Err(faults), Some(code)) => {
                assert_eq!(codes(&faults), [code]);
                let drawn = faults.to_string();
                assert!(!drawn.contains(PLANTED));
                assert_eq!(drawn.contains("chmod 600"), mode != 0o600, "{drawn}");
            }
            (other, _) => panic!("mode {mode:o} {content:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = format!("{SOUND}retry:\n  attempts: 2\n");
    let loaded = load_text(
        &text,
        &[
            ORCH,
            ("OPENPOOL_RETRY__ATTEMPTS", "5"),
            ("OPENPOOL_POOL__NAME", "Fjord: \"Pool\" #2"),
            ("OPENPOOL_COMMISSION", "12.5 %"),
            ("OPENPOOL_WORKERS__JOIN", "[open, shared]"),
            ("OPENPOOL_WORKERS__SHARED_SECRET", "shared-by-variable"),
            ("OPENPOOL_ORCHESTRATORS__0__PRICE", "7/10"),
            ("OPENPOOL_ORCHESTRATORS__1__URL", "http://b.example:8935"),
            ("OPENPOOL_ORCHESTRATORS__1__SECRET", "env:OPENPOOL_OF_B"),
            ("OPENPOOL_OF_B", "secret-of-b"),
            ("OPENPOOL_CONFIG", "elsewhere"),
            ("OPENPOOL_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap_or_else(|f| panic!("{f}"));
    let settings = &loaded.settings;
    assert_eq!((settings.rules.retry.attempts, settings.pool_name.as_str()), (5, "Fjord: \"Pool\" #2"));
    assert_eq!((settings.rules.commission.get(), settings.log.as_str()), (1250, "debug"));
    assert!(settings.rules.join.open && settings.rules.join.shared && !settings.rules.join.invite);
    assert_eq!(settings.shared_secret.as_deref(), Some("shared-by-variable"));
    assert_eq!(settings.orchestrators[1].secret, "secret-of-b");
    let first = &settings.orchestrators[0].name;
    assert_eq!(settings.rules.price_for(first).to_string(), "7/10");
    let row = |key: &str| loaded.rows.iter().find(|row| row.key == key).unwrap().clone();
    assert_eq!(row("retry.attempts").origin.to_string(), "env OPENPOOL_RETRY__ATTEMPTS");
    assert!(row("orchestrators[0].url").origin.to_string().ends_with("pool.yaml:4"));
    assert_eq!(row("retry.rest").origin, Origin::Default);
    for secret in ["shared-by-variable", "secret-of-b", PLANTED] {
        assert!(!format!("{loaded:?}").contains(secret), "{secret} is shown");
    }
}

#[test]
fn the_environment_alone_can_name_the_orchestrators() {
    let text = "pool: {name: Fjord Pool}\n";
    let flow = "[{url: 'a.example:8935', secret: 'env:ORCH_SECRET'}]";
    assert_eq!(load_text(text, &[ORCH, ("OPENPOOL_ORCHESTRATORS", flow)]).unwrap().settings.orchestrators.len(), 1);
    let pairs = [("OPENPOOL_ORCHESTRATORS__0__URL", "a:8935"), ("OPENPOOL_ORCHESTRATORS__0__SECRET", PLANTED)];
    assert_eq!(load_text(text, &pairs).unwrap().settings.orchestrators[0].secret, PLANTED);
}

#[test]
fn faults_of_the_environment_are_told_after_the_file() {
    let text = format!("{SOUND}drain: soon\n");
    let faults = load_text(
        &text,
        &[
            ORCH,
            ("OPENPOOL_ROUTING__FAIRNES", PLANTED),
            ("OPENPOOL_RETRY__ATTEMPTS", "many"),
            ("OPENPOOL_ORCHESTRATORS__3__URL", "c.example:8935"),
            ("OPENPOOL_ORCHSECRET", PLANTED),
            ("OPENPOOL_WORKERS__JOIN", "[invite"),
        ],
    )
    .unwrap_err();
    let drawn = faults.to_string();
    assert_eq!(codes(&faults)[0], "E302 6:8");
    let rest: Vec<&str> = faults.iter().skip(1).map(|f| f.code).collect();
    assert_eq!(rest, ["E301", "E102", "E208", "E208", "E208"], "{drawn}");
    assert!(drawn.contains("did you mean `OPENPOOL_ROUTING__FAIRNESS`?"), "{drawn}");
    assert!(drawn.contains("env OPENPOOL_RETRY__ATTEMPTS:1:1"), "{drawn}");
    assert!(!drawn.contains(PLANTED), "{drawn}");
}

#[test]
fn faults_are_drawn_as_people_know_them() {
    let text = "pool:\n  name: Fjord Pool\n  commission: 2500 %\norchestrators:\n  - url: 127.0.0.1:8935\n    \
                secret: env:ORCH_SECRET\n\n\n\nretry:\n  atempts: 30\n";
    let drawn = of_text("proxy.yaml", text).unwrap_err().to_string();
    let wanted = "\
error[E311]: commission is 2500 %, the most is 100 %
  --> proxy.yaml:3:15
   |
 3 |   commission: 2500 %
   |               ^^^^^^ write a percentage such as `25 %`, or basis points such as `2500 bp`
error[E207]: unknown key `atempts` in `retry`
  --> proxy.yaml:11:3
   |
11 |   atempts: 30
   |   ^^^^^^^ did you mean `attempts`?
2 errors
";
    assert_eq!(drawn, wanted);
}

#[test]
fn a_missing_file_says_what_to_do() {
    let faults = load(Path::new("/nonexistent/openpool.yaml"), env(&[])).unwrap_err();
    let drawn = faults.to_string();
    assert!(
        drawn.contains("E101") && drawn.contains("/nonexistent/openpool.yaml") && drawn.contains("init"),
        "{drawn}"
    );
    assert_eq!(load(Path::new("/"), env(&[])).unwrap_err().iter().count(), 1);
}

#[test]
fn the_file_is_found_by_flag_then_variable_then_place() {
    let named = Path::new("a.yaml");
    let env = env(&[("OPENPOOL_CONFIG", "b.yaml")]);
    assert_eq!(find(Some(named), &env), named);
    assert_eq!(find(None, &env), Path::new("b.yaml"));
    assert!(PLACES.iter().any(|place| find(None, &BTreeMap::new()) == Path::new(place)));
}

#[test]
fn go_livepeer_spellings_are_led_home() {
    for (text, remedy) in [
        ("orchestrators:\n  - orchSecret: x\n", "did you mean `secret`?"),
        ("orchestrators:\n  - orchAddr: x\n", "`orchestrators[].url`"),
        ("-orchSecret: x\n", "`orchestrators[].secret`"),
        ("maxSessions: 3\n", "`workers.most_capacity`"),
        ("pool:\n  serviceAddr: x\n", "`workers.public_address`"),
        ("session_idle: 3 s\n", "belongs in `routing`"),
        ("pool:\n  log: info\n", "belongs on the top level"),
        ("orchestrators:\n  - address: x\n", "did you mean `url`?"),
        ("workers:\n  openCapacity: 3\n", "did you mean `open_capacity`?"),
    ] {
        let drawn = check_text(text);
        assert!(drawn.contains(remedy), "{text}: {drawn}");
    }
}
