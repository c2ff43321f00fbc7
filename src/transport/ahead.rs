//! Reads ahead of TLS: rustls asks for 4 KiB at a time, and one call of the kernel can bring 64.
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most that is read at once.
const MOST: usize = 64 << 10;

/// A socket that is read in large pieces while much arrives. One that is quiet holds no memory
/// for it: there may be thousands.
pub(super) struct Ahead<S> {
    inner: S,
    held: BytesMut,
    /// The last read was filled to the brim: more is there.
    more: bool,
}

// === impl Ahead ===

impl<S> Ahead<S> {
    pub(super) fn new(inner: S) -> Ahead<S> {
        Ahead { inner, held: BytesMut::new(), more: false }
    }
}

impl<S: AsyncRead + Unpin> Ahead<S> {
    /// Fills what is held; 0 at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.held.reserve(MOST);
        let read = pin!(self.inner.read_buf(&mut self.held)).poll(cx);
        if !matches!(read, Poll::Ready(Ok(1..))) {
            self.held = BytesMut::new();
            self.more = false;
        }
        read
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held.is_empty() {
            if !this.more {
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.more = buf.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_fill(cx))?;
        }
        let taken = this.held.len().min(buf.remaining());
        buf.put_slice(&this.held[..taken]);
        this.held.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
