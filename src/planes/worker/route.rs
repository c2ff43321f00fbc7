//! Which request goes where, as a stock orchestrator dispatches; HTTP/1.1 may only download.
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::register::Service;
use super::{Plane, ai_result, input, register, reply, result, segment};
use crate::transport::{Body, ConnectionInfo};
use crate::wire::headers::{AI_REGISTER_PATH, AI_RESULTS_PATH, REGISTER_PATH, RESULTS_PATH};

pub(super) async fn route(plane: Arc<Plane>, request: Request<Incoming>) -> Response<Body> {
    let Some(info) = request.extensions().get::<ConnectionInfo>().cloned() else {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "no connection");
    };
    if request.version() != Version::HTTP_2 {
        return match unfit_for_h1(&request) {
            Some((status, why)) => closing(reply::text(status, why)),
            None => download(&plane, &info, &request).await,
        };
    }
    if is_grpc(&request) {
        return match request.uri().path() {
            REGISTER_PATH => register::register(plane, info, Service::Transcoder, request).await,
            AI_REGISTER_PATH => register::register(plane, info, Service::AiWorker, request).await,
            _ => reply::unimplemented(),
        };
    }
    match (request.method(), request.uri().path()) {
        (&Method::POST, RESULTS_PATH) => result::result(&plane, &info, request).await,
        (&Method::POST, AI_RESULTS_PATH) => ai_result::result(&plane, &info, request).await,
        (_, RESULTS_PATH | AI_RESULTS_PATH) => reply::text(StatusCode::METHOD_NOT_ALLOWED, "results come by POST"),
        (&Method::GET | &Method::HEAD, _) => download(&plane, &info, &request).await,
        _ => reply::not_found(),
    }
}

async fn download(plane: &Plane, info: &ConnectionInfo, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if let Some(key) = path.strip_prefix(segment::PREFIX) {
        segment::segment(&plane.pool, info, key).await
    } else if let Some(key) = path.strip_prefix(input::PREFIX) {
        input::input(&plane.pool, info, key)
    } else {
        reply::not_found()
    }
}

/// Whether a request over HTTP/1.1 could be read in two ways, or asks for more than a download.
fn unfit_for_h1(request: &Request<Incoming>) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    match request.method() {
        &Method::CONNECT => return Some((StatusCode::METHOD_NOT_ALLOWED, "this is no proxy for CONNECT")),
        &Method::GET | &Method::HEAD => {}
        _ => return Some((StatusCode::BAD_REQUEST, "over HTTP/1.1 only GET and HEAD; post results over HTTP/2")),
    }
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Some((StatusCode::BAD_REQUEST, "a GET has no body"));
    }
    headers.contains_key(UPGRADE).then_some((StatusCode::BAD_REQUEST, "no upgrade here; HTTP/2 comes by ALPN"))
}

fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
