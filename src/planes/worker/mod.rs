//! We look like an orchestrator: stock transcoders and AI workers register, fetch their input,
//! post results.
mod ai_result;
mod ai_upload;
pub mod config;
mod events;
mod input;
mod register;
mod reply;
mod result;
mod route;
mod segment;
mod upload;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::pool::Pool;
use crate::transport::serve::{Edge, EdgeStats};
use crate::transport::tls::ServerTls;
use crate::transport::{self, EdgeLimits, Tasks};
use config::WorkerConfig;

/// What every request needs.
struct Plane {
    pool: Pool,
    config: WorkerConfig,
    edge: Arc<EdgeLimits>,
    tasks: Tasks,
}

/// Serves workers on a bound listener until the tasks are told to end; connections then run on as
/// tasks of their own, until their streams have ended or `tasks` cuts them.
pub async fn serve(
    pool: Pool,
    config: WorkerConfig,
    edge: EdgeLimits,
    tls: ServerTls,
    listener: TcpListener,
    tasks: Tasks,
    stats: Arc<EdgeStats>,
) {
    let limits = Arc::new(edge);
    let plane = Arc::new(Plane { pool, config, edge: limits.clone(), tasks: tasks.clone() });
    let edge = Edge { tls, limits, tasks, stats };
    transport::serve::serve(listener, edge, move |request| route::route(plane.clone(), request)).await;
}
