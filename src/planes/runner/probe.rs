//! Asks a runner how it is, without becoming its caller: for `check`.
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use tokio::time::timeout;

use super::runners::RunnerWorker;
use crate::transport::client::h1::H1;
use crate::transport::client::{DialError, Dialer, Origin, Speak, Trust};

/// What a runner says that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Why it is not well; None: it is.
    pub unwell: Option<String>,
    pub says: Option<Says>,
}

/// Its own word on what it runs; one without such a word is no fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Says {
    pub pipeline: String,
    pub model_id: String,
    pub version: String,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Unreachable(String),
    /// Its certificate is not trusted; with the SHA-256 that it shows, when it shows one.
    Untrusted(String, Option<[u8; 32]>),
}

#[derive(Deserialize)]
struct Health {
    status: String,
}

/// The longest answer that is read.
const MOST: usize = 64 << 10;

/// Connects as the pool would, and asks.
pub async fn ask(runner: &RunnerWorker, within: Duration) -> Result<Found, Trouble> {
    let unreachable = |why: String| Trouble::Unreachable(why);
    let origin = Origin::of(&runner.url).map_err(|why| unreachable(why.to_string()))?;
    let trust = runner.pin.map_or(Trust::System, Trust::Pinned);
    let dialer = Dialer::trusting(trust, within).map_err(|why| unreachable(why.to_string()))?;
    match get(&dialer, &origin, runner, &runner.health, within).await {
        Ok((status, body)) => {
            let says = get(&dialer, &origin, runner, "/version", within).await.ok();
            let says = says.filter(|(status, _)| *status == StatusCode::OK);
            let says = says.and_then(|(_, body)| serde_json::from_slice::<Says>(&body).ok());
            Ok(Found { unwell: unwell(status, &body), says })
        }
        Err(Failed::Dial(DialError::Tls(_, why))) => Err(Trouble::Untrusted(why, shown(&origin, within).await)),
        Err(Failed::Dial(why)) => Err(Trouble::Unreachable(why.to_string())),
        Err(Failed::Asked(why)) => Ok(Found { unwell: Some(why), says: None }),
    }
}

enum Failed {
    Dial(DialError),
    Asked(String),
}

fn unwell(status: StatusCode, body: &[u8]) -> Option<String> {
    if status != StatusCode::OK {
        return Some(format!("its health answers {status}"));
    }
    let error = serde_json::from_slice::<Health>(body).is_ok_and(|health| health.status == "ERROR");
    error.then(|| "it says that its status is ERROR".into())
}

/// The SHA-256 of whatever certificate it shows.
async fn shown(origin: &Origin, within: Duration) -> Option<[u8; 32]> {
    let dialer = Dialer::new(within).ok()?;
    dialer.dial(origin, Speak::H1).await.ok()?.certificate.map(|print| print.0)
}

async fn get(
    dialer: &Dialer,
    origin: &Origin,
    runner: &RunnerWorker,
    path: &str,
    within: Duration,
) -> Result<(StatusCode, Bytes), Failed> {
    let dialled = dialer.dial(origin, Speak::H1).await.map_err(Failed::Dial)?;
    let base = runner.url.path().trim_end_matches('/');
    let mut request = Request::get(format!("{base}{path}")).header(HOST, origin.authority());
    if let Some(token) = &runner.token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = request.body(body).map_err(|why| Failed::Asked(why.to_string()))?;
    let exchange = async {
        let mut conn = H1::new(dialled).await.map_err(|why| why.to_string())?;
        let answer = conn.send(request).await.map_err(|why| why.to_string())?;
        let status = answer.status();
        let text = conn.text(&mut answer.into_body(), MOST).await;
        Ok((status, Bytes::from(text)))
    };
    let late = |_| Failed::Asked(format!("no answer within {} s", within.as_secs()));
    timeout(within, exchange).await.map_err(late)?.map_err(Failed::Asked)
}
