//! `RegisterAIWorker`: silent until the first job; a version that is too low ends it with OK.
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::server::Grpc;
use tower_service::Service;

use super::Ai;
use super::counters::Counters;
use crate::domain::capability::{Bits, Capabilities, Need};
use crate::sim::orchestrator::listen::Body;
use crate::sim::orchestrator::register::{Cuttable, Notices, Orders, refused};
use crate::wire::headers::INVALID_SECRET;
use crate::wire::messages::{RawCodec, pb};

/// Jobs that wait for the connection.
const WAITING: usize = 64;

struct Register {
    ai: Arc<Ai>,
    peer: SocketAddr,
    cut: Arc<AtomicBool>,
}

pub(super) async fn answer(ai: Arc<Ai>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let cut = Arc::new(AtomicBool::new(false));
    let service = Register { ai, peer, cut: cut.clone() };
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
        let (ai, peer, cut) = (self.ai.clone(), self.peer, self.cut.clone());
        Box::pin(async move {
            let asked = pb::RegisterAiWorkerRequest::decode(request.get_ref().clone())
                .map_err(|bad| Status::internal(bad.to_string()))?;
            if asked.secret != ai.secret {
                Counters::add(&ai.counters.refused_registrations);
                return Ok(tonic::Response::new(refused(INVALID_SECRET)));
            }
            // Without capabilities it has the orchestrator's own version, and no models.
            let version = asked.capabilities.as_ref().map_or(&ai.plan.version, |capabilities| &capabilities.version);
            let need = Need { bits: None, min_version: ai.plan.version.clone() };
            if (Capabilities { bits: Bits(Vec::new()), version: version.clone() }).fits(&need).is_err() {
                Counters::add(&ai.counters.silent_refusals);
                let nothing: Notices = Box::pin(futures_util::stream::empty());
                return Ok(tonic::Response::new(nothing));
            }
            let (orders, words) = mpsc::channel(WAITING);
            let id = ai.registry.lock().add(peer, asked, orders);
            Counters::add(&ai.counters.registrations);
            let gone = move || {
                ai.registry.lock().remove(id);
            };
            Ok(tonic::Response::new(Orders::open(words, cut, gone).await))
        })
    }
}
