//! For the operator: metrics, health, status. Loopback unless configured otherwise.
pub mod config;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::pool::Pool;
use crate::transport::tasks::Tasks;

/// What the admin plane shows beside the pool itself.
#[derive(Clone)]
pub struct Sources {
    pub pool: Pool,
    /// Renders the Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// State of the orchestrators, as JSON.
    pub orchestrators: Arc<dyn Fn() -> Value + Send + Sync>,
    pub pool_name: String,
    /// Where the runner port listens; None: there is none.
    pub runner_port: Option<SocketAddr>,
}

/// Serves until the task set stops.
pub async fn serve(listener: TcpListener, sources: Sources, tasks: Tasks) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .with_state(sources);
    let stop = tasks.token();
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn metrics(State(sources): State<Sources>) -> Response {
    let text = (sources.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Ready: storage takes writes and the pool takes jobs.
async fn ready(State(sources): State<Sources>) -> Response {
    if let Err(why) = sources.pool.healthy() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("the ledger has stopped: {why}\n")).into_response();
    }
    if sources.pool.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    "ready\n".into_response()
}

async fn status(State(sources): State<Sources>) -> Json<Value> {
    let mut pool = serde_json::to_value(sources.pool.view()).unwrap_or_default();
    let mut ai = pool.as_object_mut().and_then(|pool| pool.remove("ai")).unwrap_or_default();
    ai["port"] = json!(sources.runner_port);
    Json(json!({
        "name": sources.pool_name,
        "version": env!("CARGO_PKG_VERSION"),
        "pool": pool,
        "ai": ai,
        "orchestrators": (sources.orchestrators)(),
    }))
}
