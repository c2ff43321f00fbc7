//! The proxies of the runner bench, each in a process of its own.
#![allow(clippy::expect_used, reason = "what is not there ends the run")]
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use openpool_proxy::app;
use openpool_proxy::config::settings::{JournalConfig, Settings};
use openpool_proxy::domain::ai::{ModelKey, ModelOffer, Pipeline};
use openpool_proxy::domain::ids::WorkerName;
use openpool_proxy::planes::admin::config::AdminConfig;
use openpool_proxy::planes::runner::runners::RunnerWorker;
use openpool_proxy::planes::runner::{
    FixedDoorman, FixedRunner, PlaneConfig, RunnerConfig, RunnerLimits, Trust, Upstream, open,
};
use openpool_proxy::planes::uplink::config::UplinkConfig;
use openpool_proxy::planes::worker::config::WorkerConfig;
use openpool_proxy::pool::Rules;
use openpool_proxy::transport::{EdgeLimits, Tasks};

use super::rig::Cpu;

/// Somebody who serves on `address`.
pub struct Peer {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Processes that do its work.
    pids: Vec<u32>,
    child: Child,
    _folder: Option<tempfile::TempDir>,
}

/// Ourselves with another task: `runner` or `plane`.
pub fn ourselves(name: &'static str, task: &[&str]) -> Peer {
    let program = std::env::current_exe().expect("our own path");
    let mut child = Command::new(program).args(task).stdout(Stdio::piped()).spawn().expect("a child");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("its address");
    let address = line.trim().parse().expect("an address");
    Peer { name, address, pids: vec![child.id()], child, _folder: None }
}

/// The whole program with one runner: routing, limits, accounting; serves until it is killed.
pub fn pool(runner: SocketAddr, threads: usize) -> ! {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::Builder::new().prefix("openpool-bench").tempdir().expect("a temporary folder");
        let running = app::start(settings(folder.path().into(), runner, threads)).await.expect("our pool");
        let wanted = 4;
        while running.pool.ai_models().len() < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{}", running.runner_addr.expect("the runner port"));
        std::future::pending().await
    })
}

fn settings(data: PathBuf, runner: SocketAddr, threads: usize) -> Settings {
    let offer = |pipeline, model: &str| ModelOffer {
        key: ModelKey::new(pipeline, model),
        capacity: 25,
        warm: true,
        version: String::new(),
    };
    let models = vec![
        offer(Pipeline::TextToImage, "m"),
        offer(Pipeline::TextToImage, super::http::LARGE_MODEL),
        offer(Pipeline::ImageToImage, "m"),
        offer(Pipeline::Llm, "m"),
    ];
    let worker = RunnerWorker {
        name: WorkerName("bench".into()),
        url: format!("http://{runner}").parse().expect("an address"),
        token: None,
        address: None,
        region: None,
        pin: None,
        health: "/health".into(),
        models,
    };
    let port = RunnerConfig { listen: any(), threads, ..RunnerConfig::default() };
    Settings {
        pool_name: "bench".into(),
        data,
        rules: Rules::default(),
        worker: WorkerConfig { listen: any(), public_address: None, certificate: None, help_url: None },
        edge: EdgeLimits::default(),
        orchestrators: Vec::new(),
        uplink: UplinkConfig::default(),
        runner: PlaneConfig { port: Some(port), runners: vec![worker], ..PlaneConfig::default() },
        admin: AdminConfig { listen: any() },
        shared_secret: None,
        journal: JournalConfig::default(),
        log: "error".into(),
        drain: Duration::from_secs(1),
    }
}

/// Our port alone, with a fixed runner: what the pool adds is the difference. Until it is killed.
pub fn plane(runner: SocketAddr, threads: usize) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let limits = RunnerLimits::default();
        let upstream = Arc::new(Upstream::new(runner, "runner", Trust::Plain, &limits));
        let doorman = FixedDoorman::new(vec![FixedRunner { path: "/".into(), upstream, token: None }]);
        let config = RunnerConfig { listen: any(), threads, limits, ..RunnerConfig::default() };
        let port = open(config, Arc::new(doorman), &Tasks::new()).await.expect("our port");
        println!("{}", port.address);
        std::future::pending().await
    })
}

/// None: it is not installed.
pub fn nginx(runner: SocketAddr, threads: usize) -> Option<Peer> {
    let address = free();
    let text = |folder: &Path| {
        format!(
            "worker_processes {threads};\ndaemon off;\nuser {user};\npid {folder}/pid;\nerror_log {folder}/error crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n access_log off;\n client_max_body_size 0;\n client_body_temp_path {folder}/body;\n \
             proxy_temp_path {folder}/proxy;\n fastcgi_temp_path {folder}/f;\n uwsgi_temp_path {folder}/u;\n \
             scgi_temp_path {folder}/s;\n keepalive_requests 100000000;\n \
             upstream runner {{ server {runner}; keepalive 64; keepalive_requests 100000000; }}\n \
             server {{\n  listen {address};\n  location / {{\n   proxy_pass http://runner;\n   proxy_http_version 1.1;\n   \
             proxy_set_header Connection \"\";\n   proxy_buffering off;\n   proxy_request_buffering off;\n  }}\n }}\n}}\n",
            folder = folder.display(),
            user = if is_root() { "root" } else { "nobody" },
        )
    };
    started("nginx", address, text, |folder, file| {
        vec!["-p".into(), folder.display().to_string(), "-e".into(), "stderr".into(), "-c".into(), file]
    })
}

pub fn haproxy(runner: SocketAddr, threads: usize) -> Option<Peer> {
    let address = free();
    let text = |_: &Path| {
        format!(
            "global\n  nbthread {threads}\n  maxconn 2000\ndefaults\n  mode http\n  timeout connect 5s\n  \
             timeout client 60s\n  timeout server 60s\n  option http-no-delay\nfrontend f\n  bind {address}\n  \
             default_backend b\nbackend b\n  http-reuse always\n  server s {runner}\n"
        )
    };
    started("haproxy", address, text, |_, file| vec!["-db".into(), "-f".into(), file])
}

fn started(
    name: &'static str,
    address: SocketAddr,
    text: impl Fn(&Path) -> String,
    arguments: impl Fn(&Path, String) -> Vec<String>,
) -> Option<Peer> {
    let program = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|at| Path::new(at).join(name));
    let program = program.into_iter().find(|at| at.exists())?;
    let folder = tempfile::Builder::new().prefix("openpool-bench").tempdir().expect("a temporary folder");
    let file = folder.path().join("conf");
    std::fs::write(&file, text(folder.path())).expect("a configuration");
    let arguments = arguments(folder.path(), file.display().to_string());
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect(name);
    let mut peer = Peer { name, address, pids: vec![child.id()], child, _folder: Some(folder) };
    assert!(super::http::answers(address), "{name} does not serve");
    peer.pids.extend(children(peer.child.id()));
    Some(peer)
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t"))
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn free() -> SocketAddr {
    TcpListener::bind(any()).and_then(|listener| listener.local_addr()).expect("a free port")
}

// === impl Peer ===

impl Peer {
    /// Processor seconds so far, of all its processes.
    pub fn cpu(&self) -> f64 {
        self.pids.iter().map(|pid| Cpu::of(&pid.to_string()).total()).sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The master first takes its workers along.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
