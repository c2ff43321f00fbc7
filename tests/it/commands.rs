//! The commands as a new user runs them: the built program, a folder of its own, nothing else.
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_openpool-proxy");
/// An orchestrator that is not there: the commands tried here do not need one.
const NOBODY: &str = "127.0.0.1:9";

struct Home {
    folder: TempDir,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Ends with the test, also with one that fails.
struct Serving(Child);

// === impl Home ===

impl Home {
    fn new() -> Home {
        Home { folder: tempfile::tempdir().unwrap() }
    }

    /// With the file that `init` writes, changed to ports that are free here.
    fn with_file() -> Home {
        let home = Home::new();
        let said = home.init();
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let file = home.path("openpool.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let [workers, admin] = free_ports();
        let changed = text.replace(":8945", &format!(":{workers}")).replace(":7945", &format!(":{admin}"));
        std::fs::write(&file, changed).unwrap();
        home
    }

    fn init(&self) -> Said {
        let flags = ["--orchestrator", NOBODY, "--orchestrator-secret", "not-a-secret-of-ours", "--name", "Fjord Pool"];
        self.run(&[&["init"], &flags[..]].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        // Whoever runs the tests may have a pool of their own.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OPENPOOL_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        Said::new(self.command(args).output().unwrap())
    }

    /// What a command prints, which must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        said.out
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    fn serve(&self, config: &Path) -> Serving {
        let config = config.to_str().unwrap();
        let mut command = self.command(&["--config", config, "serve"]);
        let log = std::fs::File::create(self.path("serve.log")).unwrap();
        Serving(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

// === impl Said ===

impl Said {
    fn new(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

// === impl Serving ===

impl Serving {
    /// SIGTERM, and the exit code.
    fn terminate(mut self) -> Option<i32> {
        // The shell's own: a bare machine has no other.
        let told = Command::new("sh").args(["-c", &format!("kill {}", self.0.id())]).status().unwrap();
        assert!(told.success());
        for _ in 0..200 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        None
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Once it has come to pass, within 15 s.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..150 {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}: not within 15 s");
}

#[test]
fn a_new_file_is_faultless_and_says_where_each_value_is_from() {
    let home = Home::new();
    let said = home.init();
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("openpool-proxy check"), "no word of what comes next: {}", said.out);
    assert!(!said.out.contains("not-a-secret-of-ours"));
    let text = std::fs::read_to_string(home.path("openpool.yaml")).unwrap();
    assert!(!text.contains("not-a-secret-of-ours"), "the secret has a file of its own");
    home.ok(&["check", "--config-only"]);

    let again = home.init();
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--force"), "{}", again.err);

    let keys = home.json(&["config", "show", "-o", "json"]);
    let row = |key: &str| keys.as_array().unwrap().iter().find(|row| row["key"] == key).cloned().unwrap();
    assert_eq!(row("pool.name")["value"], "Fjord Pool");
    assert!(row("pool.name")["origin"].as_str().unwrap().contains("openpool.yaml:"), "{}", row("pool.name"));
    assert_eq!(row("uplink.registrations")["origin"], "default");
    let mut changed = home.command(&["config", "show", "-o", "csv"]);
    let shown = Said::new(changed.env("OPENPOOL_ROUTING__FAIRNESS", "0.5").output().unwrap());
    let line = shown.out.lines().find(|line| line.starts_with("routing.fairness,")).unwrap();
    assert!(line.contains("0.5") && line.contains("OPENPOOL_ROUTING__FAIRNESS"), "{line}");
}

#[test]
fn a_broken_file_ends_with_78_and_every_fault_in_its_place() {
    let home = Home::with_file();
    let file = home.path("openpool.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("commission: 25 %", "comission: 25 %").replace("1200", "cheap")).unwrap();
    for command in [&["check", "--config-only"][..], &["serve"], &["config", "show"], &["ledger", "report"]] {
        let said = home.run(command);
        let words = said.out + &said.err;
        assert_eq!(said.code, 78, "{command:?}: {words}");
        for at in ["openpool.yaml:4:3", "openpool.yaml:5:10"] {
            assert!(words.contains(at), "{command:?} names no {at}: {words}");
        }
        assert!(words.contains("commission"), "{command:?} suggests nothing: {words}");
    }
    std::fs::remove_file(&file).unwrap();
    let said = home.run(&["serve"]);
    assert_eq!(said.code, 78, "{}{}", said.out, said.err);
}

#[test]
fn an_invitation_is_a_line_to_copy_and_a_hash_in_the_folder() {
    let home = Home::with_file();
    let address = format!("0x{}", "1f".repeat(20));
    let said = home.ok(&["worker", "invite", "--name", "rig1", "--address", &address]);
    let line = said.lines().find(|line| line.contains("livepeer -transcoder")).unwrap();
    let token = line.split_whitespace().skip_while(|word| *word != "-orchSecret").nth(1).unwrap();
    assert!(token.starts_with("opw_") && token.len() > 40, "{token}");
    let data = home.path("openpool-data");
    for file in std::fs::read_dir(&data).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let kept = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!kept, "the token itself is in the data folder");
    }
    assert!(home.ok(&["worker", "revoke", token]).contains("rig1"));
    let said = home.run(&["worker", "invite", "--name", "rig1", "--address", "0x12"]);
    assert!(said.code == 2 && said.err.contains("40"), "{}", said.err);
}

#[test]
fn what_is_not_there_is_said_in_words() {
    let home = Home::with_file();
    for command in [&["ledger", "report"][..], &["ledger", "verify"], &["status"]] {
        let said = home.run(command);
        assert_eq!(said.code, 1, "{command:?}: {}{}", said.out, said.err);
        assert!(said.err.starts_with("error: ") && said.err.lines().count() == 1, "{command:?}: {}", said.err);
    }
    let said = home.run(&["explain", "not-a-job"]);
    assert_eq!(said.code, 2, "{}", said.err);
    // Nobody answers for the orchestrator: `check` says it, and where its address stands.
    let said = home.run(&["check"]);
    assert_eq!(said.code, 78, "{}{}", said.out, said.err);
    assert!((said.out.clone() + &said.err).contains(NOBODY), "{}{}", said.out, said.err);
}

/// AI by both doors: what the orchestrators charge is what the books hold.
#[test]
fn a_demo_with_ai_serves_every_pipeline_and_its_books_agree() {
    let home = Home::new();
    let tally = home.json(&["demo", "--ai", "--seconds", "5", "--streams", "2", "--json", "--keep", "kept"]);
    assert_eq!((&tally["ledger_balanced"], &tally["unanswered"]), (&true.into(), &0.into()), "{tally:#}");
    let config = home.path("kept/openpool.yaml");
    let config = config.to_str().unwrap();
    let rows = home.json(&["--config", config, "ledger", "report", "--by", "pipeline", "-o", "json"]);
    let pipelines = tally["pipelines"].as_array().unwrap();
    assert_eq!(pipelines.len(), 10);
    for pipeline in pipelines {
        let name = pipeline["name"].as_str().unwrap();
        assert_eq!(pipeline["lost"], 0, "{pipeline}");
        // Live video has its road or says that it has none.
        let served = pipeline["delivered"].as_u64().unwrap() > 0 && pipeline["p95_ms"].as_u64().unwrap() > 0;
        assert!(served || (name == "live-video-to-video" && pipeline["note"].is_string()), "{pipeline}");
        let row = rows.as_array().unwrap().iter().find(|row| row["pipeline"] == format!("{name} demo/model").as_str());
        if name != "live-video-to-video" {
            let row = row.unwrap_or_else(|| panic!("{name} is not in {rows:#}"));
            assert_eq!((&row["units"], &row["jobs"]), (&pipeline["units"], &pipeline["delivered"]), "{name}");
        }
    }
    let earned = |name: &str| {
        let worker = tally["ai_workers"].as_array().unwrap().iter().find(|worker| worker["name"] == name).unwrap();
        (worker["jobs"].as_u64().unwrap(), worker["earned_wei"].as_str().unwrap().to_owned())
    };
    for fast in ["runner-fast", "ai-fast"] {
        assert!(earned(fast).0 > 0 && earned(fast).1 != "0", "{fast}: {tally:#}");
    }
    assert!(earned("runner-fast").0 > earned("runner-slow").0, "{tally:#}");

    // Its runners are gone with the demo: nobody has a model, and `check` says which is away.
    let _serving = home.serve(Path::new(config));
    wait_for("status of what serves", || {
        (home.run(&["--config", config, "status", "-o", "json"]).code == 0).then_some(())
    });
    let said = home.run(&["--config", config, "ai", "models"]);
    assert_eq!((said.code, said.out.trim()), (0, "[]"), "{}", said.err);
    assert!(said.err.contains("no runner is well"), "{}", said.err);
    let said = home.run(&["--config", config, "check"]);
    assert!(said.code == 78 && said.out.contains("runner runner-fast") && said.out.contains("E611"), "{}", said.out);
}

/// A demo, then the books and the configuration that it left.
#[test]
fn a_kept_demo_can_be_reported_explained_and_served() {
    let home = Home::new();
    let tally = home.json(&["demo", "--seconds", "6", "--json", "--keep", "kept"]);
    let delivered = tally["segments_delivered"].as_u64().unwrap();
    assert!(delivered > 10 && tally["ledger_balanced"] == true, "{tally:#}");
    assert_eq!(
        (&tally["unanswered"], &tally["answered_late"], &tally["registrations_lost"]),
        (&0.into(), &0.into(), &0.into())
    );
    let config = home.path("kept/openpool.yaml");
    let with = |args: &[&str]| home.ok(&[&["--config", config.to_str().unwrap()], args].concat());
    let json = |args: &[&str]| -> Value { serde_json::from_str(&with(args)).unwrap() };

    let rows = json(&["ledger", "report", "--by", "worker", "-o", "json"]);
    let sum = |rows: &Value| rows.as_array().unwrap().iter().map(|row| row["segments"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&rows), delivered);
    for by in ["orchestrator", "day"] {
        assert_eq!(sum(&json(&["ledger", "report", "--by", by, "-o", "json"])), delivered, "by {by}");
    }
    let cheat = tally["workers"].as_array().unwrap().iter().find(|worker| worker["name"] == "cheats").unwrap();
    assert_eq!(cheat["earned_wei"], "0");
    assert_eq!(json(&["ledger", "verify", "-o", "json"])["balanced"], true);
    assert!(with(&["ledger", "verify"]).contains("the ledger is whole"));

    let job = paid_job(&home.path("kept/data"));
    let words = with(&["explain", &job]);
    for word in ["candidate", "chosen", "delivered after", "payable:", "commission"] {
        assert!(words.contains(word), "no `{word}` in: {words}");
    }
    let explained = json(&["explain", &job, "-o", "json"]);
    assert_eq!(explained["job"], job.as_str());
    let entries = explained["ledger"]["entries"].as_array().unwrap();
    let total: i128 = entries.iter().map(|entry| entry["wei"].as_str().unwrap().parse::<i128>().unwrap()).sum();
    assert!(entries.len() >= 3 && total == 0, "{entries:?}");

    let serving = home.serve(&config);
    let status = wait_for("status of what serves", || {
        let said = home.run(&["--config", config.to_str().unwrap(), "status", "-o", "json"]);
        (said.code == 0).then(|| serde_json::from_str::<Value>(&said.out).unwrap())
    });
    assert_eq!((&status["name"], &status["pool"]["ledger"]), (&"Demo".into(), &"ok".into()));
    // Its orchestrators are gone with the demo, and it says so.
    assert!(with(&["status"]).contains("orchestrator oslo"));
    assert_eq!(serving.terminate(), Some(0), "{}", std::fs::read_to_string(home.path("serve.log")).unwrap());
    assert_eq!(json(&["ledger", "verify", "-o", "json"])["balanced"], true);
}

/// A job of the ledger that was paid.
fn paid_job(data: &Path) -> String {
    let books = Connection::open(data.join("ledger.db")).unwrap();
    books.query_row("SELECT job FROM steps WHERE step = 'posted' LIMIT 1", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_start_that_cannot_be_names_what_is_in_the_way() {
    let home = Home::with_file();
    let file = std::fs::read_to_string(home.path("openpool.yaml")).unwrap();
    let admin = file.split("listen: 127.0.0.1:").nth(1).unwrap().split_whitespace().next().unwrap();
    let taken = TcpListener::bind(format!("127.0.0.1:{admin}")).unwrap();
    let said = home.run(&["serve"]);
    assert!(said.code == 1 && said.err.contains("change admin.listen"), "{}", said.err);
    drop(taken);

    let ledger = home.path("openpool-data/ledger.db");
    for left in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(home.path(&format!("openpool-data/ledger.db{left}")));
    }
    std::fs::write(&ledger, "a letter to a friend, not a database at all").unwrap();
    for command in [&["serve"][..], &["ledger", "verify"], &["ledger", "report"]] {
        let said = home.run(command);
        assert!(said.code == 1 && said.err.contains("ledger.db: it is not a database; move it"), "{}", said.err);
    }
    assert_eq!(std::fs::read(&ledger).unwrap().len(), 43, "what was there is as it was");
}
