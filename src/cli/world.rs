//! What `check` looks at outside of the file: ports, orchestrators, disk, certificate, open files.
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::check::{Chapter, Finding};
use super::world_ai;
use crate::config::settings::Settings;
use crate::planes::uplink::config::OrchestratorConfig;
use crate::planes::uplink::probe::{self, Word};
use crate::pool::clock::Clock;

/// The longest wait for one orchestrator's name, connection and answer, each.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// A slower disk holds the ledger up.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// Files beside connections: ledger, spilled results, connections to orchestrators.
const OTHER_FILES: u64 = 512;

/// Everything, orchestrators side by side so that dead ones cost one wait together.
pub(super) fn look(settings: &Settings) -> Vec<Chapter> {
    let probes: Vec<_> =
        settings.orchestrators.iter().cloned().map(|o| thread::spawn(move || orchestrator(&o))).collect();
    let runners = world_ai::runners(settings);
    let mut chapters = vec![("ports".into(), ports(settings))];
    for (probe, config) in probes.into_iter().zip(&settings.orchestrators) {
        let broken = || vec![unreachable("the probe broke off", config)];
        chapters.push((format!("orchestrator {}", config.name), probe.join().unwrap_or_else(|_| broken())));
    }
    chapters.extend(runners);
    let mut machine = vec![data_folder(&settings.data), open_files(settings)];
    machine.extend(certificate(settings));
    chapters.push(("machine".into(), machine));
    chapters
}

fn ports(settings: &Settings) -> Vec<Finding> {
    let mut all = vec![port(settings.worker.listen, "workers.listen"), port(settings.admin.listen, "admin.listen")];
    if let Some(runner) = &settings.runner.port {
        all.push(port(runner.listen, "runner.listen"));
        all.extend(world_ai::exposed(runner));
    }
    all
}

fn port(address: SocketAddr, key: &str) -> Finding {
    let error = match TcpListener::bind(address) {
        Ok(_) => return Finding::Good(format!("{address} free")),
        Err(error) => error,
    };
    let (why, remedy) = match error.kind() {
        ErrorKind::AddrInUse => (
            "is taken".to_owned(),
            format!("if it is not this pool itself: `ss -ltnp` shows what listens there; or change `{key}`"),
        ),
        ErrorKind::PermissionDenied => {
            ("may not be used by this user".to_owned(), format!("take a port above 1023 in `{key}`"))
        }
        ErrorKind::AddrNotAvailable => {
            ("is no address of this machine".to_owned(), format!("take one of `ip address`, or 0.0.0.0, in `{key}`"))
        }
        _ => (format!("cannot be used: {error}"), format!("change `{key}`")),
    };
    Finding::Error(format!("{address} {why}"), "E601", remedy)
}

fn unreachable(why: &str, config: &OrchestratorConfig) -> Finding {
    let remedy = "see that it runs (`-orchestrator -orchSecret`), that its `url` is right, that no firewall is between";
    Finding::Error(format!("{} cannot be reached: {why}", config.url.authority().map_or("", |a| a.as_str())), "E603", {
        remedy.into()
    })
}

/// Connects, and asks whether it would take us as its transcoder, without becoming one.
fn orchestrator(config: &OrchestratorConfig) -> Vec<Finding> {
    let Some(authority) = config.url.authority().map(|a| a.as_str().to_owned()) else { return vec![] };
    let clock = Clock::start();
    if let Err(error) = connect(&authority) {
        return vec![unreachable(&plain(&error), config)];
    }
    let took = clock.now().since(Default::default());
    let reached = Finding::Good(format!("reachable in {:.1} ms", took.as_secs_f64() * 1e3));
    let second = match ask(config) {
        Ok(Word::Welcome) => Finding::Good("secret accepted".into()),
        Ok(Word::WrongSecret) => Finding::Error("it refuses the secret".into(), "E608", {
            "`orchestrators[].secret` must hold the text of its -orchSecret".into()
        }),
        Ok(Word::OwnTranscoder) => Finding::Error("it runs its own transcoder and takes no others".into(), "E609", {
            "start it without -transcoder".into()
        }),
        Ok(Word::Other(text)) => Finding::Warning(format!("it answers: {text}"), "W610", {
            "see its log; is it a go-livepeer orchestrator?".into()
        }),
        Err(why) => Finding::Error(format!("no HTTP/2 over {}: {why}", scheme(config)), "E604", {
            "is it go-livepeer's port (8935 usually)? One behind somebody's TLS wants `url: http://...`".into()
        }),
    };
    vec![reached, second]
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "nothing listens there".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("no answer within {} s", PATIENCE.as_secs()),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "it hung up".into(),
        _ => error.to_string(),
    }
}

/// Looks the name up within bounds (the system's own look-up may take far longer), then connects.
fn connect(authority: &str) -> io::Result<TcpStream> {
    let (send, receive) = mpsc::sync_channel(1);
    let name = authority.to_owned();
    thread::spawn(move || send.send(name.to_socket_addrs().map(|found| found.take(4).collect::<Vec<_>>())));
    let found = receive.recv_timeout(PATIENCE).map_err(|_| io::Error::other("its name is not answered for"))??;
    let mut last = io::Error::other("its name has no address");
    for address in found {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(config: &OrchestratorConfig) -> Result<Word, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    runtime.block_on(probe::ask(config, PATIENCE))
}

fn scheme(config: &OrchestratorConfig) -> &'static str {
    if config.url.scheme_str() == Some("http") { "plain TCP" } else { "TLS" }
}

/// Writes and keeps 4 KiB where the ledger will be.
fn data_folder(data: &Path) -> Finding {
    // A folder that is not there yet is made at the start, in the nearest one that is.
    let there = data.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let made = if data.is_dir() { "" } else { " (made at the first start)" };
    let shown = data.display();
    let clock = Clock::start();
    if let Err(error) = write_and_sync(there) {
        let remedy = format!("`sudo install -d -o USER {shown}` for the user that runs this, or change `pool.data`");
        return Finding::Error(format!("{shown} cannot be written: {error}"), "E602", remedy);
    }
    let took = clock.now().since(Default::default());
    let text = format!("{shown}{made} writable, fsync {:.1} ms", took.as_secs_f64() * 1e3);
    if took > SLOW_SYNC {
        return Finding::Warning(text, "W607", "put `pool.data` on a local disk, not on a network".into());
    }
    Finding::Good(text)
}

fn write_and_sync(folder: &Path) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0x6f; 4096])?;
    file.sync_all()
}

fn open_files(settings: &Settings) -> Finding {
    let runner_port = settings.runner.port.as_ref().map_or(0, |port| port.limits.connections);
    let wanted = (settings.edge.connections + runner_port) as u64 + OTHER_FILES;
    let Some(allowed) = fs::read_to_string("/proc/self/limits").ok().and_then(|text| soft_limit(&text)) else {
        return Finding::Good("open files not known here".into());
    };
    if allowed >= wanted {
        return Finding::Good(format!("{allowed} open files"));
    }
    let text = format!("{allowed} open files are allowed, {wanted} may be wanted (`limits.connections`)");
    Finding::Warning(
        text,
        "W606",
        format!("`ulimit -n {0}`, or `LimitNOFILE={0}` in the systemd unit", wanted.next_power_of_two()),
    )
}

/// The soft limit of open files; `unlimited` is the largest number.
pub(super) fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn certificate(settings: &Settings) -> Vec<Finding> {
    let mut files = Vec::new();
    if let Some((chain, key)) = &settings.worker.certificate {
        files.extend([(chain, "workers.certificate", "BEGIN CERTIFICATE"), (key, "workers.key", "PRIVATE KEY")]);
    }
    if let Some((chain, key)) = settings.runner.port.as_ref().and_then(|port| port.tls.as_ref()) {
        files.extend([(chain, "runner.certificate", "BEGIN CERTIFICATE"), (key, "runner.key", "PRIVATE KEY")]);
    }
    files.into_iter().map(|(path, name, mark)| pem(path, name, mark)).collect()
}

fn pem(path: &Path, name: &str, mark: &str) -> Finding {
    let bad = |why: String, remedy: &str| {
        Finding::Error(format!("`{name}`: {}: {why}", path.display()), "E605", remedy.into())
    };
    let read = fs::metadata(path).and_then(|meta| {
        let mut text = String::new();
        fs::File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
        Ok((meta.permissions().mode() & 0o777, text))
    });
    match read {
        Err(error) => bad(error.to_string(), "name a PEM file that the user who runs this may read"),
        Ok((_, text)) if !text.contains(mark) => bad(format!("no `{mark}` in it"), "name a PEM file of the right kind"),
        Ok((mode, _)) if name.ends_with(".key") && mode & 0o007 != 0 => {
            let text = format!("{} has mode {mode:03o}, everybody may read the key", path.display());
            Finding::Warning(text, "E605", format!("`chmod 600 {}`", path.display()))
        }
        Ok(_) => Finding::Good(format!("{} readable", path.display())),
    }
}
