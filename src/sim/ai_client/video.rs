//! live-video-to-video: one POST to the runner, then everything goes over four trickle channels.
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::whole;
use crate::domain::ai::Pipeline;
use crate::sim::ai_orchestrator::{Ai, AiFate, random_id, shapes};
use crate::sim::trickle::{Channel, Read, Trickle};

/// A running job, from the gateway's side. Dropping it does not end it.
pub struct LiveVideo {
    pub id: String,
    /// Video to the runner, and from it.
    pub input: Arc<Channel>,
    pub output: Arc<Channel>,
    pub control: Arc<Channel>,
    pub events: Arc<Channel>,
    trickle: Trickle,
    began: Instant,
}

/// Bytes of a runner's answer.
const MOST: usize = 1 << 20;
const ENDS: [&str; 4] = ["", "-out", "-control", "-events"];

// === impl Ai ===

impl Ai {
    /// Starts a job; what goes wrong is a fate. It is not limited by capacity.
    pub async fn live_video(self: &Arc<Self>, model: &str, params: Value) -> Result<LiveVideo, AiFate> {
        let pipeline = Pipeline::LiveVideoToVideo;
        let Some(entry) = self.entry(pipeline, model) else { return Err(AiFate::NoWorker) };
        let (id, began) = (random_id(), Instant::now());
        let open = |end: &str, mime: &str| self.trickle.open(&format!("{id}{end}"), mime);
        let (video, json) = ("video/MP2T", "application/json");
        let (Some(input), Some(output), Some(control), Some(events)) =
            (open("", video), open("-out", video), open("-control", json), open("-events", json))
        else {
            return Err(AiFate::Error("too many channels".into()));
        };
        let (watched, trickle, name) = (input.clone(), self.trickle.clone(), id.clone());
        self.tasks.spawn(async move {
            // The end of the input channel is the end of all four.
            while !matches!(watched.read(-1).await, Read::Closed) {}
            close(&trickle, &name);
        });
        let job = LiveVideo { id, input, output, control, events, trickle: self.trickle.clone(), began };
        let at = |end: &str| self.url(&format!("/ai/trickle/{}{end}", job.id));
        let mut body = json!({
            "subscribe_url": at(""), "publish_url": at("-out"), "control_url": at("-control"),
            "events_url": at("-events"), "model_id": model, "gateway_request_id": "",
            "manifest_id": job.id, "stream_id": "",
        });
        if !params.is_null() {
            body["params"] = params;
        }
        let posted = self.post(&entry, pipeline.name(), "application/json", body.to_string().into()).await;
        let fate = match posted {
            Err(error) => self.failed(error),
            Ok(response) => match self.started(response).await {
                // A panic closes nothing.
                Some(AiFate::Panicked(why)) => return Err(AiFate::Panicked(why)),
                Some(fate) => fate,
                None => return Ok(job),
            },
        };
        job.end();
        Err(fate)
    }

    /// `None`: it runs.
    async fn started(&self, response: http::Response<hyper::body::Incoming>) -> Option<AiFate> {
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !kind.contains("json") || ![200, 400, 401, 422, 500].contains(&status) {
            return Some(self.panicked("an empty answer of live-video-to-video"));
        }
        let body = match whole(response.into_body(), MOST).await {
            Ok(body) => body,
            Err(error) => return Some(self.failed(error)),
        };
        if status == 200 {
            return shapes::runner(Pipeline::LiveVideoToVideo, &body).err().map(|words| self.failed(words));
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let words = match json["detail"]["msg"].as_str() {
            Some(msg) if status != 422 => msg.to_owned(),
            _ => json.to_string(),
        };
        Some(self.failed(format!("live-video-to-video container returned {status}: {words}")))
    }
}

// === impl LiveVideo ===

impl LiveVideo {
    /// As when the gateway leaves, or its balance is spent: all four channels close.
    pub fn end(&self) {
        close(&self.trickle, &self.id);
    }

    /// What is charged up to now: 720p at 30 frames for each second.
    pub fn units(&self) -> u64 {
        self.began.elapsed().as_secs() * 1280 * 720 * 30
    }

    /// What gateways send every 10 s.
    pub fn keep_alive(&self) {
        self.control.publish(r#"{"keep":"alive"}"#.into());
    }
}

fn close(trickle: &Trickle, id: &str) {
    for end in ENDS {
        trickle.close(&format!("{id}{end}"));
    }
}
