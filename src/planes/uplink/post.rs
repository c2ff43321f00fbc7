//! One POST of one answer over one connection, and what is known of it afterwards.
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::request::Builder;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};

use super::Uplink;
use super::forward::{Reply, To};
use super::stream::chain;
use crate::transport::client::h1::{H1, OutBody};
use crate::wire::headers::{
    AI_ERROR_TYPE, AI_RESULTS_PATH, AI_WORKER_AUTHORIZATION, CREDENTIALS, ERROR_TYPE, EVENT_STREAM, PIPELINE, PIXELS,
    RESULTS_PATH, TASK_ID, TRANSCODER_AUTHORIZATION,
};
use crate::wire::multipart::Writer;

/// The most that is read of what an orchestrator says to an answer.
const MOST_SAID: usize = 1 << 10;

/// A request that is ready to go.
pub(super) struct Post {
    request: Result<Request<OutBody>, http::Error>,
    length: Length,
}

/// How it is known that all of it is out.
enum Length {
    Bytes(u64),
    /// Set when the stream has given out its end.
    Streamed(Arc<AtomicBool>),
}

/// What is known of it afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(u16, String),
    /// Not a byte went out.
    Untouched(String),
    /// It broke before all of it was out: the orchestrator cannot have it whole.
    Partial(String),
    /// All of it was out, and no answer came.
    Unsure(String),
    /// Cut off by us before all of it was out.
    Cut,
}

// === impl Post ===

impl Post {
    pub(super) fn segment(uplink: &Uplink, reply: &Reply, pixels: u64, writer: &Writer, body: OutBody) -> Post {
        let head = builder(uplink, reply, &writer.content_type()).header(PIXELS, pixels);
        Post::sized(head, writer.content_length(), body)
    }

    pub(super) fn answer(uplink: &Uplink, reply: &Reply, writer: &Writer, body: OutBody) -> Post {
        Post::sized(builder(uplink, reply, &writer.content_type()), writer.content_length(), body)
    }

    /// `ended` tells that the body has given out its end.
    pub(super) fn stream(uplink: &Uplink, reply: &Reply, ended: Arc<AtomicBool>, body: OutBody) -> Post {
        Post { request: builder(uplink, reply, EVENT_STREAM).body(body), length: Length::Streamed(ended) }
    }

    pub(super) fn error(uplink: &Uplink, reply: &Reply, text: &str) -> Post {
        let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
        let head = match reply.to {
            To::Segments => builder(uplink, reply, ERROR_TYPE).header(PIXELS, 0),
            To::Ai { .. } => builder(uplink, reply, AI_ERROR_TYPE),
        };
        Post::sized(head, text.len() as u64, body)
    }

    fn sized(head: Builder, length: u64, body: OutBody) -> Post {
        Post { request: head.header(CONTENT_LENGTH, length).body(body), length: Length::Bytes(length) }
    }

    /// Sends it: all of it must be out by `cut`, the answer there by `end`.
    pub(super) async fn send(self, uplink: &Uplink, mut conn: H1, cut: Instant, end: Instant) -> Outcome {
        let request = match self.request {
            Ok(request) => request,
            Err(why) => return Outcome::Untouched(why.to_string()),
        };
        let (counter, before) = (conn.counter(), conn.written());
        let out = || counter.load(Relaxed).saturating_sub(before);
        let ended = {
            let mut exchange = pin!(exchange(&mut conn, request));
            match timeout_at(cut, &mut exchange).await {
                Ok(ended) => ended,
                Err(_) if !self.length.all_out(out()) => return Outcome::Cut,
                Err(_) => match timeout_at(end, &mut exchange).await {
                    Ok(ended) => ended,
                    Err(_) => return Outcome::Unsure("no answer to a result that was sent whole".into()),
                },
            }
        };
        match ended {
            Ok((status, said)) => {
                uplink.results.put(&uplink.origin, conn);
                Outcome::Answered(status, said)
            }
            Err(why) => lost(out(), &self.length, chain(&why)),
        }
    }
}

async fn exchange(conn: &mut H1, request: Request<OutBody>) -> Result<(u16, String), hyper::Error> {
    let answer = conn.send(request).await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let said = conn.text(&mut body, MOST_SAID).await;
    Ok((status, said))
}

fn lost(out: u64, length: &Length, why: String) -> Outcome {
    match out {
        0 => Outcome::Untouched(why),
        out if !length.all_out(out) => Outcome::Partial(format!("{why} (after {out} bytes)")),
        _ => Outcome::Unsure(why),
    }
}

/// What every answer says of itself.
fn builder(uplink: &Uplink, reply: &Reply, kind: &str) -> Builder {
    let builder = match &reply.to {
        To::Segments => Request::post(RESULTS_PATH).header(AUTHORIZATION, TRANSCODER_AUTHORIZATION),
        To::Ai { pipeline } => {
            Request::post(AI_RESULTS_PATH).header(AUTHORIZATION, AI_WORKER_AUTHORIZATION).header(PIPELINE, *pipeline)
        }
    };
    let secret = HeaderValue::try_from(uplink.orchestrator.secret.as_str()).map(|mut secret| {
        secret.set_sensitive(true);
        secret
    });
    let builder =
        builder.header(HOST, uplink.origin.authority()).header(TASK_ID, reply.task).header(CONTENT_TYPE, kind);
    match secret {
        Ok(secret) => builder.header(CREDENTIALS, secret),
        // What cannot be a header is told when the request is made.
        Err(_) => builder.header(CREDENTIALS, uplink.orchestrator.secret.as_str()),
    }
}

// === impl Length ===

impl Length {
    /// What went out includes the head, which is longer than the last line of a result: with fewer
    /// bytes out than the body has, that line is not among them.
    fn all_out(&self, out: u64) -> bool {
        match self {
            Length::Bytes(length) => out >= *length,
            Length::Streamed(ended) => ended.load(Relaxed),
        }
    }
}
