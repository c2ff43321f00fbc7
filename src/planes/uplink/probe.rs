//! Asks an orchestrator whether it would take us, without becoming its transcoder: a registration
//! of capacity 0. A stock orchestrator looks at the secret first, at the capacity next.
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Status};

use super::config::OrchestratorConfig;
use super::stream::{Channel, chain};
use crate::domain::capability::Capabilities;
use crate::transport::Tasks;
use crate::transport::client::{Dialer, Origin, Speak};
use crate::wire::headers::{INVALID_SECRET, REGISTER_PATH, ZERO_CAPACITY};
use crate::wire::messages::{RawCodec, write_register};

/// What it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// The secret is right.
    Welcome,
    WrongSecret,
    /// It runs its own transcoder (`-transcoder`) and takes no others.
    OwnTranscoder,
    /// Something else, in its words.
    Other(String),
}

/// Connects and asks; the error is why there was no answer.
pub async fn ask(config: &OrchestratorConfig, within: Duration) -> Result<Word, String> {
    let tasks = Tasks::new();
    let word = timeout(within, call(config, within, &tasks)).await;
    tasks.close(Duration::ZERO).await;
    word.unwrap_or_else(|_| Err(format!("no answer within {} s", within.as_secs())))
}

async fn call(config: &OrchestratorConfig, within: Duration, tasks: &Tasks) -> Result<Word, String> {
    let origin = Origin::of(&config.url).map_err(|why| why.to_string())?;
    let dialer = Dialer::new(within).map_err(|why| why.to_string())?;
    let dialled = dialer.dial(&origin, Speak::H2).await.map_err(|why| why.to_string())?;
    let shake = http2::Builder::new(tasks.clone()).handshake(TokioIo::new(dialled.io)).await;
    let (sender, connection) = shake.map_err(|why| format!("no HTTP/2: {}", chain(&why)))?;
    let cut = tasks.token();
    tasks.spawn("probe", async move {
        tokio::select! {
            _ = connection => {}
            () = cut.cancelled() => {}
        }
    });
    let uri = Uri::try_from(origin.to_string()).map_err(|why| why.to_string())?;
    let mut grpc = Grpc::with_origin(Channel(sender), uri);
    grpc.ready().await.map_err(|why| chain(&why))?;
    let request = write_register(&config.secret, 0, &Capabilities::assumed(""));
    let path = PathAndQuery::from_static(REGISTER_PATH);
    let answer = grpc.server_streaming::<Bytes, Bytes, _>(tonic::Request::new(request), path, RawCodec).await;
    let status = match answer {
        Ok(stream) => match stream.into_inner().message().await {
            Ok(_) => return Ok(Word::Other("it took a registration of capacity 0".into())),
            Err(status) => status,
        },
        Err(status) => status,
    };
    // A status with a cause was made on this side: the other never got to say one.
    match std::error::Error::source(&status) {
        Some(cause) => Err(chain(cause)),
        None => Ok(read(&status)),
    }
}

fn read(status: &Status) -> Word {
    match (status.message(), status.code()) {
        (ZERO_CAPACITY, _) => Word::Welcome,
        (INVALID_SECRET, _) => Word::WrongSecret,
        (_, Code::Unimplemented) => Word::OwnTranscoder,
        (text, code) => Word::Other(format!("{code:?}: {text}")),
    }
}
