//! The trickle requests: write, read, next, close.
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;

use super::Trickle;
use super::channel::{Channel, Segment};
use crate::sim::orchestrator::listen::{Body, Error, full, text};

const SEQ: &str = "lp-trickle-seq";
const LATEST: &str = "lp-trickle-latest";
const CLOSED: &str = "lp-trickle-closed";
const RESET: &str = "lp-trickle-reset";

/// `path` is what follows the base: `<name>`, `<name>/next`, `<name>/<seq>`.
pub(in crate::sim) async fn answer(trickle: &Trickle, path: &str, request: Request<Incoming>) -> Response<Body> {
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let method = request.method().clone();
    if rest.is_empty() && method == Method::DELETE {
        return match trickle.close(name) {
            true => text(StatusCode::OK, ""),
            false => text(StatusCode::BAD_REQUEST, "Invalid stream\n"),
        };
    }
    let Some(channel) = trickle.channel(name) else {
        let mut response = text(StatusCode::NOT_FOUND, "Stream not found\n");
        // h2 has no such header; hyper drops it there.
        if method == Method::POST && !rest.is_empty() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    };
    if rest.is_empty() {
        let known = if method == Method::POST { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED };
        return text(known, "");
    }
    if rest == "next" && method == Method::GET {
        return next(&channel);
    }
    let Ok(number) = rest.parse::<i64>() else { return text(StatusCode::BAD_REQUEST, "Invalid idx\n") };
    match method {
        Method::GET => read(channel, number).await,
        Method::POST => write(channel, number, request).await,
        Method::DELETE => match channel.find(number) {
            Some(segment) => {
                segment.close();
                text(StatusCode::OK, "")
            }
            None => text(StatusCode::BAD_REQUEST, "Nonexistent segment\n"),
        },
        _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

fn next(channel: &Channel) -> Response<Body> {
    let latest = channel.latest();
    let mut response = text(StatusCode::OK, "");
    *response.body_mut() = full(latest.to_string().into());
    number(&mut response, LATEST, latest);
    closed(&mut response, channel.closed());
    response
}

async fn read(channel: Arc<Channel>, wanted: i64) -> Response<Body> {
    let found = channel.for_read(wanted);
    let Some(segment) = found.segment else {
        let mut response = text(StatusCode::OK, "Entry not found");
        if !found.closed {
            *response.status_mut() = StatusCode::from_u16(470).unwrap_or(StatusCode::NOT_FOUND);
        }
        number(&mut response, LATEST, found.latest);
        number(&mut response, SEQ, found.number);
        closed(&mut response, found.closed);
        return response;
    };
    // Headers leave with the first byte, or with the end.
    let mut response = text(StatusCode::OK, "");
    number(&mut response, SEQ, segment.number);
    if segment.chunk(0).await.is_none() {
        number(&mut response, LATEST, channel.latest());
        closed(&mut response, channel.closed());
        return response;
    }
    if segment.number != found.latest {
        number(&mut response, LATEST, found.latest);
    }
    if let Ok(mime) = HeaderValue::from_str(&channel.mime) {
        response.headers_mut().insert(header::CONTENT_TYPE, mime);
    }
    response.map(|_| streamed(segment))
}

fn streamed(segment: Arc<Segment>) -> Body {
    let chunks = futures_util::stream::unfold((segment, 0), |(segment, at)| async move {
        let (chunk, _) = segment.chunk(at).await?;
        Some((Ok::<_, Error>(Frame::data(chunk)), (segment, at + 1)))
    });
    StreamBody::new(chunks).boxed_unsync()
}

async fn write(channel: Arc<Channel>, wanted: i64, request: Request<Incoming>) -> Response<Body> {
    if wanted < -1 {
        // A Go handler panics here.
        return text(StatusCode::INTERNAL_SERVER_ERROR, "");
    }
    let segment = channel.for_write(wanted);
    if request.headers().contains_key(RESET) {
        channel.reset(segment.number);
    }
    let mut body = request.into_body();
    let mut begun = false;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // Wakes a writer that waits with an empty body.
            () = segment.ended(), if !begun => None,
        };
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return text(StatusCode::INTERNAL_SERVER_ERROR, "Server error\n"),
            None => break,
        };
        if data.is_empty() {
            continue;
        }
        if !begun {
            channel.wrote(&segment);
            begun = true;
        }
        if !segment.write(data) {
            segment.close();
            return text(StatusCode::PAYLOAD_TOO_LARGE, "too long\n");
        }
    }
    let mut response = text(StatusCode::OK, "");
    number(&mut response, SEQ, segment.number);
    if !begun {
        // Uses up its number all the same.
        channel.wrote(&segment);
        closed(&mut response, channel.closed());
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    segment.close();
    response
}

fn number(response: &mut Response<Body>, name: &'static str, value: i64) {
    response.headers_mut().insert(name, HeaderValue::from(value));
}

fn closed(response: &mut Response<Body>, closed: bool) {
    if closed {
        response.headers_mut().insert(CLOSED, HeaderValue::from_static("terminated"));
    }
}
