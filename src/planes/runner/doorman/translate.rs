//! From the runner API to a worker's job and back: forms taken apart, answers put together.
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Shared, pipeline as of_pipeline, refusal};
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::outcome::Failure;
use crate::planes::runner::answer::{Answer, AnswerBody};
use crate::planes::runner::body::Spool;
use crate::planes::runner::door::Decision;
use crate::pool::ai::{AiAnswer, AiInput, AiRequest, AiResult, AiStream, AiTicket, Measure, Roads};
use crate::pool::{Recorded, Upstream};
use crate::telemetry;
use crate::wire::ai::{
    self, BadRequest, Base64Feed, FileMeasure, FormEvent, FormReader, ImageSize, MOST_IMAGE_HEAD, Piece,
};
use crate::wire::headers::{EVENT_STREAM, JSON_TYPE};

/// Chunks of an answer that wait for a slow reader.
const CHUNKS: usize = 16;
/// Bytes read of a spooled form at once.
const READ: usize = 256 << 10;
/// Fields of a form.
const MOST_FIELDS: usize = 64;

/// A form that was read to its end.
struct Form {
    fields: Vec<(String, String)>,
    name: String,
    head: Vec<u8>,
}

/// A form that was spooled: its model is in it, or a worker must have its file.
pub(super) async fn admit_form(
    shared: &Arc<Shared>,
    prefix: &str,
    pipeline: Pipeline,
    head: &Parts,
    spool: Spool,
) -> Decision {
    if pipeline == Pipeline::ImageToVideo {
        let why = "the pool has several models: point a URL with the prefix /m/image-to-video/<model> at it";
        return refusal::bad_request(&BadRequest::new(pipeline, "model_id", why));
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    // The job is let in when its model is known, which stands behind the file: room is taken first.
    let mut room = shared.pool.ai_spool();
    let read = take_apart(&kind, spool, &mut room, shared.config.limits.most_form_bytes).await;
    let (form, body) = match (read, room.finish().await) {
        (Ok(form), Ok(body)) => (form, body),
        (Err(why), _) => return refusal::bad_request(&BadRequest::new(pipeline, "body", &why)),
        (_, Err(why)) => return refusal::failure(pipeline, &Failure::Pool(why.to_string())),
    };
    let input = AiInput { name: form.name.clone(), body };
    match request(prefix, pipeline, &form, &input).await {
        Ok((key, json, units)) => work(shared, key, json, input, units).await,
        Err(bad) => refusal::bad_request(&bad),
    }
}

async fn work(shared: &Arc<Shared>, key: ModelKey, json: Bytes, file: AiInput, units: u64) -> Decision {
    let pipeline = key.pipeline;
    let mut ticket = match of_pipeline::submit(shared, key.clone(), false, Roads::ALL) {
        Ok(ticket) => ticket,
        Err(failure) => return refusal::failure(pipeline, &failure),
    };
    ticket.measured(Measure { units, effort: pipeline.effort(units) });
    let request = Arc::new(AiRequest { key, json, file: Some(file), stream: false });
    let answered = ticket.work(request).await;
    answer(shared, pipeline, ticket, answered)
}

/// The model, the JSON and the units of a form.
async fn request(
    prefix: &str,
    pipeline: Pipeline,
    form: &Form,
    file: &AiInput,
) -> Result<(ModelKey, Bytes, u64), BadRequest> {
    let json = ai::form_to_request(pipeline, &form.fields)?;
    let facts = ai::check_request(pipeline, &json)?;
    let key = of_pipeline::model(prefix, pipeline, &facts)?;
    let measured = match pipeline {
        Pipeline::AudioToText => audio(file).await.map(|ms| FileMeasure::Audio { ms }),
        _ => match ai::image_size(&form.head) {
            ImageSize::Size(width, height) => Some(FileMeasure::Image { width, height }),
            ImageSize::More | ImageSize::NotAnImage => None,
        },
    };
    let units = facts.measure.units(pipeline, measured)?;
    Ok((key, json, units))
}

/// Length of a recording, found on a thread that may take its time.
async fn audio(file: &AiInput) -> Option<u64> {
    let (copy, length) = (copied(file).await.ok()?, file.len());
    tokio::task::spawn_blocking(move || ai::audio_ms_of(copy, length).ok()).await.ok()?
}

/// A copy that one can seek in; what the shelf keeps is read in chunks only.
async fn copied(file: &AiInput) -> std::io::Result<std::fs::File> {
    let mut copy = tokio::fs::File::from_std(tempfile::tempfile()?);
    let mut index = 0;
    while let Some(chunk) = file.body.chunk(index).await {
        copy.write_all(&chunk?).await?;
        index += 1;
    }
    copy.flush().await?;
    copy.rewind().await?;
    Ok(copy.into_std().await)
}

/// Reads the form from its file; the picture or recording goes onto the shelf.
async fn take_apart(kind: &str, spool: Spool, room: &mut crate::pool::Spool, most: u64) -> Result<Form, String> {
    let mut reader = FormReader::new(kind, most).map_err(|bad| bad.to_string())?;
    let mut form = Form { fields: Vec::new(), name: String::new(), head: Vec::new() };
    let mut file = Some(rewound(spool)?);
    loop {
        let (back, chunk) = read(file.take()).await?;
        file = Some(back);
        let Some(chunk) = chunk else { break };
        reader.feed(chunk);
        while let Some(event) = reader.next().map_err(|bad| bad.to_string())? {
            match event {
                FormEvent::Field { name, value } if form.fields.len() < MOST_FIELDS => form.fields.push((name, value)),
                FormEvent::Field { .. } => return Err(format!("more than {MOST_FIELDS} fields")),
                FormEvent::FileStart { file_name, .. } => form.name = file_name,
                FormEvent::FileData(data) => {
                    let left = MOST_IMAGE_HEAD - form.head.len().min(MOST_IMAGE_HEAD);
                    form.head.extend_from_slice(&data[..data.len().min(left)]);
                    room.push(data).await.map_err(|why| why.to_string())?;
                }
                FormEvent::FileEnd | FormEvent::End => {}
            }
        }
    }
    reader.finish().map_err(|bad| bad.to_string())?;
    Ok(form)
}

fn rewound(spool: Spool) -> Result<std::fs::File, String> {
    use std::io::Seek;
    let mut file = spool.file;
    file.rewind().map_err(|why| why.to_string())?;
    Ok(file)
}

async fn read(file: Option<std::fs::File>) -> Result<(std::fs::File, Option<Bytes>), String> {
    let mut file = file.ok_or("no file")?;
    let work = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; READ];
        let read = file.read(&mut chunk)?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((file, (read > 0).then(|| Bytes::from(chunk))))
    });
    work.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
}

/// The answer in the runner API's shape; the ticket is closed when it is out.
pub(super) fn answer(shared: &Arc<Shared>, pipeline: Pipeline, ticket: AiTicket, answer: AiAnswer) -> Decision {
    match answer {
        AiAnswer::Error(failure) => refusal::failure(pipeline, &failure),
        AiAnswer::Gone => Decision::Close,
        AiAnswer::Whole(result, recorded) => whole(shared, pipeline, ticket, result, recorded),
        AiAnswer::Stream(stream) => streamed(shared, ticket, stream),
    }
}

fn whole(shared: &Shared, pipeline: Pipeline, ticket: AiTicket, result: Arc<AiResult>, recorded: Recorded) -> Decision {
    let length_of = |name: &str| result.files.iter().find(|file| file.name == name).map(|file| file.body.len());
    let plan = match ai::plan_runner_answer(pipeline, &result.json, length_of) {
        Ok(plan) => plan,
        Err(why) => return refusal::failure(pipeline, &Failure::Refused(why)),
    };
    let (to, body) = mpsc::channel(CHUNKS);
    let (pieces, length) = (plan.pieces, plan.length);
    shared.tasks.spawn("runner answer", async move {
        let sent = send_pieces(&to, pieces, &result, recorded).await;
        let upstream = match sent {
            Ok(()) => Upstream::Accepted,
            Err(why) => Upstream::Unsure(why),
        };
        drop(to);
        ticket.close(&upstream);
    });
    let headers =
        vec![(CONTENT_TYPE, HeaderValue::from_static(JSON_TYPE)), (CONTENT_LENGTH, HeaderValue::from(length))];
    Decision::Answer(Answer { status: StatusCode::OK, headers, body: AnswerBody::Stream(body) })
}

type Out = mpsc::Sender<Result<Bytes, String>>;

/// The last piece waits until the ledger has the job.
async fn send_pieces(to: &Out, pieces: Vec<Piece>, result: &AiResult, recorded: Recorded) -> Result<(), String> {
    let left = || "the orchestrator hung up".to_owned();
    let last = pieces.len().saturating_sub(1);
    for (index, piece) in pieces.into_iter().enumerate() {
        if index == last {
            if let Err(down) = recorded.clone().wait().await {
                let _ = to.send(Err(down.clone())).await;
                return Err(down);
            }
        }
        match piece {
            Piece::Text(text) => to.send(Ok(text)).await.map_err(|_| left())?,
            Piece::File(name) => {
                let Some(file) = result.files.iter().find(|file| file.name == name) else { continue };
                let mut feed = Base64Feed::default();
                let mut chunk_number = 0;
                while let Some(chunk) = file.body.chunk(chunk_number).await {
                    let chunk = chunk.map_err(|why| why.to_string())?;
                    to.send(Ok(feed.feed(&chunk))).await.map_err(|_| left())?;
                    chunk_number += 1;
                }
                to.send(Ok(feed.end())).await.map_err(|_| left())?;
            }
        }
    }
    Ok(())
}

fn streamed(shared: &Shared, ticket: AiTicket, mut stream: AiStream) -> Decision {
    let (to, body) = mpsc::channel(CHUNKS);
    shared.tasks.spawn("runner stream", async move {
        let upstream = loop {
            match stream.next().await {
                Some(Ok(chunk)) => {
                    if to.send(Ok(ai::sse_event(&chunk))).await.is_err() {
                        break Upstream::Unsent("the orchestrator hung up".into());
                    }
                }
                Some(Err(failure)) => {
                    telemetry::fault("runner stream", &failure);
                    let _ = to.send(Err(failure.to_string())).await;
                    break Upstream::Unsent(failure.to_string());
                }
                None => {
                    // A stock orchestrator hangs up as soon as it has the last chunk.
                    let _ = to.send(Ok(Bytes::from_static(ai::SSE_DONE))).await;
                    break Upstream::Accepted;
                }
            }
        };
        drop(to);
        ticket.close(&upstream);
    });
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM))];
    Decision::Answer(Answer { status: StatusCode::OK, headers, body: AnswerBody::Stream(body) })
}
