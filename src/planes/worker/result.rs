//! Results: who sends what for which task, checked in the order of a stock orchestrator.
use http::{Request, Response};
use hyper::body::Incoming;

use super::{Plane, reply};
use crate::transport::{Body, ConnectionInfo};

pub(super) async fn result(plane: &Plane, info: &ConnectionInfo, request: Request<Incoming>) -> Response<Body> {
    let _ = (plane, info, request);
    reply::not_found()
}
