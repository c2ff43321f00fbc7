//! Sources: a segment under an address that only the holder of its lease knows.
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};

use super::reply;
use crate::domain::outcome::Failure;
use crate::pool::{Pool, SourceReader};
use crate::transport::{Body, BoxError, ConnectionInfo};

pub(super) const PREFIX: &str = "/segment/";
/// A stock worker gives the whole download so long.
const LENGTH_WAIT: Duration = Duration::from_secs(4);
const LONGEST_KEY: usize = 128;

type NextChunk = Pin<Box<dyn Future<Output = (SourceReader, Option<Result<Bytes, Failure>>)> + Send>>;

/// A source's bytes as they come onto the shelf.
struct Chunks {
    next: Option<NextChunk>,
}

pub(super) async fn segment(pool: &Pool, info: &ConnectionInfo, key: &str) -> Response<Body> {
    let reader = if is_plain(key) { pool.source(key) } else { None };
    let Some(mut reader) = reader else { return reply::not_found() };
    // The address is as good as a credential: it cannot be guessed.
    info.authenticated();
    let length = match tokio::time::timeout(LENGTH_WAIT, reader.length()).await {
        Ok(Ok(length)) => length,
        Ok(Err(failure)) => return unavailable(&format!("the segment could not be had: {failure}")),
        Err(_) => return unavailable("the segment did not arrive from the orchestrator in time"),
    };
    let mut response = Response::new(StreamBody::new(Chunks::new(reader)).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("video/mp2t"));
    response
}

/// Whether it may be a key at all.
pub(super) fn is_plain(key: &str) -> bool {
    key.len() <= LONGEST_KEY && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn unavailable(why: &str) -> Response<Body> {
    reply::text(StatusCode::BAD_GATEWAY, reply::sentence(why, None))
}

// === impl Chunks ===

impl Chunks {
    fn new(reader: SourceReader) -> Chunks {
        Chunks { next: Some(read(reader)) }
    }
}

fn read(mut reader: SourceReader) -> NextChunk {
    Box::pin(async move {
        let chunk = reader.next().await;
        (reader, chunk)
    })
}

impl Stream for Chunks {
    type Item = Result<http_body::Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (reader, chunk) = ready!(next.as_mut().poll(cx));
        self.next = matches!(chunk, Some(Ok(_))).then(|| read(reader));
        Poll::Ready(chunk.map(|chunk| match chunk {
            Ok(bytes) => Ok(http_body::Frame::data(bytes)),
            // Breaks the connection off: the length was promised.
            Err(failure) => Err(failure.to_string().into()),
        }))
    }
}
