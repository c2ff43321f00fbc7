//! One job for a remote AI worker, from notice to fate.
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use prost::Message;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::counters::Counters;
use super::results::{Answer, Outcome, Typed};
use super::rules::{Model, Picked};
use super::{Ai, AiFate, AiFile, random_id, shapes, stream, units};
use crate::domain::ai::Pipeline;
use crate::sim::orchestrator::rules::Word;
use crate::wire::messages::pb;

/// The input's place; dropped with its job.
struct Stored<'a> {
    ai: &'a Ai,
    path: String,
}

pub(super) async fn run(ai: &Ai, pipeline: Pipeline, model: &str, request: Value, file: Option<Bytes>) -> AiFate {
    let Some(bit) = pipeline.capability().filter(|_| pipeline.by_worker()) else { return AiFate::NoWorker };
    let request = with_model(pipeline, model, request);
    let counters = &ai.counters;
    let units = match units::charged(pipeline, &request, file.as_deref()) {
        Ok(units) => units,
        Err(words) => {
            counters.error(&words);
            return AiFate::Error(words);
        }
    };
    let model: Model = (bit, model.to_owned());
    if !ai.registry.lock().has(&model) {
        Counters::add(&counters.no_worker);
        return AiFate::NoWorker;
    }
    let began = Instant::now();
    let stored = file.map(|file| Stored::new(ai, file));
    let data = job_data(ai, pipeline, request, stored.as_ref());
    loop {
        let Some(picked) = ai.registry.lock().pick(&model) else {
            Counters::add(&counters.no_worker);
            return AiFate::NoWorker;
        };
        let task = ai.next_task.fetch_add(1, Relaxed);
        let (answer, answered) = oneshot::channel();
        ai.pending.lock().insert(task, answer);
        let notice = pb::NotifyAiJob { ai_job_data: Some(data.clone()), task_id: task };
        let sent = picked.orders.send(Word::Notice(notice.encode_to_vec().into())).await;
        if sent.is_err() {
            // The stream is gone: forgotten, and the next is tried.
            ai.pending.lock().remove(&task);
            ai.registry.lock().remove(picked.worker);
            continue;
        }
        Counters::add(&counters.jobs);
        let outcome = wait(ai, task, picked, &model, stored, began, answered).await;
        let Some(outcome) = outcome else { return AiFate::Late };
        return finish(ai, pipeline, outcome, units, began).await;
    }
}

/// `None` when the budget is over: the whole worker is dropped.
async fn wait(
    ai: &Ai,
    task: i64,
    picked: Picked,
    model: &Model,
    stored: Option<Stored<'_>>,
    began: Instant,
    mut answered: oneshot::Receiver<Outcome>,
) -> Option<Outcome> {
    let Picked { worker, addr, orders } = picked;
    drop(orders);
    let over = began + ai.plan.budget;
    let mut stored = stored;
    let outcome = loop {
        let until = if stored.is_some() { over.min(began + ai.plan.storage) } else { over };
        match timeout_at(until, &mut answered).await {
            Ok(outcome) => break outcome.unwrap_or_else(|_| Outcome::Error("stopped".into())),
            // The input closes before the job does.
            Err(_) if until < over => stored = None,
            Err(_) => {
                ai.pending.lock().remove(&task);
                Counters::add(&ai.counters.late);
                if ai.registry.lock().remove(worker) {
                    Counters::add(&ai.counters.registrations_lost);
                }
                return None;
            }
        }
    };
    // For a stream this is its start, not its end.
    ai.registry.lock().give_back(addr, model);
    Some(outcome)
}

async fn finish(ai: &Ai, pipeline: Pipeline, outcome: Outcome, units: u64, began: Instant) -> AiFate {
    let counters = &ai.counters;
    let answer = match outcome {
        Outcome::Error(words) => {
            counters.error(&words);
            return AiFate::Error(words);
        }
        Outcome::Stream(chunks) => return stream::take(ai, chunks, units).await,
        Outcome::Result(answer) => answer,
    };
    let closed = began.elapsed() >= ai.plan.storage;
    let (json, files) = match save(ai, answer, closed) {
        Ok(saved) => saved,
        Err(words) => {
            counters.error(&words);
            return AiFate::Error(words);
        }
    };
    if json.is_null() {
        Counters::add(&counters.null_answers);
    } else if shapes::gateway(pipeline, &json).is_err() {
        Counters::add(&counters.unreadable_answers);
    }
    Counters::add(&counters.delivered);
    counters.units.fetch_add(units, Relaxed);
    AiFate::Delivered { json, files, units }
}

/// Each url becomes a file of the storage; a name without a part an empty one.
fn save(ai: &Ai, answer: Answer, closed: bool) -> Result<(Value, Vec<AiFile>), String> {
    let Answer { mut json, typed, files: mut parts } = answer;
    let mut files = Vec::new();
    let mut urls: Vec<&mut Value> = match typed {
        Some(Typed::Images) => {
            json["images"].as_array_mut().into_iter().flatten().map(|image| &mut image["url"]).collect()
        }
        Some(Typed::Audio) => vec![&mut json["audio"]["url"]],
        None => Vec::new(),
    };
    for url in &mut urls {
        if closed {
            return Err("Session ended".into());
        }
        let name = url.as_str().unwrap_or_default().to_owned();
        let body = parts.remove(&name).unwrap_or_default();
        if body.is_empty() {
            Counters::add(&ai.counters.empty_files);
        }
        **url = Value::from(ai.url(&format!("/stream/{}/{name}", random_id())));
        files.push(AiFile { name, body });
    }
    Ok((json, files))
}

/// The model is always there in practice.
pub(in crate::sim) fn with_model(pipeline: Pipeline, model: &str, mut request: Value) -> Value {
    if !request.is_object() {
        request = json!({});
    }
    request[if pipeline == Pipeline::Llm { "model" } else { "model_id" }] = model.into();
    request
}

fn job_data(ai: &Ai, pipeline: Pipeline, mut request: Value, stored: Option<&Stored<'_>>) -> pb::AiJobData {
    if let Some(field) = pipeline.file_field() {
        request[field] = Value::Null;
    }
    let input = stored.map(|stored| ai.url(&stored.path)).unwrap_or_default();
    let data = json!({"input_url": input, "request": request});
    pb::AiJobData { pipeline: pipeline.name().into(), request_data: data.to_string().into() }
}

// === impl Stored ===

impl<'a> Stored<'a> {
    fn new(ai: &'a Ai, file: Bytes) -> Stored<'a> {
        let path = format!("/stream/{}/{}.tempfile", random_id(), random_id());
        ai.inputs.lock().insert(path.clone(), file);
        Stored { ai, path }
    }
}

impl Drop for Stored<'_> {
    fn drop(&mut self) {
        self.ai.inputs.lock().remove(&self.path);
    }
}
