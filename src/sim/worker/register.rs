//! The registration loop of either kind of worker: what makes it come back, and what ends it for good.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use rand::Rng;
use tokio::time::sleep;
use tonic::{Code, Status};

use super::http::Results;
use super::{Shared, job};
use crate::domain::capability::{Bits, Capabilities};
use crate::sim::tasks::Tasks;
use crate::sim::tls::{Alpn, Dialer};
use crate::wire::headers::{INVALID_SECRET, REGISTER_PATH, ZERO_CAPACITY};
use crate::wire::messages::{RawCodec, pb, write_register};

/// Carries gRPC calls over one HTTP/2 connection.
struct Calls(http2::SendRequest<tonic::body::Body>);

/// What registers: a transcoder or an AI worker.
pub(in crate::sim) trait Peer: Send + Sync + 'static {
    /// Of its call.
    const PATH: &'static str;

    fn pool(&self) -> SocketAddr;
    fn dialer(&self) -> &Dialer;
    fn tasks(&self) -> &Tasks;
    /// The first and the longest.
    fn backoff(&self) -> (Duration, Duration);
    /// 50 to 150 %.
    fn spread(&self) -> f64;
    /// The message that it registers with.
    fn request(&self) -> Bytes;
    /// A registration is sent.
    fn attempted(&self);
    /// It ended, perhaps for good.
    fn ended(&self, why: String, for_good: bool);
    /// What arrives on the stream.
    fn take(self: &Arc<Self>, registration: &Arc<Registration>, message: Bytes);
}

/// One registration's own things: they end with it.
pub(in crate::sim) struct Registration {
    pub(in crate::sim) results: Results,
    /// Running jobs: finished before the next registration.
    pub(in crate::sim) jobs: Tasks,
    /// The connections; a worker that dies loses them all.
    pub(in crate::sim) connections: Tasks,
}

/// How a registration ended.
enum End {
    Again(String),
    ForGood(String),
}

pub(in crate::sim) async fn live<P: Peer>(peer: Arc<P>) {
    let (mut backoff, longest) = peer.backoff();
    loop {
        peer.attempted();
        let connections = peer.tasks().part();
        let registration = Arc::new(Registration {
            results: Results::new(peer.pool(), peer.dialer().clone(), connections.clone()),
            jobs: peer.tasks().part(),
            connections,
        });
        let end = registered(&peer, &registration).await;
        // What is running is finished and posted first.
        tokio::select! {
            () = registration.jobs.idle() => {}
            () = registration.connections.ended() => registration.jobs.end(),
        }
        registration.connections.end();
        let (why, fatal) = match end {
            Ok(End::ForGood(why)) => (why, true),
            Ok(End::Again(why)) => (why, false),
            Err(error) => (error.to_string(), false),
        };
        peer.ended(why, fatal);
        if fatal {
            return;
        }
        sleep(backoff.mul_f64(peer.spread())).await;
        // Never reset by a long healthy time: only a restart does that.
        backoff = backoff.mul_f64(1.5).min(longest);
    }
}

/// One registration, from dial to the end of its stream.
async fn registered<P: Peer>(peer: &Arc<P>, registration: &Arc<Registration>) -> io::Result<End> {
    let tls = peer.dialer().dial(peer.pool(), Alpn::H2).await?;
    let (sender, connection) = http2::Builder::new(registration.connections.clone())
        .handshake(TokioIo::new(tls))
        .await
        .map_err(io::Error::other)?;
    registration.connections.spawn(async move {
        let _ = connection.await;
    });
    let origin = Uri::builder()
        .scheme("https")
        .authority(peer.pool().to_string())
        .path_and_query("/")
        .build()
        .map_err(io::Error::other)?;
    let mut client = tonic::client::Grpc::with_origin(Calls(sender), origin);
    let path = http::uri::PathAndQuery::from_static(P::PATH);
    // Waits for the response headers: those come with the first task.
    let asked = client.server_streaming(tonic::Request::new(peer.request()), path, RawCodec).await;
    let mut notices = match asked {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(classify(&status)),
    };
    loop {
        match notices.message().await {
            Ok(Some(notice)) => peer.take(registration, notice),
            Ok(None) => return Ok(End::Again("ended: OK".into())),
            Err(status) => return Ok(classify(&status)),
        }
    }
}

/// The stock loop ends at two messages, and at the code Canceled.
fn classify(status: &Status) -> End {
    let why = format!("{:?}: {}", status.code(), status.message());
    let canceled = status.code() == Code::Cancelled && !cut_off(status);
    let fatal = [INVALID_SECRET, ZERO_CAPACITY].contains(&status.message()) || canceled;
    if fatal { End::ForGood(why) } else { End::Again(why) }
}

/// hyper says "canceled" of a call whose connection went; grpc-go calls that Unavailable. A reset
/// by the peer carries an h2 reason, a status sent by the peer has no source.
fn cut_off(status: &Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            return !(h2.is_remote() && h2.reason() == Some(h2::Reason::CANCEL));
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = error.source();
    }
    false
}

// === impl Calls ===

impl tower_service::Service<http::Request<tonic::body::Body>> for Calls {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

// === impl Shared ===

impl Peer for Shared {
    const PATH: &'static str = REGISTER_PATH;

    fn pool(&self) -> SocketAddr {
        self.pool
    }

    fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    fn backoff(&self) -> (Duration, Duration) {
        (self.plan.first_backoff, self.plan.longest_backoff)
    }

    fn spread(&self) -> f64 {
        self.chance.lock().random_range(0.5..1.5)
    }

    fn request(&self) -> Bytes {
        let plan = &self.plan;
        let capabilities = Capabilities { bits: Bits(vec![plan.bits]), version: plan.version.clone() };
        let stock = write_register(&plan.secret, plan.capacity, &capabilities);
        let Some(address) = plan.address else { return stock };
        // Fields of a message may be written one after the other.
        let named = pb::RegisterRequest { ethereum_address: Bytes::copy_from_slice(&address.0), ..Default::default() };
        [stock.as_ref(), &prost::Message::encode_to_vec(&named)].concat().into()
    }

    fn attempted(&self) {
        self.counters.attempts.fetch_add(1, Relaxed);
    }

    fn ended(&self, why: String, for_good: bool) {
        let mut words = self.counters.words.lock();
        if for_good {
            words.retired = Some(why.clone());
        }
        words.ending = Some(why);
    }

    fn take(self: &Arc<Self>, registration: &Arc<Registration>, message: Bytes) {
        job::take(self, registration, message);
    }
}
