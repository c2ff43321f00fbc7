//! BYOC streams: start, params, stop; everything between goes over trickle.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::byoc::ByocFate;
use super::http::whole;
use crate::sim::ai_orchestrator::Ai;
use crate::sim::trickle::Channel;

/// What a stream's parameters ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamWants {
    pub ingress: bool,
    pub egress: bool,
    pub data: bool,
}

/// A running stream, from the gateway's side.
pub struct ByocStream {
    pub id: String,
    pub capability: String,
    pub control: Arc<Channel>,
    pub events: Arc<Channel>,
    pub input: Option<Arc<Channel>>,
    pub output: Option<Arc<Channel>>,
    pub data: Option<Arc<Channel>>,
}

const MOST: usize = 1 << 20;

// === impl Ai ===

impl Ai {
    /// Starts a stream; the caller's own keys win over the addresses.
    pub async fn byoc_start(
        &self,
        name: &str,
        id: &str,
        wants: StreamWants,
        keys: Value,
        patience: Duration,
    ) -> Result<ByocStream, ByocFate> {
        let Some(capability) = self.load(name, 1) else { return Err(ByocFate::NoCapability) };
        let mut body = serde_json::Map::new();
        body.insert("gateway_request_id".into(), id.into());
        let mut open = |key: &str, end: &str, mime: &str| {
            body.insert(key.into(), self.url(&format!("/ai/trickle/{id}{end}")).into());
            self.trickle.open(&format!("{id}{end}"), mime)
        };
        let control = open("control_url", "-control", "application/json");
        let events = open("events_url", "-events", "application/json");
        let input = wants.ingress.then(|| open("subscribe_url", "", "video/MP2T")).flatten();
        let output = wants.egress.then(|| open("publish_url", "-out", "video/MP2T")).flatten();
        let data = wants.data.then(|| open("data_url", "-data", "application/jsonl")).flatten();
        if let Value::Object(own) = keys {
            body.extend(own);
        }
        let body = Bytes::from(Value::Object(body).to_string());
        let url = format!("{}/stream/start", capability.url);
        let answered = self.to_worker(&capability, &url, "application/json", id, body, patience).await;
        let failed = match (answered, control, events) {
            (Ok(response), Some(control), Some(events)) if response.status().as_u16() <= 399 => {
                let capability = name.to_owned();
                return Ok(ByocStream { id: id.to_owned(), capability, control, events, input, output, data });
            }
            (Ok(response), ..) => self.refused(name, response).await,
            (Err(None), ..) => ByocFate::Timeout,
            // Does not drop the capability.
            (Err(Some(error)), ..) => ByocFate::Answered {
                status: 500,
                content_type: String::new(),
                metadata: String::new(),
                body: error.into(),
                seconds: 0,
            },
        };
        self.end_stream(id);
        self.load(name, -1);
        Err(failed)
    }

    /// New parameters: the worker's status and body.
    pub async fn byoc_params(
        &self,
        stream: &ByocStream,
        body: Bytes,
        patience: Duration,
    ) -> Result<(u16, Bytes), String> {
        self.tell(stream, "params", body, patience).await
    }

    /// Stops a stream: its channels close, whatever the worker says.
    pub async fn byoc_stop(
        &self,
        stream: &ByocStream,
        body: Bytes,
        patience: Duration,
    ) -> Result<(u16, Bytes), String> {
        let told = self.tell(stream, "stop", body, patience).await;
        self.byoc_abandon(stream);
        told
    }

    /// Any other end, such as a spent balance: the channels close, and the worker is told nothing.
    pub fn byoc_abandon(&self, stream: &ByocStream) {
        self.end_stream(&stream.id);
        self.load(&stream.capability, -1);
    }

    async fn tell(
        &self,
        stream: &ByocStream,
        what: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<(u16, Bytes), String> {
        let capability = self.load(&stream.capability, 0).ok_or("no such capability")?;
        let url = format!("{}/stream/{what}", capability.url);
        let answered = self.to_worker(&capability, &url, "application/json", &stream.id, body, patience).await;
        let response = answered.map_err(|error| error.unwrap_or_else(|| "timeout".into()))?;
        let status = response.status().as_u16();
        match self.refused(&stream.capability, response).await {
            ByocFate::Answered { body, .. } => Ok((status, body)),
            _ => Ok((500, Bytes::from_static(b"Orchestrator worker failure"))),
        }
    }

    /// A 401 drops the capability.
    async fn refused(&self, name: &str, response: http::Response<hyper::body::Incoming>) -> ByocFate {
        let status = response.status().as_u16();
        if status == 401 {
            return self.dropped(name, "Orchestrator worker failure".into());
        }
        let body = whole(response.into_body(), MOST).await.unwrap_or_default();
        ByocFate::Answered { status, content_type: String::new(), metadata: String::new(), body, seconds: 0 }
    }

    fn end_stream(&self, id: &str) {
        for end in ["", "-out", "-control", "-events", "-data"] {
            self.trickle.close(&format!("{id}{end}"));
        }
    }
}
