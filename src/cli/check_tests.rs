//! Tests of `check` against real sockets and folders.
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use crate::sim::orchestrator::{OrchestratorPlan, SimOrchestrator, Traffic};

use super::*;

/// Something that is no orchestrator: answers each connection's first bytes by others.
fn answering(with: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0u8; 512]).unwrap();
            stream.write_all(with).unwrap();
        }
    });
    address
}

/// A simulated orchestrator with this secret, on a thread of its own for the life of the test.
fn orchestrator(secret: &str) -> String {
    let plan = OrchestratorPlan::new(secret, Traffic::None);
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let orchestrator = SimOrchestrator::start(plan).await.unwrap();
            send.send(orchestrator.address().to_string()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receive.recv().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Given {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn given(url: &str, worker: u16, more: &str) -> Given {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.yaml");
    let text = format!(
        "pool:\n  name: Fjord Pool\n  data: {}/data\norchestrators:\n  - url: {url}\n    secret: env:S\n\
         workers:\n  listen: 127.0.0.1:{worker}\nadmin:\n  listen: 127.0.0.1:{}\nlimits:\n  connections: 64\n{more}",
        folder.path().display(),
        free_port(),
    );
    fs::write(&file, text).unwrap();
    Given { _folder: folder, file }
}

fn go(given: &Given, config_only: bool) -> (u8, String) {
    let env: BTreeMap<String, String> = [("S".to_owned(), "hunter2-planted".to_owned())].into();
    let mut out = Vec::new();
    let code = run(&CheckArgs { config_only }, Some(&given.file), &env, false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    (code, text)
}

#[test]
fn a_sound_world_is_good() {
    let given = given(&orchestrator("hunter2-planted"), free_port(), "");
    let (code, text) = go(&given, false);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("0 errors") && text.contains("secret accepted") && text.contains("fsync"), "{text}");
    assert_eq!(text.matches(" free").count(), 2, "{text}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("127.0.0.1:{}", free_port());
    let more = "routing:\n  fairness: 0.3\n";
    let given = given(&closed, taken.local_addr().unwrap().port(), more);
    fs::write(given.file.with_file_name("data"), "a file in the way of the folder").unwrap();
    let text = fs::read_to_string(&given.file).unwrap();
    let pem = "  certificate: /nonexistent/tls.crt\n  key: /nonexistent/tls.key\n";
    fs::write(&given.file, text.replace("workers:\n", &format!("workers:\n{pem}"))).unwrap();
    let (code, text) = go(&given, false);
    assert_eq!(code, 78, "{text}");
    for told in ["E601", "E602", "E603", "E605", "nothing listens there", "is taken", "to change: "] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(go(&given, true).0, 0, "--config-only looks at the file only");
}

#[test]
fn a_wrong_secret_is_told() {
    let (code, text) = go(&given(&orchestrator("another"), free_port(), ""), false);
    assert!(code == 78 && text.contains("it refuses the secret") && text.contains("E608"), "{text}");
}

#[test]
fn what_is_no_orchestrator_is_told() {
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\n");
    let (code, text) = go(&given(&plain, free_port(), ""), false);
    assert!(code == 78 && text.contains("E604") && text.contains("no HTTP/2 over TLS"), "{text}");
    let tls = answering(&[21, 3, 1, 0, 2, 2, 40]);
    let (code, text) = go(&given(&format!("http://{tls}"), free_port(), ""), false);
    assert!(code == 78 && text.contains("no HTTP/2 over plain TCP"), "{text}");
}

#[test]
fn a_faulty_file_ends_by_78() {
    let given = given("127.0.0.1:8935", free_port(), "");
    fs::write(&given.file, "pool:\n  nam: x\n").unwrap();
    let (code, text) = go(&given, true);
    assert!(code == 78 && text.contains("did you mean `name`?"), "{text}");
}

#[test]
fn the_limit_of_open_files_is_read() {
    let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                Max open files            1024                 524288               files     \n";
    assert_eq!(super::super::world::soft_limit(text), Some(1024));
    assert_eq!(super::super::world::soft_limit("Max open files unlimited unlimited files"), Some(u64::MAX));
    assert_eq!(super::super::world::soft_limit(""), None);
}
