//! How a runner is, and what it says of itself.
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use serde::Deserialize;
use tokio::time::timeout;

use super::Agent;
use crate::transport::client::Speak;
use crate::transport::client::h1::{H1, OutBody};
use crate::wire::messages::write_hardware;

/// Answers of this size are read.
const MOST: usize = 256 << 10;

#[derive(Deserialize)]
struct Health {
    status: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// What a runner tells of itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// `0.0.0` when it does not say.
    pub(super) version: String,
    /// Raw `HardwareInformation` messages.
    pub(super) hardware: Vec<Bytes>,
    pub(super) peer: Option<SocketAddr>,
}

// === impl Agent ===

impl Agent {
    /// Whether it is well; the error says why not.
    pub(super) async fn health(&self) -> Result<(), String> {
        if self.runner.config.health.is_empty() {
            return Ok(());
        }
        let path = self.runner.path(&self.runner.config.health);
        let (status, body) = self.get(&path).await?;
        if status != StatusCode::OK {
            return Err(format!("its health answers {status}"));
        }
        // An app's health may be anything that is 200.
        match serde_json::from_slice::<Health>(&body) {
            Ok(health) if health.status == "ERROR" => Err("it says that its status is ERROR".into()),
            _ => Ok(()),
        }
    }

    /// Where it is: of one that is asked nothing.
    pub(super) async fn found(&self) -> Facts {
        let version = self.runner.config.models.first().map(|offer| offer.version.clone()).unwrap_or_default();
        let found = self.runner.origin.resolve(self.care.connect_timeout).await.ok();
        let peer = found.and_then(|all| all.first().copied());
        Facts { version, hardware: Vec::new(), peer }
    }

    /// Version and hardware, where it tells them.
    pub(super) async fn describe(&self) -> Facts {
        let version = match self.get(&self.runner.path("version")).await {
            Ok((StatusCode::OK, body)) => serde_json::from_slice::<Version>(&body).ok().map(|v| v.version),
            _ => None,
        };
        let hardware = match self.get(&self.runner.path("hardware/info")).await {
            Ok((StatusCode::OK, body)) => write_hardware(&body).into_iter().collect(),
            _ => Vec::new(),
        };
        let peer =
            self.runner.origin.resolve(self.care.connect_timeout).await.ok().and_then(|all| all.first().copied());
        Facts { version: version.unwrap_or_else(|| "0.0.0".into()), hardware, peer }
    }

    async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let within = self.care.health_timeout;
        timeout(within, self.get_at_leisure(path)).await.map_err(|_| format!("no answer within {within:?}"))?
    }

    async fn get_at_leisure(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let mut conn = self.fresh().await?;
        let request = self.request(Request::get(path)).body(empty()).map_err(|why| why.to_string())?;
        let answer = conn.send(request).await.map_err(|why| why.to_string())?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut all = Vec::new();
        while let Some(chunk) = conn.next(&mut body).await {
            let chunk = chunk.map_err(|why| why.to_string())?;
            if all.len() + chunk.len() > MOST {
                return Err(format!("more than {MOST} bytes"));
            }
            all.extend_from_slice(&chunk);
        }
        Ok((status, all.into()))
    }

    /// A new connection: a health that is asked over an old one says less.
    pub(super) async fn fresh(&self) -> Result<H1, String> {
        let dialled = self.runner.dialer.dial(&self.runner.origin, Speak::H1).await.map_err(|why| why.to_string())?;
        H1::new(dialled).await.map_err(|why| why.to_string())
    }

    /// Host and token.
    pub(super) fn request(&self, request: http::request::Builder) -> http::request::Builder {
        let request = request.header(HOST, self.runner.origin.authority());
        match &self.runner.config.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

pub(super) fn empty() -> OutBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
