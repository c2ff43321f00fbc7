//! `serve`: the proxy itself, until SIGTERM or Ctrl-C.
use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::app;
use crate::config::settings::Settings;

/// Serves until told to stop; a second signal ends at once.
pub async fn run(settings: Settings) -> Result<()> {
    let drain = settings.drain;
    let orchestrators = settings.orchestrators.len();
    let name = settings.pool_name.clone();
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let running = app::start(settings).await?;
    tracing::info!(
        pool = %name, workers = %running.worker_addr, operator = %running.admin_addr, orchestrators,
        certificate = %running.fingerprint, "serving"
    );
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(jobs = running.pool.jobs(), seconds = drain.as_secs(), "draining; a second signal ends at once");
    tokio::select! {
        clean = running.stop(drain) => tracing::info!(clean, "stopped"),
        _ = term.recv() => tracing::warn!("stopped by a second signal"),
        _ = interrupt.recv() => tracing::warn!("stopped by a second signal"),
    }
    Ok(())
}
