//! Who plays: the workers with their ways, and the configuration that the pool runs with.
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{DemoArgs, Transcode};
use crate::domain::ids::Address;
use crate::sim::{self, Behaviour, WorkerPlan};

pub(super) const CONFIG: &str = "openpool.yaml";
pub(super) const ORCHESTRATORS: [&str; 2] = ["oslo", "lima"];
/// Sessions that each worker takes.
const CAPACITY: i64 = 8;

/// Where a run keeps its files: a folder of its own, or the one that was asked for.
pub(super) enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

/// Workers beyond the first five are honest, of these speeds in turn.
const SPEEDS: [f64; 4] = [0.2, 0.35, 0.15, 0.5];

/// One worker's part.
pub(super) struct Role {
    pub(super) name: String,
    pub(super) address: Address,
    behaviour: Behaviour,
    /// Transcoding time / duration.
    ratio: f64,
    knee: u32,
}

pub(super) fn roles(workers: usize) -> Vec<Role> {
    let named = [
        ("fast", Behaviour::Honest, 0.1, 8),
        ("slow", Behaviour::Honest, 0.6, 3),
        ("fails", Behaviour::Fails { rate: 0.3 }, 0.2, 6),
        ("hangs", Behaviour::Hangs { rate: 0.15 }, 0.2, 6),
        ("cheats", Behaviour::Cheats, 0.15, 6),
    ];
    let role = |n: usize| {
        let (name, behaviour, ratio, knee) = match named.get(n) {
            Some((name, behaviour, ratio, knee)) => ((*name).to_owned(), *behaviour, *ratio, *knee),
            None => (format!("honest{}", n + 1), Behaviour::Honest, SPEEDS[n % SPEEDS.len()], 6),
        };
        // 0x0101...: nobody's, and told apart at a glance.
        let address = Address([u8::try_from(n % 254 + 1).unwrap_or(1); 20]);
        Role { name, address, behaviour, ratio, knee }
    };
    (0..workers).map(role).collect()
}

// === impl Role ===

impl Role {
    pub(super) fn plan(&self, token: &str, n: usize, args: &DemoArgs) -> WorkerPlan {
        WorkerPlan {
            capacity: CAPACITY,
            ratio: self.ratio,
            knee: self.knee,
            behaviour: self.behaviour,
            transcode: match args.transcode {
                Transcode::Prepared => sim::Transcode::Prepared,
                Transcode::Ffmpeg => sim::Transcode::Ffmpeg,
            },
            seed: args.seed.wrapping_add(n as u64),
            hang: Duration::from_secs(12),
            ..WorkerPlan::new(&self.name, token)
        }
    }

    /// What the opening line says of it; nothing of the honest and quick.
    pub(super) fn remark(&self) -> Option<&'static str> {
        match self.behaviour {
            Behaviour::Fails { .. } => Some("1 that fails"),
            Behaviour::Hangs { .. } => Some("1 that hangs"),
            Behaviour::Cheats => Some("1 that cheats"),
            _ if self.name == "slow" => Some("1 slow"),
            _ => None,
        }
    }

    pub(super) fn cheats(&self) -> bool {
        self.behaviour == Behaviour::Cheats
    }
}

// === impl Folder ===

impl Folder {
    pub(super) fn open(keep: Option<&Path>) -> Result<Folder> {
        let Some(kept) = keep else {
            let made = tempfile::Builder::new().prefix("openpool-demo").tempdir();
            return made.map(Folder::Temporary).context("making a temporary folder");
        };
        std::fs::create_dir_all(kept).with_context(|| format!("making {}", kept.display()))?;
        let whole = std::fs::canonicalize(kept).with_context(|| format!("finding {}", kept.display()))?;
        if whole.join(CONFIG).exists() {
            anyhow::bail!("{} holds an earlier run; name another folder, or remove it", whole.display());
        }
        Ok(Folder::Kept(whole))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Folder::Temporary(folder) => folder.path(),
            Folder::Kept(folder) => folder,
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join(CONFIG)
    }

    /// Writes the configuration, with `more` sections, and the orchestrators' secrets, as an operator would.
    pub(super) fn write(&self, ports: [u16; 2], orchestrators: &[(&str, String, String)], more: &str) -> Result<()> {
        let quoted = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
        let mut text = format!(
            "# Written by `openpool-proxy demo`.\n\
             pool:\n  name: Demo\n  data: {}\n\
             workers:\n  listen: 127.0.0.1:{}\n  join: invite\n\
             # Every peer of the demo has the same address.\n\
             limits:\n  connections_per_ip: 12000\n  unauthenticated_per_ip: 512\n\
             admin:\n  listen: 127.0.0.1:{}\nlog: warn\norchestrators:\n",
            quoted(&self.data()),
            ports[0],
            ports[1],
        );
        for (name, url, secret) in orchestrators {
            let file = self.path().join(format!("{name}.secret"));
            write_secret(&file, secret).with_context(|| format!("writing {}", file.display()))?;
            let reference = serde_json::Value::from(format!("file:{}", file.display()));
            text.push_str(&format!(
                "  - name: {name}\n    url: {url}\n    secret: {reference}\n    private_segment_hosts: true\n"
            ));
        }
        text.push_str(more);
        std::fs::create_dir_all(self.data()).context("making the data folder")?;
        std::fs::write(self.config(), text).with_context(|| format!("writing {}", self.config().display()))
    }
}

fn write_secret(file: &Path, secret: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(secret.as_bytes())
}
