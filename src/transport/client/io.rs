//! A byte stream, plain or TLS, that counts what was written and can close its writing half while
//! it is still being read.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Ahead;

pub struct Io {
    stream: Stream,
    written: Arc<AtomicU64>,
    end: Arc<End>,
    shut: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Ahead<TcpStream>>>),
}

#[derive(Default)]
struct End {
    asked: AtomicBool,
    waker: AtomicWaker,
}

/// Closes the writing half of a connection that somebody else reads.
#[derive(Clone)]
pub struct HalfClose(Arc<End>);

// === impl Io ===

impl Io {
    pub(super) fn plain(stream: TcpStream) -> Io {
        Io::of(Stream::Plain(stream))
    }

    pub(super) fn tls(stream: TlsStream<Ahead<TcpStream>>) -> Io {
        Io::of(Stream::Tls(Box::new(stream)))
    }

    fn of(stream: Stream) -> Io {
        Io { stream, written: Arc::default(), end: Arc::default(), shut: false }
    }

    /// Bytes that were taken for sending, TLS left out; whoever saw fewer than he gave knows that
    /// the peer cannot have them all.
    pub fn written(&self) -> Arc<AtomicU64> {
        self.written.clone()
    }

    pub fn half_close(&self) -> HalfClose {
        HalfClose(self.end.clone())
    }
}

// === impl HalfClose ===

impl HalfClose {
    /// From now on nothing more is sent; what the peer sent before it sees this still arrives.
    pub fn close(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.shut {
            this.end.waker.register(cx.waker());
            if this.end.asked.load(Ordering::Acquire) {
                this.shut = this.stream.poll_shutdown(cx).is_ready();
            }
        }
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.end.asked.load(Ordering::Acquire) {
            // Acknowledgements and window updates of a connection that is ending anyway.
            return Poll::Ready(Ok(buf.len()));
        }
        let written = match &mut this.stream {
            Stream::Plain(stream) => ready!(Pin::new(stream).poll_write(cx, buf)),
            Stream::Tls(stream) => ready!(Pin::new(stream).poll_write(cx, buf)),
        };
        if let Ok(bytes) = &written {
            this.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.end.asked.load(Ordering::Acquire) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = match &mut this.stream {
            Stream::Plain(stream) => ready!(Pin::new(stream).poll_write_vectored(cx, bufs)),
            Stream::Tls(stream) => ready!(Pin::new(stream).poll_write_vectored(cx, bufs)),
        };
        if let Ok(bytes) = &written {
            this.written.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        Poll::Ready(written)
    }

    /// Saves a copy: the parts of a body go to TLS as they are.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.asked.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        match &mut this.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.shut {
            return Poll::Ready(Ok(()));
        }
        this.stream.poll_shutdown(cx)
    }
}

// === impl Stream ===

impl Stream {
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
