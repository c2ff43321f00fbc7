//! Requests to an orchestrator's service port, over one connection whose end is noticed.
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::timeout;

use super::Peer;
use crate::transport::client::h1::{H1, OutBody};
use crate::transport::client::{Dialer, Fingerprint, Origin, Speak};

/// Answers of this size are read.
const MOST: usize = 1 << 20;

/// The way to one orchestrator.
pub(in crate::planes::runner) struct Line {
    origin: Origin,
    dialer: Dialer,
    within: Duration,
    conn: Option<H1>,
}

/// An answer, read whole.
pub(in crate::planes::runner) struct Said {
    pub(in crate::planes::runner) status: StatusCode,
    pub(in crate::planes::runner) headers: HeaderMap,
    pub(in crate::planes::runner) body: Bytes,
}

// === impl Line ===

impl Line {
    /// Any certificate will do: an orchestrator makes a new one at every start.
    pub(in crate::planes::runner) fn new(peer: &Peer, within: Duration) -> Result<Line, String> {
        let origin = Origin::of(&peer.url).map_err(|why| why.to_string())?;
        let dialer = Dialer::new(within).map_err(|why| why.to_string())?;
        Ok(Line { origin, dialer, within, conn: None })
    }

    /// Over the kept connection first, and over a new one when that was closed. What is asked here
    /// may be asked twice.
    pub(in crate::planes::runner) async fn post(
        &mut self,
        path: &str,
        secret: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, Bytes), String> {
        let body = body.into();
        let request = || {
            Request::post(path)
                .header(AUTHORIZATION, secret)
                .header(CONTENT_TYPE, kind)
                .header(CONTENT_LENGTH, body.len())
                .body(Full::new(body.clone()).map_err(|never| match never {}).boxed_unsync())
        };
        let answer = self.twice(request).await?;
        Ok((answer.status, answer.body))
    }

    /// A `GET` without a secret.
    pub(in crate::planes::runner) async fn get(&mut self, path: &str) -> Result<Said, String> {
        self.twice(|| Request::get(path).body(Empty::new().map_err(|never| match never {}).boxed_unsync())).await
    }

    async fn twice(&mut self, request: impl Fn() -> http::Result<Request<OutBody>>) -> Result<Said, String> {
        let within = self.within;
        let asked = async {
            let built = || request().map_err(|why| why.to_string());
            if let Some(conn) = self.conn.take()
                && let Ok(answer) = self.ask(conn, built()?).await
            {
                return Ok(answer);
            }
            let conn = dial(&self.dialer, &self.origin).await?;
            self.ask(conn, built()?).await
        };
        timeout(within, asked).await.unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
    }

    /// Stands again. Who answers there now; None in the clear.
    pub(in crate::planes::runner) async fn connect(&mut self) -> Result<Option<Fingerprint>, String> {
        let within = self.within;
        let conn = timeout(within, dial(&self.dialer, &self.origin))
            .await
            .map_err(|_| format!("no connection within {within:?}"))??;
        let certificate = conn.certificate();
        self.conn = Some(conn);
        Ok(certificate)
    }

    pub(in crate::planes::runner) fn certificate(&self) -> Option<Fingerprint> {
        self.conn.as_ref().and_then(H1::certificate)
    }

    pub(in crate::planes::runner) fn stands(&self) -> bool {
        self.conn.is_some()
    }

    /// Ends when the connection has: never without one.
    pub(in crate::planes::runner) async fn lost(&mut self) {
        match &mut self.conn {
            Some(conn) => conn.closed().await,
            None => std::future::pending().await,
        }
        self.conn = None;
    }

    async fn ask(&mut self, mut conn: H1, mut request: Request<OutBody>) -> Result<Said, String> {
        let host = HeaderValue::from_str(&self.origin.authority()).map_err(|why| why.to_string())?;
        request.headers_mut().insert(HOST, host);
        let answer = conn.send(request).await.map_err(|why| why.to_string())?;
        let (head, mut body) = answer.into_parts();
        let mut all = Vec::new();
        while let Some(chunk) = conn.next(&mut body).await {
            let chunk = chunk.map_err(|why| why.to_string())?;
            if all.len() + chunk.len() > MOST {
                return Err(format!("an answer of more than {MOST} bytes"));
            }
            all.extend_from_slice(&chunk);
        }
        self.conn = Some(conn);
        Ok(Said { status: head.status, headers: head.headers, body: all.into() })
    }
}

async fn dial(dialer: &Dialer, origin: &Origin) -> Result<H1, String> {
    let dialled = dialer.dial(origin, Speak::H1).await.map_err(|why| why.to_string())?;
    H1::new(dialled).await.map_err(|why| why.to_string())
}
