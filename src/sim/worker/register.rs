//! The registration loop: what makes a stock worker come back, and what ends it for good.
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

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
use crate::sim::tls::Alpn;
use crate::wire::headers::{INVALID_SECRET, REGISTER_PATH, ZERO_CAPACITY};
use crate::wire::messages::{RawCodec, pb, write_register};

/// Carries gRPC calls over one HTTP/2 connection.
struct Calls(http2::SendRequest<tonic::body::Body>);

/// One registration's own things: they end with it.
pub(super) struct Registration {
    pub(super) results: Results,
    /// Running jobs: finished before the next registration.
    pub(super) jobs: Tasks,
    /// The connections; a worker that dies loses them all.
    pub(super) connections: Tasks,
}

/// How a registration ended.
enum End {
    Again(String),
    ForGood(String),
}

pub(super) async fn live(shared: Arc<Shared>) {
    let mut backoff = shared.plan.first_backoff;
    loop {
        shared.counters.attempts.fetch_add(1, Relaxed);
        let connections = shared.tasks.part();
        let registration = Arc::new(Registration {
            results: Results::new(shared.pool, shared.dialer.clone(), connections.clone()),
            jobs: shared.tasks.part(),
            connections,
        });
        let end = registered(&shared, &registration).await;
        // What is running is finished and posted first.
        tokio::select! {
            () = registration.jobs.idle() => {}
            () = registration.connections.ended() => registration.jobs.end(),
        }
        registration.connections.end();
        if ended_for_good(&shared, end) {
            return;
        }
        let spread = shared.chance.lock().random_range(0.5..1.5);
        sleep(backoff.mul_f64(spread)).await;
        // Never reset by a long healthy time: only a restart does that.
        backoff = backoff.mul_f64(1.5).min(shared.plan.longest_backoff);
    }
}

/// Keeps the last words; whether they were the very last.
fn ended_for_good(shared: &Shared, end: io::Result<End>) -> bool {
    let mut words = shared.counters.words.lock();
    let (why, fatal) = match end {
        Ok(End::ForGood(why)) => (why, true),
        Ok(End::Again(why)) => (why, false),
        Err(error) => (error.to_string(), false),
    };
    if fatal {
        words.retired = Some(why.clone());
    }
    words.ending = Some(why);
    fatal
}

/// One registration, from dial to the end of its stream.
async fn registered(shared: &Arc<Shared>, registration: &Arc<Registration>) -> io::Result<End> {
    let tls = shared.dialer.dial(shared.pool, Alpn::H2).await?;
    let (sender, connection) = http2::Builder::new(registration.connections.clone())
        .handshake(TokioIo::new(tls))
        .await
        .map_err(io::Error::other)?;
    registration.connections.spawn(async move {
        let _ = connection.await;
    });
    let origin = Uri::builder()
        .scheme("https")
        .authority(shared.pool.to_string())
        .path_and_query("/")
        .build()
        .map_err(io::Error::other)?;
    let mut client = tonic::client::Grpc::with_origin(Calls(sender), origin);
    let path = http::uri::PathAndQuery::from_static(REGISTER_PATH);
    // Waits for the response headers: those come with the first task.
    let asked = client.server_streaming(tonic::Request::new(request(shared)), path, RawCodec).await;
    let mut notices = match asked {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(classify(&status)),
    };
    loop {
        match notices.message().await {
            Ok(Some(notice)) => job::take(shared, registration, notice),
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

fn request(shared: &Shared) -> Bytes {
    let plan = &shared.plan;
    let capabilities = Capabilities { bits: Bits(vec![plan.bits]), version: plan.version.clone() };
    let stock = write_register(&plan.secret, plan.capacity, &capabilities);
    let Some(address) = plan.address else { return stock };
    // Fields of a message may be written one after the other.
    let named = pb::RegisterRequest { ethereum_address: Bytes::copy_from_slice(&address.0), ..Default::default() };
    [stock.as_ref(), &prost::Message::encode_to_vec(&named)].concat().into()
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
