//! Live video: what comes in goes out again, while events are told and control is heard.
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::Shared;
use super::trickle::{CURRENT, NEXT, Reader, Trickle, Writer};
use crate::sim::tasks::Tasks;

/// The channels of one job; those that were not given are not used.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    pub(super) subscribe: Option<String>,
    pub(super) publish: Option<String>,
    pub(super) control: Option<String>,
    pub(super) events: Option<String>,
    pub(super) data: Option<String>,
}

const MOST_MESSAGE: usize = 1 << 20;

struct Live(Arc<Shared>);

/// Works until the input channel ends; everything of the job ends with that, or with what is given back.
pub(super) fn start(shared: &Arc<Shared>, tasks: &Tasks, channels: Channels) -> Tasks {
    let part = tasks.part();
    let trickle = Trickle { dialer: shared.dialer.clone(), tasks: part.clone() };
    if let Some(url) = &channels.events {
        part.spawn(tell(shared.clone(), Writer::new(trickle.clone(), url, "application/json")));
    }
    if let Some(url) = &channels.data {
        part.spawn(tell_data(shared.clone(), Writer::new(trickle.clone(), url, "application/json")));
    }
    // What the job hangs on: the video that comes in, or else the control channel.
    let (heard, watched) = (channels.control.is_some(), channels.subscribe.is_some());
    let control = channels.control.map(|url| Reader::new(trickle.clone(), &url, NEXT));
    if let Some(url) = &channels.subscribe {
        let input = Reader::new(trickle.clone(), url, CURRENT);
        let output = channels.publish.map(|url| Writer::new(trickle.clone(), &url, "video/MP2T"));
        let (live, ending) = (Live::begin(shared), part.clone());
        part.spawn(async move {
            pump(&live.0, input, output).await;
            live.0.counters.change(|seen| seen.live_ended += 1);
            ending.end();
        });
    }
    if heard && let Some(control) = control {
        let (shared, ending) = (shared.clone(), part.clone());
        part.spawn(async move {
            listen(&shared, control).await;
            if !watched {
                ending.end();
            }
        });
    }
    part
}

async fn pump(shared: &Shared, mut input: Reader, mut output: Option<Writer>) {
    while let Some(mut segment) = input.next().await {
        let Some(output) = &mut output else { continue };
        let open = output.segment();
        while let Some(Ok(frame)) = segment.frame().await {
            open.piece(frame.into_data().unwrap_or_default()).await;
        }
        if !shared.plan.live.append.is_empty() {
            open.piece(shared.plan.live.append.clone()).await;
        }
        if open.end().await {
            shared.counters.change(|seen| seen.segments += 1);
        }
    }
}

/// The events that a gateway takes for the heartbeat.
async fn tell(shared: Arc<Shared>, mut events: Writer) {
    loop {
        let status = json!({ "fps": 30.0, "last_output_time": null, "restart_count": 0 });
        let event = json!({ "type": "status", "pipeline": "simulated", "state": "ONLINE",
            "runner": shared.plan.name, "inference_status": status });
        let told = json!({ "event": event, "queue_event_type": "ai_stream_events" });
        if !events.write(told.to_string()).await {
            return;
        }
        shared.counters.change(|seen| seen.events += 1);
        sleep(shared.plan.live.events).await;
    }
}

/// Lines of JSON, as BYOC streams give them out.
async fn tell_data(shared: Arc<Shared>, mut data: Writer) {
    for n in 0u64.. {
        if !data.write(format!("{}\n", json!({ "n": n }))).await {
            return;
        }
        sleep(shared.plan.live.events).await;
    }
}

async fn listen(shared: &Shared, mut control: Reader) {
    while let Some(mut message) = control.next().await {
        let mut text = Vec::new();
        while let Some(Ok(frame)) = message.frame().await {
            let data: Bytes = frame.into_data().unwrap_or_default();
            if text.len() + data.len() <= MOST_MESSAGE {
                text.extend_from_slice(&data);
            }
        }
        let Ok(value) = serde_json::from_slice::<Value>(&text) else { continue };
        shared.counters.change(|seen| match value.get("keep") {
            Some(_) => seen.keepalives += 1,
            None => {
                seen.params += 1;
                seen.last_params = Some(value.to_string());
            }
        });
    }
}

// === impl Channels ===

impl Channels {
    pub(super) fn of(request: &Map<String, Value>) -> Channels {
        let url = |name: &str| {
            let text = request.get(name).and_then(Value::as_str)?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Channels {
            subscribe: url("subscribe_url"),
            publish: url("publish_url"),
            control: url("control_url"),
            events: url("events_url"),
            data: url("data_url"),
        }
    }
}

// === impl Live ===

impl Live {
    fn begin(shared: &Arc<Shared>) -> Live {
        shared.counters.change(|seen| seen.live_running += 1);
        Live(shared.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.counters.change(|seen| seen.live_running = seen.live_running.saturating_sub(1));
    }
}
