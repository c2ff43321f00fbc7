//! `POST /aiResults`: the checks in go-livepeer's order, decoding by the `Pipeline` header.
use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;

use super::counters::Counters;
use super::multipart::{parameter, parts};
use super::{Ai, AiChunk, error_answer, shapes, stream};
use crate::domain::ai::Pipeline;
use crate::sim::orchestrator::listen::{Body, header_text, text};

/// What a worker answered.
pub(super) enum Outcome {
    Result(Answer),
    Stream(mpsc::Receiver<AiChunk>),
    Error(String),
}

/// A multipart result as it was understood.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) json: Value,
    /// Read as images or audio: its urls are names of files.
    pub(super) typed: Option<Typed>,
    pub(super) files: HashMap<String, Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Images,
    Audio,
}

const AUTHORIZATION: &str = "Livepeer-AI-Worker-1.0";
const ERROR_TYPE: &str = "livepeer/ai-worker-error";
/// Limits of a result in memory, and of an error's text.
const MOST: usize = 512 << 20;
const MOST_TEXT: usize = 1 << 20;

pub(super) async fn answer(ai: &Arc<Ai>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let refuse = |status, words| {
        Counters::add(&ai.counters.refused_results);
        text(status, words)
    };
    let get = |name| header_text(&head.headers, name);
    if get("authorization") != AUTHORIZATION {
        return refuse(StatusCode::UNAUTHORIZED, "Unauthorized\n");
    }
    let stranger = get("credentials") != ai.secret;
    if stranger {
        Counters::add(&ai.counters.wrong_secret_results);
    }
    // The 401 is written, and the result used all the same.
    let status = |status| if stranger { StatusCode::UNAUTHORIZED } else { status };
    let Some(kind) = media_type(get("content-type")) else {
        return refuse(status(StatusCode::UNSUPPORTED_MEDIA_TYPE), "mime: no media type\n");
    };
    let Ok(task) = get("taskid").parse::<i64>() else {
        return refuse(status(StatusCode::BAD_REQUEST), "Invalid Task ID\n");
    };
    match kind.as_str() {
        ERROR_TYPE => {
            let words = match read(body, MOST_TEXT).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => error,
            };
            done(ai, task, Outcome::Error(words));
        }
        "text/event-stream" => {
            let (chunks, taken) = mpsc::channel(stream::BUFFER);
            done(ai, task, Outcome::Stream(taken));
            if let Err(broken) = stream::pass_on(ai, body, chunks).await {
                return error_answer(status(StatusCode::INTERNAL_SERVER_ERROR), &broken);
            }
        }
        "multipart/mixed" => {
            let boundary = parameter(get("content-type"), "boundary").unwrap_or_default();
            let outcome = match read(body, MOST).await {
                Ok(bytes) => parse(ai, &bytes, &boundary, get("pipeline")),
                Err(error) => Outcome::Error(error),
            };
            done(ai, task, outcome);
        }
        _ => Counters::add(&ai.counters.thrown_away),
    }
    text(status(StatusCode::OK), "OK")
}

/// A job that is no longer known gets its 200 all the same.
fn done(ai: &Ai, task: i64, outcome: Outcome) {
    let waiting = ai.pending.lock().remove(&task);
    if waiting.is_none_or(|waiting| waiting.send(outcome).is_err()) {
        Counters::add(&ai.counters.unknown_results);
    }
}

fn media_type(value: &str) -> Option<String> {
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let fine = kind.split('/').all(|half| !half.is_empty() && !half.contains(' '));
    (fine && kind.matches('/').count() < 2).then_some(kind)
}

/// The body, or the error that reading it ended with.
pub(super) async fn read(mut body: Incoming, most: usize) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default();
        if bytes.len() + data.len() > most {
            return Err("input bigger than max size".into());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// By the header's pipeline, not by the job's.
fn parse(ai: &Ai, body: &Bytes, boundary: &str, pipeline: &str) -> Outcome {
    let mut answer = Answer::default();
    let mut fault = None;
    let (parts, broken) = parts(body, boundary);
    for part in parts {
        if part.kind == "application/json" {
            match decode(Pipeline::from_name(pipeline), &part.body) {
                Ok((json, typed)) => (answer.json, answer.typed) = (json, typed),
                Err(error) => {
                    fault = Some(error);
                    (answer.json, answer.typed) = (Value::Null, None);
                }
            }
        } else if part.disposition {
            answer.files.insert(part.name, part.body);
        }
    }
    if let Some(words) = broken {
        Counters::add(&ai.counters.broken_multiparts);
        fault = Some(words.to_owned());
    }
    match fault {
        Some(words) => Outcome::Error(words),
        None => Outcome::Result(answer),
    }
}

fn decode(pipeline: Option<Pipeline>, body: &[u8]) -> Result<(Value, Option<Typed>), String> {
    match pipeline {
        Some(Pipeline::TextToImage | Pipeline::ImageToImage | Pipeline::Upscale | Pipeline::ImageToVideo) => {
            Ok((shapes::images(body)?, Some(Typed::Images)))
        }
        Some(Pipeline::TextToSpeech) => Ok((shapes::audio(body)?, Some(Typed::Audio))),
        Some(Pipeline::AudioToText | Pipeline::SegmentAnything2 | Pipeline::Llm | Pipeline::ImageToText) => {
            Ok((serde_json::from_slice(body).map_err(|bad| bad.to_string())?, None))
        }
        _ => Ok((Value::Null, None)),
    }
}
