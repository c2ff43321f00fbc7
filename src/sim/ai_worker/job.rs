//! One job: check, download, reserve, work, post, in the order of a stock AI worker.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::Rng;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::post::{self, Head};
use super::{AiBehaviour, Shared, go};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::sim::ai_content::{self, Answer, Road, Usage};
use crate::sim::worker::register::Registration;
use crate::wire::messages::pb;

pub(super) const NO_WORKERS: &str = "no workers can process job requested";
/// Chunks that wait for the connection.
const WAITING: usize = 64;
/// Time for the first half of an upload to leave before the connections go.
const LEAVE: Duration = Duration::from_millis(50);
const FLUSHED: Duration = Duration::from_secs(2);

/// Counts a job while it runs.
struct Running(Arc<Shared>);

/// A place of a model; given back when dropped.
struct Reserved {
    shared: Arc<Shared>,
    key: ModelKey,
}

/// What a job asks for, once it was found good.
struct Work {
    key: ModelKey,
    request: Map<String, Value>,
    input: Option<Bytes>,
}

/// What arrives on the stream.
pub(super) fn take(shared: &Arc<Shared>, registration: &Arc<Registration>, message: &[u8]) {
    let Ok(notice) = pb::NotifyAiJob::decode(message) else {
        // grpc-go ends the call, and the worker comes back.
        return registration.connections.end();
    };
    let Some(data) = notice.ai_job_data else {
        return crash(shared, "panic: invalid memory address or nil pointer dereference");
    };
    let (shared, registration_here) = (shared.clone(), registration.clone());
    registration.jobs.spawn(async move {
        let running = Running::begin(&shared, &data.pipeline);
        let head = Head { task: notice.task_id, pipeline: data.pipeline.clone() };
        if let Err(words) = run(&shared, &registration_here, &head, &data).await {
            post::error(&shared, &registration_here, &head, &words).await;
        }
        drop(running);
    });
}

/// The whole process is gone: nothing of it goes on.
fn crash(shared: &Shared, words: &str) {
    shared.change(|seen| seen.crashed = Some(words.to_owned()));
    shared.tasks.end();
}

/// Posts the result; the error is a text to be posted.
async fn run(
    shared: &Arc<Shared>,
    registration: &Arc<Registration>,
    head: &Head,
    data: &pb::AiJobData,
) -> Result<(), String> {
    let invalid = |words: String| {
        shared.change(|seen| seen.invalid += 1);
        words
    };
    let envelope = go::envelope(&data.request_data).map_err(invalid)?;
    let work = checked(shared, &data.pipeline, envelope)
        .await
        .map_err(|err| invalid(format!("AI request validation failed for {} pipeline err={err}", data.pipeline)))?;
    let Some(reserved) = Reserved::take(shared, &work.key) else {
        shared.change(|seen| seen.no_capacity += 1);
        return Err(NO_WORKERS.into());
    };
    let behaviour = shared.behaviour();
    match &behaviour {
        AiBehaviour::Fails { rate, text } if shared.rolls(*rate) => {
            sleep(shared.time(0.5)).await;
            return Err(text.clone());
        }
        AiBehaviour::Hangs { rate } if shared.rolls(*rate) => sleep(shared.plan.hang).await,
        _ => {}
    }
    let dies = matches!(behaviour, AiBehaviour::Dies { rate } if shared.rolls(rate));
    if work.key.pipeline == Pipeline::Llm && work.request.get("stream") == Some(&Value::Bool(true)) {
        sleep(shared.time(0.1)).await;
        // Given back when the stream starts.
        drop(reserved);
        stream(shared, registration, head, &work, dies).await;
        return Ok(());
    }
    sleep(shared.time(ai_content::size(work.key.pipeline, &work.request))).await;
    let answer = ai_content::answer(Road::Worker, work.key.pipeline, &work.request, work.input.as_deref());
    drop(reserved);
    let body = match behaviour {
        AiBehaviour::Garbage => post::garbage(shared),
        behaviour => multipart(shared, &answer, behaviour == AiBehaviour::EmptyFile),
    };
    if dies {
        return die(shared, registration, head, body).await;
    }
    post::result(shared, registration, head, body).await;
    Ok(())
}

/// The request and its input, or what a stock worker puts behind `err=`.
async fn checked(shared: &Shared, pipeline: &str, envelope: go::Envelope) -> Result<Work, String> {
    let known = Pipeline::from_name(pipeline).filter(|known| known.by_worker());
    let pipeline = known.ok_or("AI request pipeline type not supported")?;
    let request = go::request(pipeline, envelope.request)?;
    let field = if pipeline == Pipeline::Llm { "model" } else { "model_id" };
    let model = request.get(field).and_then(Value::as_str).ok_or("<nil>")?;
    let key = ModelKey::new(pipeline, model);
    let input = match pipeline.file_field() {
        Some(_) => Some(shared.downloads.get(&shared.tasks, &envelope.input_url).await?),
        None => None,
    };
    Ok(Work { key, request, input })
}

fn multipart(shared: &Shared, answer: &Answer, empty: bool) -> post::Multipart {
    let names: Vec<String> = {
        let mut chance = shared.chance.lock();
        answer.files.iter().map(|file| format!("{:08x}{}", chance.random::<u32>(), file.ending)).collect()
    };
    let json = answer.json(|n| names.get(n).cloned().unwrap_or_default());
    let files = names.iter().zip(&answer.files).map(|(name, file)| {
        let bytes = if empty { Bytes::new() } else { file.bytes.clone() };
        (name.as_str(), file.content_type, bytes)
    });
    post::multipart(shared, files, &json)
}

/// Half of the upload leaves, then every connection is gone.
async fn die(
    shared: &Arc<Shared>,
    registration: &Arc<Registration>,
    head: &Head,
    body: post::Multipart,
) -> Result<(), String> {
    tokio::select! {
        () = post::result(shared, registration, head, body.stalling()) => {}
        () = sleep(LEAVE) => {}
    }
    registration.connections.end();
    Ok(())
}

async fn stream(shared: &Arc<Shared>, registration: &Arc<Registration>, head: &Head, work: &Work, dies: bool) {
    let (send, pieces) = mpsc::channel(WAITING);
    let posting = (shared.clone(), registration.clone(), head.clone());
    let (posted, answered) = oneshot::channel::<()>();
    registration.connections.spawn(async move {
        let (shared, registration, head) = posting;
        post::events(&shared, &registration, &head, pieces).await;
        drop(posted);
    });
    let behaviour = shared.behaviour();
    let slow = match behaviour {
        AiBehaviour::Slow { factor } => factor.clamp(0.0, 1000.0),
        _ => 1.0,
    };
    let mut chunks = ai_content::llm(&work.request).chunks(shared.plan.chunks, Usage::InLast);
    // As Go writes its fixed structure: usage is always there.
    for chunk in chunks.iter_mut().filter(|chunk| chunk.get("usage").is_none()) {
        chunk["usage"] = json!({ "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0 });
    }
    if behaviour == AiBehaviour::SseWithoutEnd {
        chunks.pop();
    }
    let half = chunks.len() / 2;
    for (n, chunk) in chunks.iter().enumerate() {
        if n > 0 {
            sleep(shared.plan.gap.mul_f64(slow)).await;
        }
        if dies && n == half {
            registration.connections.end();
            return;
        }
        let line = match behaviour {
            AiBehaviour::Garbage => "data: {\"not\": \"a chun\n\n".to_owned(),
            _ => format!("data: {chunk}\n\n"),
        };
        if send.send(line.into()).await.is_err() {
            return;
        }
    }
    if behaviour == AiBehaviour::SseWithoutEnd {
        // The job is over, its POST is not.
        registration.connections.spawn(async move {
            send.closed().await;
        });
        return;
    }
    drop(send);
    // A stock worker's job does not wait for the answer; its last chunk must have left, though.
    let _ = timeout(FLUSHED, answered).await;
}

// === impl Running ===

impl Running {
    fn begin(shared: &Arc<Shared>, pipeline: &str) -> Running {
        shared.change(|seen| {
            seen.jobs += 1;
            *seen.by_pipeline.entry(pipeline.to_owned()).or_default() += 1;
            seen.running += 1;
            seen.most_at_once = seen.most_at_once.max(seen.running);
        });
        Running(shared.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.change(|seen| seen.running = seen.running.saturating_sub(1));
    }
}

// === impl Reserved ===

impl Reserved {
    fn take(shared: &Arc<Shared>, key: &ModelKey) -> Option<Reserved> {
        let offer = shared.plan.models.iter().find(|offer| offer.key == *key)?;
        let mut used = shared.used.lock();
        let now = used.entry(key.clone()).or_default();
        if *now >= offer.capacity {
            return None;
        }
        *now += 1;
        Some(Reserved { shared: shared.clone(), key: key.clone() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(now) = self.shared.used.lock().get_mut(&self.key) {
            *now = now.saturating_sub(1);
        }
    }
}
