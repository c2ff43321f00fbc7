//! The AI jobs of a demo: a stream of each pipeline at each door, and what became of them.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ai::MODEL;
use super::tally::PipelineTally;
use crate::domain::ai::Pipeline;
use crate::sim::ai_content::{png, wav};
use crate::sim::ai_orchestrator::{Ai, AiFate, AiFile};
use crate::sim::trickle::Read;
use crate::transport::Tasks;

/// Where jobs come in.
#[derive(Clone)]
pub(super) enum Door {
    /// The orchestrator's own runner is our port.
    Runner(Arc<Ai>),
    /// Its AI worker is the pool.
    Worker(Arc<Ai>),
}

/// Loops that ask until they are told to end.
pub(super) struct Traffic {
    tasks: Tasks,
    seen: Seen,
}

type Seen = Arc<Mutex<BTreeMap<Pipeline, Figures>>>;

/// What became of one pipeline's jobs.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    jobs: u64,
    delivered: u64,
    errors: u64,
    lost: u64,
    units: u64,
    /// Of what was delivered, ms.
    latencies: Vec<u32>,
    note: Option<String>,
}

/// Between two jobs of one pipeline.
const PAUSE: Duration = Duration::from_millis(150);
/// Response times that are kept.
const MOST_LATENCIES: usize = 1 << 16;
/// Characters of the last error that are told.
const MOST_WORDS: usize = 160;
/// Video of one live job: so many segments, so far apart.
const SEGMENTS: usize = 4;
const SEGMENT: Duration = Duration::from_millis(500);
/// A segment must be back within.
const LATE: Duration = Duration::from_secs(5);

// === impl Traffic ===

impl Traffic {
    pub(super) fn start(doors: Vec<Door>, seed: u64) -> Traffic {
        let (tasks, seen) = (Tasks::new(), Seen::default());
        for door in doors {
            for (n, pipeline) in (1u64..).zip(Pipeline::STOCK) {
                let (stop, seen, door) = (tasks.token(), seen.clone(), door.clone());
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(n * 1_000_000);
                tasks.spawn("demo jobs", async move { ask(door, pipeline, seed, seen, stop).await });
            }
        }
        Traffic { tasks, seen }
    }

    pub(super) async fn quiesce(&self, within: Duration) {
        self.tasks.close(within).await;
    }

    pub(super) fn figures(&self) -> BTreeMap<Pipeline, Figures> {
        self.seen.lock().clone()
    }
}

/// One job after another, with a pause between.
async fn ask(door: Door, pipeline: Pipeline, seed: u64, seen: Seen, stop: CancellationToken) {
    let mut number = seed;
    while !stop.is_cancelled() {
        number = number.wrapping_add(1);
        let began = Instant::now();
        let fate = match (&door, pipeline) {
            (Door::Runner(ai), Pipeline::LiveVideoToVideo) => match live(ai).await {
                Ok(fate) => fate,
                Err(why) => {
                    seen.lock().entry(pipeline).or_default().note = Some(why);
                    return;
                }
            },
            (Door::Worker(_), Pipeline::LiveVideoToVideo) => return,
            (Door::Runner(ai), _) => {
                let (request, file) = job(pipeline, number);
                let file = file.map(|body| AiFile { name: "input".into(), body });
                Some(ai.run(pipeline, MODEL, request, file).await)
            }
            (Door::Worker(ai), _) => {
                let (request, file) = job(pipeline, number);
                let fate = ai.submit(pipeline, MODEL, request, file).await;
                // Nobody was asked: the pool is not registered there.
                (fate != AiFate::NoWorker).then_some(fate)
            }
        };
        if let Some(fate) = fate {
            let took = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
            seen.lock().entry(pipeline).or_default().count(&fate, took);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(PAUSE) => {}
        }
    }
}

/// A usual request, of small files: the demo shares its machine. No two are alike.
fn job(pipeline: Pipeline, number: u64) -> (Value, Option<Bytes>) {
    let prompt = format!("a fjord at dawn, view {number}");
    let picture = || Some(png(64, 64, number));
    match pipeline {
        Pipeline::TextToImage => (json!({ "prompt": prompt, "width": 256, "height": 256 }), None),
        Pipeline::ImageToImage => (json!({ "prompt": prompt, "strength": 0.8 }), picture()),
        Pipeline::ImageToVideo => (json!({ "fps": 7 }), picture()),
        Pipeline::Upscale => (json!({ "prompt": prompt }), picture()),
        Pipeline::AudioToText => (json!({ "return_timestamps": "true" }), Some(wav(16_000, number))),
        Pipeline::SegmentAnything2 => (json!({ "point_coords": "[[3, 4]]", "point_labels": "[1]" }), picture()),
        Pipeline::Llm => {
            let messages = json!([{ "role": "user", "content": prompt }]);
            (json!({ "messages": messages, "max_tokens": 32, "stream": number % 2 == 1 }), None)
        }
        Pipeline::ImageToText => (json!({ "prompt": prompt }), picture()),
        Pipeline::TextToSpeech => (json!({ "text": prompt, "description": "calm" }), None),
        Pipeline::LiveVideoToVideo | Pipeline::Byoc | Pipeline::App => (json!({}), None),
    }
}

/// One live video: some segments in, the same number out. Err: it is not served here, and why.
async fn live(ai: &Arc<Ai>) -> Result<Option<AiFate>, String> {
    let video = match ai.live_video(MODEL, Value::Null).await {
        Ok(video) => video,
        Err(AiFate::Error(words)) if words.contains("not served") => return Err(words),
        Err(fate) => return Ok(Some(fate)),
    };
    let segment = Bytes::from_static(&[0x47; 188]);
    for _ in 0..SEGMENTS {
        let number = video.input.publish(segment.clone());
        let back = timeout(LATE, video.output.read(number)).await;
        if !matches!(back, Ok(Read::Segment { .. })) {
            video.end();
            return Ok(Some(AiFate::Late));
        }
        sleep(SEGMENT).await;
    }
    let units = video.units();
    video.end();
    Ok(Some(AiFate::Delivered { json: Value::Null, files: Vec::new(), units }))
}

// === impl Figures ===

impl Figures {
    fn count(&mut self, fate: &AiFate, took_ms: u32) {
        self.jobs += 1;
        let units = match fate {
            AiFate::Delivered { units, .. } | AiFate::Stream { ended: true, units, .. } => *units,
            AiFate::Error(words) => {
                self.errors += 1;
                self.note = Some(words.chars().take(MOST_WORDS).collect());
                return;
            }
            // Charged for nothing, or a worker dropped: none of that may be.
            AiFate::Stream { .. } | AiFate::Late | AiFate::NoWorker | AiFate::Panicked(_) => {
                self.lost += 1;
                return;
            }
        };
        self.delivered += 1;
        self.units += units;
        if self.latencies.len() < MOST_LATENCIES {
            self.latencies.push(took_ms);
        }
    }

    pub(super) fn tally(&self, pipeline: Pipeline) -> PipelineTally {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        PipelineTally {
            name: pipeline.name(),
            jobs: self.jobs,
            delivered: self.delivered,
            errors: self.errors,
            lost: self.lost,
            units: self.units,
            unit: pipeline.unit().name(),
            p95_ms: sorted.get(sorted.len() * 95 / 100).copied().unwrap_or_default(),
            note: self.note.clone(),
        }
    }
}
