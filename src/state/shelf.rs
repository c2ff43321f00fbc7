//! Bounded room for segments and results: a source is written once and read by as many attempts
//! as it takes; result parts lie in memory first and in a temporary file above a size.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::domain::outcome::Failure;
use crate::domain::print::Print;
use crate::domain::work::MediaFacts;

/// Bytes in use and the most that may be. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// Bytes taken from a shelf; given back on drop.
#[derive(Debug)]
struct Room {
    shelf: Shelf,
    bytes: u64,
}

/// Why nothing more can be put down.
#[derive(Debug, thiserror::Error)]
pub enum ShelfFull {
    #[error("the shelf is full ({0} bytes in use); raise limits.shelf_bytes or lower the load")]
    Shelf(u64),
    #[error("more than {0} bytes")]
    Item(u64),
    #[error("temporary file: {0}")]
    Io(#[from] io::Error),
}

/// A source on the shelf: readers may follow while it is still being written.
#[derive(Debug)]
struct Source {
    inner: Mutex<SourceInner>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct SourceInner {
    chunks: Vec<Bytes>,
    bytes: u64,
    length: Option<u64>,
    end: Option<Result<MediaFacts, Failure>>,
    /// Nobody needs it any more: its bytes are gone, its facts stay.
    cleared: bool,
    room: Room,
}

/// Writes a source once.
#[derive(Clone, Debug)]
pub struct SourceWriter {
    source: Arc<Source>,
    limit: u64,
}

/// Reads a source from its beginning.
#[derive(Debug)]
pub struct SourceReader {
    source: Arc<Source>,
    changed: watch::Receiver<()>,
    next: usize,
}

/// Collects one result part.
#[derive(Debug)]
pub struct Spool {
    chunks: Vec<Bytes>,
    file: Option<tokio::fs::File>,
    bytes: u64,
    print: Print,
    memory: u64,
    limit: u64,
    room: Room,
}

/// A finished part: read as often as needed.
#[derive(Debug)]
pub struct Stored {
    bytes: u64,
    print: u64,
    body: StoredBody,
    _room: Room,
}

#[derive(Debug)]
enum StoredBody {
    Memory(Vec<Bytes>),
    File(tokio::sync::Mutex<tokio::fs::File>),
}

const READ_CHUNK: usize = 64 << 10;

// === impl Shelf ===

impl Shelf {
    pub fn new(limit: u64) -> Shelf {
        Shelf { used: Arc::default(), limit }
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Room for a source of at most `limit` bytes.
    pub fn source(&self, limit: u64) -> SourceWriter {
        let (chunks, room) = (Vec::new(), self.room());
        let inner = SourceInner { chunks, bytes: 0, length: None, end: None, cleared: false, room };
        SourceWriter { source: Arc::new(Source { inner: Mutex::new(inner), changed: watch::Sender::new(()) }), limit }
    }

    /// Room for a part: up to `memory` bytes in memory, up to `limit` in all.
    pub fn spool(&self, memory: u64, limit: u64) -> Spool {
        Spool { chunks: Vec::new(), file: None, bytes: 0, print: Print::default(), memory, limit, room: self.room() }
    }

    fn room(&self) -> Room {
        Room { shelf: self.clone(), bytes: 0 }
    }
}

// === impl Room ===

impl Room {
    fn grow(&mut self, bytes: u64) -> Result<(), ShelfFull> {
        let used = self.shelf.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        if used > self.shelf.limit { Err(ShelfFull::Shelf(used)) } else { Ok(()) }
    }

    fn clear(&mut self) {
        self.shelf.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.clear();
    }
}

// === impl SourceWriter ===

impl SourceWriter {
    /// The whole length, as soon as it is known.
    pub fn length(&self, bytes: u64) -> Result<(), ShelfFull> {
        if bytes > self.limit {
            return Err(ShelfFull::Item(self.limit));
        }
        self.source.inner.lock().length = Some(bytes);
        self.source.changed.send_replace(());
        Ok(())
    }

    pub fn push(&self, chunk: Bytes) -> Result<(), ShelfFull> {
        {
            let mut inner = self.source.inner.lock();
            inner.bytes += chunk.len() as u64;
            if inner.bytes > self.limit {
                return Err(ShelfFull::Item(self.limit));
            }
            if inner.cleared {
                return Ok(());
            }
            inner.room.grow(chunk.len() as u64)?;
            inner.chunks.push(chunk);
        }
        self.source.changed.send_replace(());
        Ok(())
    }

    /// Ends the source: its facts, or why it could not be had. The first call counts.
    pub fn end(&self, end: Result<MediaFacts, Failure>) {
        {
            let mut inner = self.source.inner.lock();
            if inner.end.is_some() {
                return;
            }
            if end.is_ok() {
                inner.length = Some(inner.bytes);
            }
            inner.end = Some(end);
        }
        self.source.changed.send_replace(());
    }

    /// Gives its room back, whoever still holds it; readers that are not done break off.
    pub fn clear(&self) {
        {
            let mut inner = self.source.inner.lock();
            inner.cleared = true;
            inner.chunks = Vec::new();
            inner.room.clear();
        }
        self.source.changed.send_replace(());
    }

    pub fn reader(&self) -> SourceReader {
        SourceReader { source: self.source.clone(), changed: self.source.changed.subscribe(), next: 0 }
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.source.inner.lock().bytes
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<Result<MediaFacts, Failure>> {
        self.source.inner.lock().end.clone()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Result<MediaFacts, Failure> {
        let mut changed = self.source.changed.subscribe();
        loop {
            if let Some(end) = self.ended() {
                return end;
            }
            if changed.changed().await.is_err() {
                return Err(Failure::Source("the source was given up".into()));
            }
        }
    }
}

// === impl SourceReader ===

impl SourceReader {
    /// The whole length; waits until it is known. The error is why there is none.
    pub async fn length(&mut self) -> Result<u64, Failure> {
        loop {
            {
                let inner = self.source.inner.lock();
                if let Some(Err(failure)) = &inner.end {
                    return Err(failure.clone());
                }
                if let Some(length) = inner.length {
                    return Ok(length);
                }
            }
            if self.changed.changed().await.is_err() {
                return Err(Failure::Source("the source was given up".into()));
            }
        }
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            {
                let inner = self.source.inner.lock();
                if inner.cleared {
                    return Some(Err(Failure::Source("the job is over".into())));
                }
                if let Some(chunk) = inner.chunks.get(self.next) {
                    self.next += 1;
                    return Some(Ok(chunk.clone()));
                }
                match &inner.end {
                    Some(Ok(_)) => return None,
                    Some(Err(failure)) => return Some(Err(failure.clone())),
                    None => {}
                }
            }
            if self.changed.changed().await.is_err() {
                return Some(Err(Failure::Source("the source was given up".into())));
            }
        }
    }
}

// === impl Spool ===

impl Spool {
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), ShelfFull> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.limit {
            return Err(ShelfFull::Item(self.limit));
        }
        self.print.feed(&chunk);
        if let Some(file) = &mut self.file {
            return Ok(file.write_all(&chunk).await?);
        }
        self.room.grow(chunk.len() as u64)?;
        self.chunks.push(chunk);
        if self.bytes > self.memory { self.spill().await } else { Ok(()) }
    }

    /// Moves what lies in memory to an unnamed temporary file.
    async fn spill(&mut self) -> Result<(), ShelfFull> {
        let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
        for chunk in self.chunks.drain(..) {
            file.write_all(&chunk).await?;
        }
        self.room.clear();
        self.file = Some(file);
        Ok(())
    }

    pub async fn finish(mut self) -> Result<Stored, ShelfFull> {
        let body = match self.file.take() {
            Some(mut file) => {
                file.flush().await?;
                StoredBody::File(tokio::sync::Mutex::new(file))
            }
            None => StoredBody::Memory(self.chunks),
        };
        Ok(Stored { bytes: self.bytes, print: self.print.finish(), body, _room: self.room })
    }
}

// === impl Stored ===

impl Stored {
    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Tells its contents from others of the same length.
    pub fn print(&self) -> u64 {
        self.print
    }

    /// Chunk `index` of the body from its beginning; `None` at the end.
    pub async fn chunk(&self, index: usize) -> Option<io::Result<Bytes>> {
        match &self.body {
            StoredBody::Memory(chunks) => chunks.get(index).cloned().map(Ok),
            StoredBody::File(file) => {
                let at = (index * READ_CHUNK) as u64;
                if at >= self.bytes {
                    return None;
                }
                let want = READ_CHUNK.min(usize::try_from(self.bytes - at).unwrap_or(READ_CHUNK));
                let mut file = file.lock().await;
                let mut chunk = vec![0; want];
                let read = async {
                    file.seek(io::SeekFrom::Start(at)).await?;
                    file.read_exact(&mut chunk).await
                };
                Some(read.await.map(|_| Bytes::from(chunk)))
            }
        }
    }
}
