//! One POST of one answer over one connection, and what is known of it afterwards.
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, timeout_at};

use super::Uplink;
use super::stream::chain;
use crate::transport::client::h1::{H1, OutBody};
use crate::wire::headers::{CREDENTIALS, ERROR_TYPE, PIXELS, RESULTS_PATH, TASK_ID, TRANSCODER_AUTHORIZATION};
use crate::wire::multipart::Writer;

/// The most that is read of what an orchestrator says to an answer.
const MOST_SAID: usize = 1 << 10;

/// A request that is ready to go.
pub(super) struct Post {
    request: Result<Request<OutBody>, http::Error>,
    length: u64,
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
    pub(super) fn result(uplink: &Uplink, task: i64, pixels: u64, writer: &Writer, body: OutBody) -> Post {
        Post::new(uplink, task, pixels, &writer.content_type(), writer.content_length(), body)
    }

    pub(super) fn error(uplink: &Uplink, task: i64, text: &str) -> Post {
        let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
        Post::new(uplink, task, 0, ERROR_TYPE, text.len() as u64, body)
    }

    fn new(uplink: &Uplink, task: i64, pixels: u64, kind: &str, length: u64, body: OutBody) -> Post {
        let secret = HeaderValue::try_from(uplink.orchestrator.secret.as_str()).map(|mut secret| {
            secret.set_sensitive(true);
            secret
        });
        let builder = Request::post(RESULTS_PATH)
            .header(HOST, uplink.origin.authority())
            .header(AUTHORIZATION, TRANSCODER_AUTHORIZATION)
            .header(TASK_ID, task)
            .header(PIXELS, pixels)
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_LENGTH, length);
        let request = match secret {
            Ok(secret) => builder.header(CREDENTIALS, secret).body(body),
            Err(why) => Err(why.into()),
        };
        Post { request, length }
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
                Err(_) if out() < self.length => return Outcome::Cut,
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
            Err(why) => lost(out(), self.length, chain(&why)),
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

/// What went out includes the head, which is longer than the last line of a result: with fewer
/// bytes out than the body has, that line is not among them.
fn lost(out: u64, length: u64, why: String) -> Outcome {
    match out {
        0 => Outcome::Untouched(why),
        out if out < length => Outcome::Partial(format!("{why} (after {out} of {length} bytes)")),
        _ => Outcome::Unsure(why),
    }
}
