//! Reads a request's body before it is decided who gets it.
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora_core::protocols::http::ServerSession;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room in memory for bodies that are held whole.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A part of it, until it is dropped.
pub(super) type Held = OwnedSemaphorePermit;

/// What was read of a body before the decision.
pub enum Prelude {
    /// Nothing: it streams.
    Streams,
    Whole(Bytes),
    Spooled(Spool),
}

/// A body in a file without a name; gone with its last user.
#[derive(Debug)]
pub struct Spool {
    pub file: File,
    pub bytes: u64,
}

/// Why a body could not be read.
pub(super) enum Unread {
    /// What to tell the caller.
    Tell(StatusCode, String),
    /// Nobody is there to be told.
    Gone(Box<pingora_error::Error>),
}

/// Pingora keeps up to this much of a body for a retry, and only a body with something kept is
/// sent to a runner after it was read here.
const KEPT: u64 = 64 << 10;

// === impl Room ===

impl Room {
    pub fn new(bytes: usize) -> Room {
        Room(Arc::new(Semaphore::new((bytes >> 10).clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// For `bytes`, at once or not at all.
    pub fn take(&self, bytes: u64) -> Result<Held, Unread> {
        let none = || Unread::Tell(StatusCode::SERVICE_UNAVAILABLE, "no memory is left for requests".into());
        let kilobytes = u32::try_from(bytes.div_ceil(1 << 10)).map_err(|_| none())?;
        self.0.clone().try_acquire_many_owned(kilobytes).map_err(|_| none())
    }
}

/// All of the body in memory.
pub(super) async fn whole(session: &mut ServerSession, most: usize, room: &Room) -> Result<(Bytes, Held), Unread> {
    let length = length(session);
    refuse_long(length, most as u64)?;
    let held = room.take(length.unwrap_or(KEPT))?;
    let mut all: Option<Bytes> = None;
    let mut more = BytesMut::new();
    let mut read = 0u64;
    while let Some(chunk) = next(session, length, &mut read, most as u64).await? {
        // One chunk is the common case, and stays uncopied.
        match &all {
            None if more.is_empty() => all = Some(chunk),
            _ => {
                if let Some(first) = all.take() {
                    more.reserve(length.map_or(chunk.len() * 4, |l| l as usize));
                    more.extend_from_slice(&first);
                }
                more.extend_from_slice(&chunk);
            }
        }
    }
    kept(session, read)?;
    Ok((all.unwrap_or_else(|| more.freeze()), held))
}

/// All of the body in a file.
pub(super) async fn spool(session: &mut ServerSession, most: u64) -> Result<Spool, Unread> {
    let length = length(session);
    refuse_long(length, most)?;
    let mut file = on_disk(tempfile::tempfile).await?;
    let mut read = 0u64;
    while let Some(chunk) = next(session, length, &mut read, most).await? {
        file = on_disk(move || file.write_all(&chunk).map(|()| file)).await?;
    }
    kept(session, read)?;
    Ok(Spool { file, bytes: read })
}

// === impl Spool ===

impl Spool {
    /// A second hand on the same file.
    pub(super) fn again(&self) -> Result<Spool, Unread> {
        let failed = |why| Unread::Tell(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot spool the body: {why}"));
        Ok(Spool { file: self.file.try_clone().map_err(failed)?, bytes: self.bytes })
    }

    /// All of it in memory.
    pub(super) async fn load(mut self, most: usize, room: &Room) -> Result<(Bytes, Held), Unread> {
        refuse_long(Some(self.bytes), most as u64)?;
        let held = room.take(self.bytes)?;
        let read = move || {
            self.file.rewind()?;
            let mut all = Vec::with_capacity(self.bytes as usize);
            self.file.read_to_end(&mut all).map(|_| Bytes::from(all))
        };
        Ok((on_disk(read).await?, held))
    }
}

/// The next piece; also switches Pingora's keeping on as soon as all that is left fits into it.
async fn next(
    session: &mut ServerSession,
    length: Option<u64>,
    read: &mut u64,
    most: u64,
) -> Result<Option<Bytes>, Unread> {
    if length.is_none_or(|length| length - (*read).min(length) <= KEPT) {
        session.enable_retry_buffering();
    }
    let chunk = session.read_request_body().await.map_err(|why| match why.etype() {
        pingora_error::ErrorType::ReadTimedout => {
            Unread::Tell(StatusCode::REQUEST_TIMEOUT, "the request's body stopped coming".into())
        }
        pingora_error::ErrorType::InvalidHTTPHeader => {
            Unread::Tell(StatusCode::BAD_REQUEST, "the request's body is malformed".into())
        }
        _ => Unread::Gone(why.into_down()),
    })?;
    *read += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
    refuse_long(Some(*read), most)?;
    Ok(chunk)
}

/// A chunked body of more than Pingora keeps cannot be sent on.
fn kept(session: &mut ServerSession, read: u64) -> Result<(), Unread> {
    if read > 0 && session.get_retry_buffer().is_none() {
        let why = format!("a body over {KEPT} bytes needs a Content-Length here");
        return Err(Unread::Tell(StatusCode::LENGTH_REQUIRED, why));
    }
    Ok(())
}

fn refuse_long(length: Option<u64>, most: u64) -> Result<(), Unread> {
    match length {
        Some(length) if length > most => Err(too_long(most)),
        _ => Ok(()),
    }
}

pub(super) fn too_long(most: u64) -> Unread {
    Unread::Tell(StatusCode::PAYLOAD_TOO_LARGE, format!("the request's body is larger than {most} bytes"))
}

pub(super) fn length(session: &ServerSession) -> Option<u64> {
    std::str::from_utf8(session.get_header_bytes(http::header::CONTENT_LENGTH)).ok()?.trim().parse().ok()
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Unread> {
    let failed = |why: String| Unread::Tell(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot spool the body: {why}"));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(why)) => Err(failed(why.to_string())),
        Err(why) => Err(failed(why.to_string())),
    }
}
