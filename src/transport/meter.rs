//! Watches HTTP/2 frames go by and trips on floods that the protocol stack lets pass.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::EdgeLimits;

/// Frames of one connection a second, and resets of its streams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) pings: u32,
    pub(super) settings: u32,
    /// DATA frames that bring (nearly) nothing.
    pub(super) empty: u32,
    /// WINDOW_UPDATE, PRIORITY and what we do not know.
    pub(super) other: u32,
    /// A connection is judged after this many streams: over half reset is a flood.
    pub(super) streams: u32,
}

/// What the connection's driver sees of its meter.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    tripped: AtomicBool,
    alarm: Notify,
}

/// A stream of bytes under watch.
pub(super) struct Metered<S> {
    inner: S,
    /// None: not HTTP/2.
    frames: Option<Frames>,
    gauge: Arc<Gauge>,
}

/// Reads nothing but frame headers.
struct Frames {
    quota: Quota,
    /// Bytes of preface or payload still to be skipped.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
    /// The second that is being counted.
    window: Instant,
    pings: u32,
    settings: u32,
    empty: u32,
    other: u32,
    newest: u32,
    streams: u32,
    resets: u32,
}

const HEAD: usize = 9;
const PREFACE: usize = 24;
const WINDOW: Duration = Duration::from_secs(1);
/// DATA shorter than this without an end of stream is no progress.
const TINY: usize = 16;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
/// ACK of SETTINGS and PING, END_STREAM of DATA: the same bit.
const FLAG: u8 = 0x1;

// === impl Quota ===

impl Quota {
    pub(super) fn of(limits: &EdgeLimits) -> Quota {
        Quota {
            pings: limits.h2_pings_per_second,
            settings: limits.h2_settings_per_second,
            empty: 1_000,
            other: 5_000,
            streams: 200,
        }
    }
}

// === impl Gauge ===

impl Gauge {
    /// Returns once the connection is flooding us.
    pub(super) async fn flooded(&self) {
        // One waiter, and `notify_one` keeps its permit: no wake-up is lost.
        while !self.tripped.load(Ordering::Acquire) {
            self.alarm.notified().await;
        }
    }

    fn trip(&self) {
        self.tripped.store(true, Ordering::Release);
        self.alarm.notify_one();
    }
}

// === impl Metered ===

impl<S> Metered<S> {
    /// `quota` only for HTTP/2.
    pub(super) fn new(inner: S, quota: Option<Quota>, gauge: Arc<Gauge>) -> Metered<S> {
        Metered { inner, frames: quota.map(|quota| Frames::new(quota, Instant::now())), gauge }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Nothing more is read of a flood: the driver says GOAWAY and closes.
        if self.gauge.tripped.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let this = &mut *self;
        if let Some(frames) = &mut this.frames
            && !frames.pass(&buf.filled()[before..])
        {
            this.gauge.trip();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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

// === impl Frames ===

impl Frames {
    fn new(quota: Quota, now: Instant) -> Frames {
        Frames {
            quota,
            skip: PREFACE,
            head: [0; HEAD],
            filled: 0,
            window: now,
            pings: 0,
            settings: 0,
            empty: 0,
            other: 0,
            newest: 0,
            streams: 0,
            resets: 0,
        }
    }

    /// Bytes go by. False when a limit is broken.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                self.filled = 0;
                if !self.frame() {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self) -> bool {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        self.skip = length;
        let flagged = flags & FLAG != 0;
        match kind {
            DATA if length >= TINY || flagged => true,
            DATA => self.second(|f| &mut f.empty, self.quota.empty),
            HEADERS if stream > self.newest => {
                self.newest = stream;
                self.streams += 1;
                self.reset_rate()
            }
            HEADERS | CONTINUATION => true,
            RST_STREAM => {
                self.resets += 1;
                self.reset_rate()
            }
            PING | SETTINGS if flagged => true,
            PING => self.second(|f| &mut f.pings, self.quota.pings),
            SETTINGS => self.second(|f| &mut f.settings, self.quota.settings),
            _ => self.second(|f| &mut f.other, self.quota.other),
        }
    }

    /// Over half of the last `streams` streams reset.
    fn reset_rate(&mut self) -> bool {
        if self.resets > self.quota.streams / 2 {
            return false;
        }
        if self.streams >= self.quota.streams {
            (self.streams, self.resets) = (0, 0);
        }
        true
    }

    fn second(&mut self, count: impl Fn(&mut Frames) -> &mut u32, most: u32) -> bool {
        if self.window.elapsed() >= WINDOW {
            self.window = Instant::now();
            (self.pings, self.settings, self.empty, self.other) = (0, 0, 0, 0);
        }
        let count = count(self);
        *count += 1;
        *count <= most
    }
}
