//! Bodies of answers: whole, streamed, cut off, each counted until its last byte.
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;
use tokio::time::sleep;

use super::counters::Running;

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, Error>;

/// Time for what was sent to leave before the connection is cut.
const LEAVE: Duration = Duration::from_millis(30);
const PIECE: usize = 64 << 10;

/// A body with the request that it answers.
struct Counted {
    inner: Body,
    running: Running,
    /// After these bytes nobody asks for an end.
    left: Option<u64>,
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn whole(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    whole(status, "application/json", value.to_string())
}

/// Blocks of events with a gap between them; the first comes at once.
pub(super) fn events(blocks: Vec<String>, gap: Duration) -> Response<Body> {
    let blocks: VecDeque<String> = blocks.into();
    let body = stream::unfold((blocks, true), move |(mut blocks, first)| async move {
        let block = blocks.pop_front()?;
        if !first {
            sleep(gap).await;
        }
        Some((Ok::<_, Error>(Frame::data(Bytes::from(block))), (blocks, false)))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// So many bytes, piece by piece: `before`, filler, `after`.
pub(super) fn long(before: &'static str, length: usize, after: &'static str) -> Body {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let ends = [Bytes::from_static(before.as_bytes()), Bytes::from_static(after.as_bytes())];
    let filler = length.saturating_sub(before.len() + after.len());
    let body = stream::unfold((0usize, filler), move |(at, left)| {
        let (piece, [before, after]) = (piece.clone(), ends.clone());
        async move {
            let (next, data) = match (at, left) {
                (0, _) => ((1, left), before),
                (1, 0) => ((2, 0), after),
                (1, _) => ((1, left - left.min(PIECE)), piece.slice(..left.min(PIECE))),
                _ => return None,
            };
            Some((Ok::<_, Error>(Frame::data(data)), next))
        }
    });
    StreamBody::new(body).boxed_unsync()
}

/// The head goes out, then the connection is cut: at once, or within the body's first piece.
pub(super) fn cut(response: Response<Body>, after: bool) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let died = || Error::from(io::Error::other("simulated death"));
    let body = stream::unfold((Some(body), after), move |(body, first)| async move {
        let mut body = body?;
        if first && let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            let half = data.slice(..data.len().div_ceil(2));
            return Some((Ok(Frame::data(half)), (Some(body), false)));
        }
        sleep(LEAVE).await;
        Some((Err(died()), (None, false)))
    });
    Response::from_parts(parts, StreamBody::new(body).boxed_unsync())
}

/// Counts the request until the last byte of its answer was taken.
pub(super) fn counted(response: Response<Body>, running: Running) -> Response<Body> {
    let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let left = length.and_then(|value| value.parse().ok());
    response.map(|inner| Counted { inner, running, left }.boxed_unsync())
}

// === impl Counted ===

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let (Some(left), Some(Ok(frame))) = (&mut this.left, &frame) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        if frame.is_none() || this.inner.is_end_stream() || this.left == Some(0) {
            this.running.over();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // An empty body is never asked for its end.
        if http_body::Body::is_end_stream(&self.inner) {
            self.running.over();
        }
    }
}
