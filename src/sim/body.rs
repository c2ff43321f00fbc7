//! Bodies of the simulated peers: prepared chunks, and ones that stall half-way.
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// Chunks that are there already. Cheap to clone.
#[derive(Clone)]
pub(super) struct Chunks {
    chunks: VecDeque<Bytes>,
    /// Of the whole, stalled part included.
    left: u64,
    /// After the chunks nothing more comes and no end either.
    stalls: bool,
}

/// What a worker posts.
pub(super) enum Upload {
    /// A buffer: it can be sent again.
    Whole(Chunks),
    /// Sent as it is made; over when its sender is gone.
    Stream(mpsc::Receiver<Bytes>),
}

/// A DATA frame as Go's client writes it to a server that invites long ones.
const PIECE: usize = 64 << 10;

// === impl Chunks ===

impl Chunks {
    pub(super) fn new(parts: impl IntoIterator<Item = Bytes>) -> Chunks {
        let mut chunks = VecDeque::new();
        let mut left = 0;
        for mut part in parts {
            left += part.len() as u64;
            while part.len() > PIECE {
                chunks.push_back(part.split_to(PIECE));
            }
            chunks.push_back(part);
        }
        Chunks { chunks, left, stalls: false }
    }

    /// Keeps about half of the bytes to itself for ever.
    pub(super) fn stalling(mut self) -> Chunks {
        let keep = self.left / 2;
        let mut sent = 0;
        self.chunks.retain(|chunk| {
            sent += chunk.len() as u64;
            sent <= keep
        });
        self.stalls = true;
        self
    }

    pub(super) fn length(&self) -> u64 {
        self.left
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        match this.chunks.pop_front() {
            Some(chunk) => {
                this.left = this.left.saturating_sub(chunk.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            None if this.stalls => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.stalls
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

// === impl Upload ===

impl Upload {
    /// The same once more, when it is a buffer.
    pub(super) fn again(&self) -> Option<Upload> {
        match self {
            Upload::Whole(chunks) => Some(Upload::Whole(chunks.clone())),
            Upload::Stream(_) => None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Upload::Whole(chunks) => Pin::new(chunks).poll_frame(cx),
            Upload::Stream(pieces) => pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Upload::Whole(chunks) if chunks.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Whole(chunks) => chunks.size_hint(),
            Upload::Stream(_) => SizeHint::default(),
        }
    }
}
