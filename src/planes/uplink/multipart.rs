//! A result's body, made anew around the bytes of its parts.
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::pool::ai::AiResult;
use crate::pool::{Recorded, TranscodeResult};
use crate::transport::client::h1::OutBody;
use crate::wire::multipart::{PartOut, Writer};

/// Whose parts they are.
#[derive(Clone)]
pub(super) enum Content {
    Segment(Arc<TranscodeResult>),
    /// Its files, then this JSON.
    Ai(Arc<AiResult>, Bytes),
}

/// Where the writing stands.
#[derive(Clone, Copy)]
enum At {
    Head(usize),
    Chunk { part: usize, index: usize },
    Done,
}

/// The frame around a segment's renditions, with a boundary of its own.
pub(super) fn segment_writer(result: &TranscodeResult) -> Writer {
    let parts: Vec<PartOut<'_>> = result
        .parts
        .iter()
        .map(|part| PartOut { content_type: &part.content_type, length: part.body.len(), pixels: part.pixels })
        .collect();
    Writer::new(rand::random(), &parts)
}

/// The body as it is sent, chunk by chunk.
pub(super) fn body(content: Content, writer: Writer, recorded: Recorded) -> OutBody {
    let chunks =
        stream::unfold((content, writer, recorded, At::Head(0)), |(content, writer, recorded, at)| async move {
            let (chunk, at) = next(&content, &writer, at).await?;
            // The last line makes it a result: only when the ledger has it.
            let chunk = match at {
                At::Done => recorded.clone().wait().await.map_err(io::Error::other).and(chunk),
                _ => chunk,
            };
            Some((chunk.map(Frame::data), (content, writer, recorded, at)))
        });
    StreamBody::new(chunks).boxed_unsync()
}

async fn next(content: &Content, writer: &Writer, at: At) -> Option<(io::Result<Bytes>, At)> {
    let mut at = at;
    loop {
        match at {
            At::Head(part) if part == content.parts() => return Some((Ok(writer.tail()), At::Done)),
            At::Head(part) => return Some((Ok(writer.head(part)), At::Chunk { part, index: 0 })),
            At::Chunk { part, index } => match content.chunk(part, index).await {
                Some(Ok(chunk)) => return Some((Ok(chunk), At::Chunk { part, index: index + 1 })),
                Some(Err(fault)) => return Some((Err(fault), At::Done)),
                None => at = At::Head(part + 1),
            },
            At::Done => return None,
        }
    }
}

// === impl Content ===

impl Content {
    fn parts(&self) -> usize {
        match self {
            Content::Segment(result) => result.parts.len(),
            Content::Ai(result, _) => result.files.len() + 1,
        }
    }

    async fn chunk(&self, part: usize, index: usize) -> Option<io::Result<Bytes>> {
        let body = match self {
            Content::Segment(result) => &result.parts.get(part)?.body,
            Content::Ai(result, json) => match result.files.get(part) {
                Some(file) => &file.body,
                None => return (index == 0).then(|| Ok(json.clone())),
            },
        };
        body.chunk(index).await
    }
}
