//! What the whole-process benches share: the proxy as a child process, and the kernel's word on
//! what it used.
#![allow(dead_code, clippy::expect_used, reason = "each bench uses a part; what is not there ends the run")]
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Between the proxy and its orchestrator.
pub const SECRET: &str = "bench";
/// Of /proc: 10 ms on every Linux that people run.
const TICKS: f64 = 100.0;

/// The release binary, serving.
pub struct Proxy {
    child: Child,
    pub workers: SocketAddr,
    pub admin: SocketAddr,
    _folder: tempfile::TempDir,
}

/// Processor seconds so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the time that passes")]
pub fn now() -> Instant {
    Instant::now()
}

// === impl Proxy ===

impl Proxy {
    /// Starts it with one orchestrator and workers in open mode; returns when it is ready.
    pub fn start(orchestrator: &str) -> Proxy {
        let folder = tempfile::Builder::new().prefix("openpool-bench").tempdir().expect("a temporary folder");
        let (workers, admin) = (free_port(), free_port());
        let secret = folder.path().join("orchestrator.secret");
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret).expect("a secret");
        file.write_all(SECRET.as_bytes()).expect("a secret");
        let text = format!(
            "pool:\n  name: Bench\n  data: {data}\n\
             workers:\n  listen: {workers}\n  join: open\n  open_capacity: 1000\n  most_capacity: 1000\n\
             uplink:\n  settle: 500ms\n  reregister_every: 1s\n\
             limits:\n  connections_per_ip: 12000\n  unauthenticated_per_ip: 512\n\
             admin:\n  listen: {admin}\nlog: warn\ndrain: 2s\n\
             orchestrators:\n  - name: bench\n    url: {orchestrator}\n    secret: 'file:{secret}'\n    \
             private_segment_hosts: true\n",
            data = folder.path().join("data").display(),
            secret = secret.display(),
        );
        let config = folder.path().join("openpool.yaml");
        std::fs::write(&config, text).expect("a configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_openpool-proxy"))
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .expect("the proxy");
        let proxy = Proxy { child, workers, admin, _folder: folder };
        proxy.until("ready", |_| true);
        proxy
    }

    /// Waits at most 60 s for the status to say so.
    pub fn until(&self, what: &str, good: impl Fn(&Value) -> bool) {
        let begun = now();
        while begun.elapsed() < Duration::from_secs(60) {
            if self.status().is_some_and(|status| good(&status)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("the proxy was never {what}: {:?}", self.status());
        std::process::exit(1);
    }

    pub fn seated(status: &Value) -> usize {
        status["pool"]["workers"].as_array().map_or(0, Vec::len)
    }

    /// `/status`.
    pub fn status(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu(&self) -> Cpu {
        Cpu::of(&self.pid().to_string())
    }

    /// Kilobytes of memory that it holds.
    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A clean end, as a service manager asks for it.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let begun = now();
        while begun.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Cpu ===

impl Cpu {
    /// Of a process, by its number or `self`.
    pub fn of(process: &str) -> Cpu {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("/proc");
        // The name in brackets may hold anything; fields are counted after it.
        let fields: Vec<&str> = text.rsplit_once(')').expect("a stat line").1.split_whitespace().collect();
        let seconds = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default() / TICKS;
        Cpu { user: seconds(11), system: seconds(12) }
    }

    pub fn since(self, before: Cpu) -> Cpu {
        Cpu { user: self.user - before.user, system: self.system - before.system }
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Seconds that the machine's processors were not idle, summed.
pub fn machine_busy() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").expect("/proc");
    let fields = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|f| f.parse().ok()).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().take(8).sum::<f64>() - idle) / TICKS
}

pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `part` in a hundred of sorted figures.
pub fn percentile(sorted: &[u32], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part / 100.0) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |v| f64::from(*v))
}

/// An address of an open worker, all different.
pub fn worker_secret(n: usize) -> String {
    format!("0x{:040x}.rig{n}", n + 1)
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}
