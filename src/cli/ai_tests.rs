//! Tests of `ai models` and `status` against what a proxy answers.
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use clap::Parser;

use super::*;
use crate::cli::status::{StatusArgs, run};
use crate::config;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    status: StatusArgs,
}

/// An operator port that answers each request with this.
fn answering(status: &Value) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = status.to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0u8; 512]).unwrap();
            let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

fn settings(more: &str, admin: SocketAddr) -> Settings {
    let text = format!(
        "pool:\n  name: Fjord\norchestrators:\n  - url: a:8935\n    secret: env:S\nadmin:\n  listen: {admin}\n{more}"
    );
    config::of_text("pool.yaml", &text).unwrap_or_else(|faults| panic!("{faults}")).settings
}

fn status() -> Value {
    serde_json::json!({
        "name": "Fjord",
        "pool": { "up_seconds": 4, "workers": [], "capacity": 0, "sessions": 0, "jobs": 0, "ledger": "ok" },
        "ai": {
            "jobs": 1, "waiting": 0, "capacity": 5, "port": "0.0.0.0:9000",
            "models": [
                { "pipeline": "text-to-image", "model": "org/model", "capacity": 3, "warm": true, "version": "0.14.1", "workers": 2 },
                { "pipeline": "llm", "model": "org/other:8b", "capacity": 2, "warm": false, "version": "", "workers": 1 },
                { "pipeline": "byoc", "model": "my-job", "capacity": 2, "warm": true, "version": "", "workers": 1 },
            ],
            "workers": [{
                "worker": "gpu7", "road": "runner", "state": "ready", "why": "", "score": 12_500_000.0, "unit": "pixels",
                "running": 1, "capacity": 3, "jobs": 12, "failures": 1,
                "models": [{ "pipeline": "text-to-image", "model": "org/model", "capacity": 3 }],
            }],
        },
        "orchestrators": [],
    })
}

fn printed(url: Option<&str>, settings: &Settings) -> (Value, String) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    models(&ModelsArgs { url: url.map(str::to_owned) }, settings, &mut out, &mut notes).unwrap();
    (serde_json::from_slice(&out).unwrap(), String::from_utf8(notes).unwrap())
}

#[test]
fn each_model_of_the_pool_has_its_entry() {
    let admin = answering(&status());
    let settings = settings(
        "runner:\n  listen: 0.0.0.0:9000\n  token: env:T\nai:\n  prices: [llm 7/10, text-to-image org/model 4]\n",
        admin,
    );
    let (file, notes) = printed(None, &settings);
    assert_eq!(
        file,
        serde_json::json!([
            {
                "pipeline": "text-to-image", "model_id": "org/model",
                "url": "http://127.0.0.1:9000/m/text-to-image/org/model", "token": "secret", "warm": true, "capacity": 3,
                "price_per_unit": 4, "pixels_per_unit": 1, "currency": "wei",
            },
            {
                "pipeline": "llm", "model_id": "org/other:8b", "url": "http://127.0.0.1:9000/m/llm/org/other:8b",
                "token": "secret", "warm": false, "capacity": 2,
                "price_per_unit": 7, "pixels_per_unit": 10, "currency": "wei",
            },
        ])
    );
    assert!(notes.contains("--url") && notes.contains("token") && !notes.contains("price"), "{notes}");
    let (file, _) = printed(Some("https://pool.example:443/"), &settings);
    assert_eq!(file[0]["url"], "https://pool.example:443/m/text-to-image/org/model");
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let args = ModelsArgs { url: Some("ftp://pool.example".into()) };
    assert!(models(&args, &settings, &mut out, &mut notes).is_err());
}

#[test]
fn without_price_and_token_the_entry_says_nothing_of_them() {
    let settings = settings("runner:\n  listen: 127.0.0.1:9000\n", answering(&status()));
    let (file, notes) = printed(None, &settings);
    let keys: Vec<&String> = file[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["capacity", "model_id", "pipeline", "url", "warm"]);
    assert!(notes.contains("no model has a price"), "{notes}");
}

#[test]
fn without_a_port_it_says_what_to_set() {
    let settings = settings("", answering(&status()));
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let why = models(&ModelsArgs { url: None }, &settings, &mut out, &mut notes).unwrap_err();
    assert!(why.to_string().contains("runner.listen"), "{why}");
}

#[test]
fn the_status_table_shows_ai_workers() {
    let mut out = Vec::new();
    run(&Line::parse_from(["status"]).status, answering(&status()), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("ai   1 workers   3 models   capacity 5   jobs 1   waiting 0"), "{text}");
    let row = text.lines().find(|line| line.contains("gpu7")).unwrap();
    for cell in ["runner", "ready", "12.5M pixels/s", "text-to-image org/model x3"] {
        assert!(row.contains(cell), "{cell}: {text}");
    }
}
