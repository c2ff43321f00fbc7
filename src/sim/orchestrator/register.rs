//! `RegisterTranscoder`: one stream, silent until its first task.
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::server::Grpc;
use tower_service::Service;

use super::Shared;
use super::listen::{Body, Error, text};
use super::rules::{Ending, Word};
use crate::domain::capability::Capabilities;
use crate::wire::headers::{INVALID_SECRET, REGISTER_PATH, ZERO_CAPACITY};
use crate::wire::messages::{RawCodec, read_register};

/// Notices that wait for the connection.
const WAITING: usize = 64;
/// The version of a worker that sends no capabilities.
const VERSION: &str = "0.9.1";
/// A stock orchestrator with `-maxSessions auto` reads its capacity and writes its limit without a
/// lock in between; here the gap is wide enough to be hit by whoever can.
const LIMIT_RACE: Duration = Duration::from_millis(5);

pub(in crate::sim) type Notices = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

struct Register {
    shared: Arc<Shared>,
    cut: Arc<AtomicBool>,
}

/// The stream of one registration; dropping it ends the registration.
pub(in crate::sim) struct Orders {
    gone: Option<Box<dyn FnOnce() + Send>>,
    first: Option<Word>,
    words: mpsc::Receiver<Word>,
    ended: bool,
    cut: Arc<AtomicBool>,
}

/// Ends in RST_STREAM(CANCEL) instead of trailers when `cut` was set.
pub(in crate::sim) struct Cuttable {
    inner: tonic::body::Body,
    cut: Arc<AtomicBool>,
}

pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() != REGISTER_PATH {
        let mut unknown = text(StatusCode::OK, "");
        let headers = unknown.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", http::HeaderValue::from_static("12"));
        return unknown;
    }
    let cut = Arc::new(AtomicBool::new(false));
    let service = Register { shared, cut: cut.clone() };
    let response = Grpc::new(RawCodec).server_streaming(service, request).await;
    response.map(|inner| Cuttable::body(inner, cut))
}

// === impl Register ===

impl Service<tonic::Request<Bytes>> for Register {
    type Response = tonic::Response<Notices>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (shared, cut) = (self.shared.clone(), self.cut.clone());
        Box::pin(async move {
            let asked = read_register(request.get_ref()).map_err(|bad| Status::internal(bad.to_string()))?;
            let refusal = match () {
                () if asked.secret != shared.plan.secret => Some(INVALID_SECRET),
                () if asked.capacity <= 0 => Some(ZERO_CAPACITY),
                () => None,
            };
            if let Some(words) = refusal {
                shared.counters.refused_registrations.fetch_add(1, Relaxed);
                return Ok(tonic::Response::new(refused(words)));
            }
            let capabilities = asked.capabilities.unwrap_or_else(|| Capabilities::assumed(VERSION));
            let (orders, words) = mpsc::channel(WAITING);
            let had = shared.registry.lock().capacity();
            tokio::time::sleep(LIMIT_RACE).await;
            let id = shared.registry.lock().add(asked.capacity, had, capabilities, orders);
            shared.counters.registrations.fetch_add(1, Relaxed);
            let gone = move || {
                shared.registry.lock().remove(id);
            };
            Ok(tonic::Response::new(Orders::open(words, cut, gone).await))
        })
    }
}

/// Headers first, then trailers, as grpc-go ends a stream.
pub(in crate::sim) fn refused(words: &'static str) -> Notices {
    Box::pin(futures_util::stream::once(std::future::ready(Err(Status::unknown(words)))))
}

// === impl Orders ===

impl Orders {
    /// Waits for the first task: response headers leave with it.
    pub(in crate::sim) async fn open(
        words: mpsc::Receiver<Word>,
        cut: Arc<AtomicBool>,
        gone: impl FnOnce() + Send + 'static,
    ) -> Notices {
        let mut orders = Orders { gone: Some(Box::new(gone)), first: None, words, ended: false, cut };
        orders.first = orders.words.recv().await;
        Box::pin(orders)
    }
}

impl Stream for Orders {
    type Item = Result<Bytes, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let word = match this.first.take() {
            Some(word) => Some(word),
            None => std::task::ready!(this.words.poll_recv(cx)),
        };
        if let Some(Word::Notice(message)) = word {
            return Poll::Ready(Some(Ok(message)));
        }
        this.ended = true;
        match word {
            Some(Word::End(Ending::Unavailable)) => Poll::Ready(Some(Err(Status::unavailable("going away")))),
            Some(Word::End(Ending::Cancel)) => {
                this.cut.store(true, Relaxed);
                Poll::Ready(None)
            }
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            gone();
        }
    }
}

// === impl Cuttable ===

impl Cuttable {
    pub(in crate::sim) fn body(inner: tonic::body::Body, cut: Arc<AtomicBool>) -> Body {
        Cuttable { inner, cut }.boxed_unsync()
    }
}

impl http_body::Body for Cuttable {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if this.cut.load(Relaxed) {
            let cancel: Error = Box::new(h2::Error::from(h2::Reason::CANCEL));
            return Poll::Ready(Some(Err(cancel)));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}
