//! Inputs of AI jobs: a file under an address that only the holder of its lease knows.
use std::sync::Arc;

use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::{reply, segment};
use crate::pool::Pool;
use crate::pool::ai::AiRequest;
use crate::transport::{Body, BoxError, ConnectionInfo};
use crate::wire::headers::OCTETS_TYPE;

pub(super) const PREFIX: &str = "/input/";

pub(super) fn input(pool: &Pool, info: &ConnectionInfo, key: &str) -> Response<Body> {
    let request = if segment::is_plain(key) { pool.ai_input(key) } else { None };
    let Some((request, length)) = request.and_then(|request| {
        let length = request.file.as_ref()?.len();
        Some((request, length))
    }) else {
        return reply::not_found();
    };
    // The address is as good as a credential: it cannot be guessed.
    info.authenticated();
    let chunks = stream::try_unfold((request, 0), |(request, index)| async move {
        Ok::<_, BoxError>(chunk(&request, index).await?.map(|frame| (frame, (request, index + 1))))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS_TYPE));
    response
}

/// Read as the worker takes it; an error breaks the connection off, for the length was promised.
async fn chunk(request: &Arc<AiRequest>, index: usize) -> Result<Option<Frame<bytes::Bytes>>, BoxError> {
    let Some(file) = &request.file else { return Ok(None) };
    Ok(file.body.chunk(index).await.transpose()?.map(Frame::data))
}
