//! Runners of `aiModels.json`: asked once at start, then trusted, whatever they answer.
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{Request, Response, header};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::data_url;
use super::form;
use super::http::whole;
use crate::domain::ai::Pipeline;
use crate::sim::ai_orchestrator::{Ai, AiChunk, AiFate, AiFile, job, random_id, shapes, stream, units};
use crate::sim::orchestrator::listen::{Body, full};

/// One entry of `aiModels.json` with a `url`.
#[derive(Clone, Debug)]
pub struct RunnerEntry {
    pub pipeline: Pipeline,
    pub model: String,
    pub url: String,
    pub token: Option<String>,
    pub capacity: i64,
}

/// What its start said of a runner.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyRunner {
    pub status: String,
    /// Advertised; empty when it names another pipeline or model.
    pub version: String,
    pub hardware: Value,
}

#[derive(Default)]
pub struct Runners {
    entries: Mutex<Vec<RunnerEntry>>,
    /// What is left of each model's capacity.
    left: Mutex<HashMap<(Pipeline, String), i64>>,
}

/// What a runner's answer is to Go's generated client.
enum Read {
    Answer(Value),
    Error(String),
    /// Neither: an empty success.
    Nothing,
}

/// Limits of an answer, and of the wait for `/version`.
const MOST: usize = 512 << 20;
const VERSION_WAIT: std::time::Duration = std::time::Duration::from_secs(60);
/// Chunks between the reader of a stream and its request.
const BUFFER: usize = 10;

// === impl Ai ===

impl Ai {
    /// What a start does with an entry; an error ends the orchestrator.
    pub async fn warm(&self, entry: RunnerEntry) -> Result<ReadyRunner, String> {
        let until = Instant::now() + self.plan.ready;
        let mut last = String::new();
        let status = loop {
            sleep(self.plan.ready_every).await;
            if Instant::now() >= until {
                return Err(format!("timed out waiting for runner: {last}"));
            }
            match timeout(self.plan.ready_try, self.get(&entry, "health")).await {
                Err(_) => last = "context deadline exceeded".into(),
                Ok(Err(error)) => last = error,
                Ok(Ok((200, None))) => return Err(self.crash("health")),
                Ok(Ok((200, Some(health)))) => match health["status"].as_str() {
                    Some("ERROR") => return Err("runner is in error state".into()),
                    status => break status.unwrap_or_default().to_owned(),
                },
                Ok(Ok((code, _))) => last = format!("health check failed with status code {code}"),
            }
        };
        let hardware = match timeout(self.plan.ready_try, self.get(&entry, "hardware/info")).await {
            Ok(Ok((200, json))) => json.unwrap_or_default(),
            _ => json!({"pipeline": entry.pipeline.name(), "model_id": entry.model, "gpu_info": null}),
        };
        let version = match timeout(VERSION_WAIT, self.get(&entry, "version")).await {
            Ok(Ok((200, None))) => return Err(self.crash("version")),
            Ok(Ok((200, Some(told)))) => {
                let same = told["pipeline"] == entry.pipeline.name() && told["model_id"] == entry.model.as_str();
                told["version"].as_str().filter(|_| same).unwrap_or_default().to_owned()
            }
            _ => "0.0.0".into(),
        };
        *self.runners.left.lock().entry((entry.pipeline, entry.model.clone())).or_default() += entry.capacity;
        self.runners.entries.lock().push(entry);
        Ok(ReadyRunner { status, version, hardware })
    }

    /// A job for an own runner. The file's name is its caller's.
    pub async fn run(&self, pipeline: Pipeline, model: &str, request: Value, file: Option<AiFile>) -> AiFate {
        let request = job::with_model(pipeline, model, request);
        let units = match units::charged(pipeline, &request, file.as_ref().map(|file| &file.body[..])) {
            Ok(units) => units,
            Err(words) => return self.failed(words),
        };
        let key = (pipeline, model.to_owned());
        let Some(entry) = self.reserve(&key) else {
            self.counters.no_worker.fetch_add(1, Relaxed);
            return AiFate::NoWorker;
        };
        self.counters.runner_jobs.fetch_add(1, Relaxed);
        let (kind, body) = form::body(pipeline, &request, file.as_ref());
        let streamed = pipeline == Pipeline::Llm && request["stream"] == true;
        let fate = match self.post(&entry, pipeline.name(), &kind, body).await {
            Err(error) => self.failed(error),
            Ok(response) if streamed => self.stream(response, units).await,
            Ok(response) => {
                let read = read(pipeline, response).await;
                self.judge(pipeline, read, units)
            }
        };
        if matches!(fate, AiFate::Panicked(_)) {
            // Nobody gives the slot back.
            self.counters.lost_slots.fetch_add(1, Relaxed);
        } else if let Some(left) = self.runners.left.lock().get_mut(&key) {
            *left += 1;
        }
        fate
    }

    /// Forgets the entries, so that others can take their place; what is left of capacity stays.
    pub fn forget_runners(&self) {
        self.runners.entries.lock().clear();
    }

    /// What is left of a model's capacity.
    pub fn capacity_left(&self, pipeline: Pipeline, model: &str) -> i64 {
        self.runners.left.lock().get(&(pipeline, model.to_owned())).copied().unwrap_or_default()
    }

    /// One of the entries for a model, at random.
    pub(super) fn entry(&self, pipeline: Pipeline, model: &str) -> Option<RunnerEntry> {
        let entries = self.runners.entries.lock();
        let fitting: Vec<_> = entries.iter().filter(|e| e.pipeline == pipeline && e.model == model).collect();
        let n = rand::random::<u32>() as usize % fitting.len().max(1);
        fitting.get(n).map(|entry| (*entry).clone())
    }

    fn reserve(&self, key: &(Pipeline, String)) -> Option<RunnerEntry> {
        let entry = self.entry(key.0, &key.1)?;
        let mut left = self.runners.left.lock();
        let left = left.get_mut(key).filter(|left| **left > 0)?;
        *left -= 1;
        Some(entry)
    }

    pub(super) async fn post(
        &self,
        entry: &RunnerEntry,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let request = Request::post(join(&entry.url, path)).header(header::CONTENT_TYPE, kind);
        self.client.send_verified(with_token(request, entry, full(body))?).await
    }

    /// The status, and the JSON of a 200 that says it is JSON.
    async fn get(&self, entry: &RunnerEntry, path: &str) -> Result<(u16, Option<Value>), String> {
        let request = with_token(Request::get(join(&entry.url, path)), entry, full(Bytes::new()))?;
        let response = self.client.send_verified(request).await?;
        let (status, json) = (response.status().as_u16(), is_json(&response));
        let body = whole(response.into_body(), MOST).await?;
        let json = (status == 200 && json).then(|| serde_json::from_slice(&body).map_err(|bad| bad.to_string()));
        Ok((status, json.transpose()?))
    }

    async fn stream(&self, response: Response<Incoming>, units: u64) -> AiFate {
        if response.status() != 200 {
            return self.failed(format!("unexpected status code: {}", response.status().as_u16()));
        }
        let (chunks, taken) = mpsc::channel(BUFFER);
        let until = Instant::now() + self.plan.stream;
        let reading = async move {
            let mut lines = stream::Lines::new(response.into_body());
            let mut bad = 0;
            while let Ok(Ok(Some(line))) = timeout_at(until, lines.next()).await {
                let data = line.strip_prefix("data: ").unwrap_or(&line);
                if data.is_empty() || data == "[DONE]" {
                    continue;
                }
                let Ok(json) = shapes::chunk(data.as_bytes()) else {
                    bad += 1;
                    continue;
                };
                if chunks.send(AiChunk { json, at: Instant::now() }).await.is_err() {
                    break;
                }
            }
            bad
        };
        // The gateway's request ends with the last chunk, and cuts the runner's answer off.
        let (bad, fate) = tokio::join!(reading, stream::take(self, taken, units));
        self.counters.bad_chunks.fetch_add(bad, Relaxed);
        fate
    }

    fn judge(&self, pipeline: Pipeline, read: Read, units: u64) -> AiFate {
        use Pipeline::{ImageToImage, ImageToVideo, TextToImage, TextToSpeech, Upscale};
        let (json, files) = match read {
            Read::Error(words) => return self.failed(words),
            Read::Nothing => match pipeline {
                TextToImage | ImageToImage | Upscale | TextToSpeech => return self.panicked("an empty answer"),
                ImageToVideo => return self.failed("image-to-video container returned no content".into()),
                _ => {
                    self.counters.null_answers.fetch_add(1, Relaxed);
                    (Value::Null, Vec::new())
                }
            },
            Read::Answer(json) => match self.save(pipeline, json) {
                Ok(saved) => saved,
                Err(words) => return self.failed(words),
            },
        };
        self.counters.delivered.fetch_add(1, Relaxed);
        self.counters.units.fetch_add(units, Relaxed);
        AiFate::Delivered { json, files, units }
    }

    /// All images of an answer are kept under one name: each url leads to the last.
    fn save(&self, pipeline: Pipeline, mut json: Value) -> Result<(Value, Vec<AiFile>), String> {
        let name = format!("{}.{}", random_id(), if pipeline == Pipeline::TextToSpeech { "wav" } else { "png" });
        let place = Value::from(self.url(&format!("/stream/{}/{name}", random_id())));
        let mut files = Vec::new();
        match pipeline {
            Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale => {
                for image in json["images"].as_array_mut().into_iter().flatten() {
                    let body = data_url::picture(image["url"].as_str().unwrap_or_default())?;
                    image["url"] = place.clone();
                    files.push(AiFile { name: name.clone(), body });
                }
                let last = files.last().map(|file| file.body.clone()).unwrap_or_default();
                files.iter_mut().for_each(|file| file.body = last.clone());
            }
            Pipeline::TextToSpeech => {
                let (_, body) = data_url::decode(json["audio"]["url"].as_str().unwrap_or_default())?;
                json["audio"]["url"] = place;
                files.push(AiFile { name, body });
            }
            Pipeline::ImageToVideo => {
                // The MP4 is not made here: the files are its frames.
                let batches = json["frames"].as_array().map(Vec::as_slice).unwrap_or_default();
                let [batch] = batches else {
                    let words = "unexpected number of image-to-video outputs expected=1 actual=";
                    return Err(format!("{words}{}", batches.len()));
                };
                for (n, frame) in batch.as_array().into_iter().flatten().enumerate() {
                    let body = data_url::picture(frame["url"].as_str().unwrap_or_default())?;
                    files.push(AiFile { name: format!("{n}.png"), body });
                }
                json = json!({"images": [{"url": place, "seed": batch[0]["seed"], "nsfw": batch[0]["nsfw"]}]});
            }
            _ => {}
        }
        Ok((json, files))
    }

    pub(super) fn failed(&self, words: String) -> AiFate {
        self.counters.error(&words);
        AiFate::Error(words)
    }

    pub(super) fn panicked(&self, why: &str) -> AiFate {
        self.counters.panicked(why);
        AiFate::Panicked(why.to_owned())
    }

    fn crash(&self, what: &str) -> String {
        let why = format!("nil pointer: /{what} answered 200 without JSON");
        self.counters.panicked(&why);
        why
    }
}

/// By status and Content-Type; what has no case is an empty success.
async fn read(pipeline: Pipeline, response: Response<Incoming>) -> Read {
    let (status, json) = (response.status().as_u16(), is_json(&response));
    let body = match whole(response.into_body(), MOST).await {
        Ok(body) => body,
        Err(error) => return Read::Error(error),
    };
    let known = match status {
        200 | 400 | 401 | 500 => true,
        413 => matches!(pipeline, Pipeline::AudioToText | Pipeline::ImageToText),
        415 => pipeline == Pipeline::AudioToText,
        422 => pipeline != Pipeline::Llm,
        _ => false,
    };
    if !json || !known {
        return Read::Nothing;
    }
    if status == 200 {
        return shapes::runner(pipeline, &body).map_or_else(Read::Error, Read::Answer);
    }
    let name = match pipeline {
        Pipeline::SegmentAnything2 => "segment anything 2",
        Pipeline::Llm => "LLM",
        other => other.name(),
    };
    let detail = match serde_json::from_slice::<Value>(&body) {
        Ok(mut json) if json.is_object() => json["detail"].take(),
        Ok(Value::Null) => Value::Null,
        Ok(_) => return Read::Error("json: cannot unmarshal into Go value".into()),
        Err(bad) => return Read::Error(bad.to_string()),
    };
    let wrong = || Read::Error("json: cannot unmarshal into Go struct field .detail".into());
    let msg = detail["msg"].as_str().unwrap_or_default();
    Read::Error(match status {
        422 if !(detail.is_array() || detail.is_null()) => return wrong(),
        422 => format!("{name} container returned 422: {}", json!({"detail": detail})),
        _ if !(detail.is_object() || detail.is_null()) => return wrong(),
        _ if !(detail["msg"].is_string() || detail["msg"].is_null()) => return wrong(),
        413 => format!("{name} container returned 413: file too large; max file size is 50MB"),
        _ => format!("{name} container returned {status}: {msg}"),
    })
}

fn is_json(response: &Response<Incoming>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.contains("json"))
}

/// Paths are joined below the URL.
fn join(url: &str, path: &str) -> String {
    format!("{}/{path}", url.trim_end_matches('/'))
}

fn with_token(request: http::request::Builder, entry: &RunnerEntry, body: Body) -> Result<Request<Body>, String> {
    let request = request.header(header::USER_AGENT, "Go-http-client/1.1");
    let request = match &entry.token {
        Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    };
    request.body(body).map_err(|bad| bad.to_string())
}
