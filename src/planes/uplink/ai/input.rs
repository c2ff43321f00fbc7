//! A job's request made ready: its file fetched, its units measured.
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure;
use crate::planes::uplink::Uplink;
use crate::pool::Stored;
use crate::pool::ai::{AiInput, AiRequest, AiTicket, Measure};
use crate::wire::ai::{BadRequest, FileMeasure, ImageSize, JobData, audio_ms_of, image_size};

/// Fetches and measures; the error is the job's answer.
pub(super) async fn prepare(uplink: &Uplink, ticket: &mut AiTicket, data: JobData) -> Result<Arc<AiRequest>, Failure> {
    let job = ticket.job().clone();
    let pipeline = job.key.pipeline;
    let mut file = None;
    let mut measured = None;
    if let Some(field) = pipeline.file_field() {
        let (body, head) = uplink.fetch_input(&data.input_url, job.answer_by, ticket.spool()).await?;
        measured = look_at(uplink, pipeline, &body, &head).await?;
        file = Some(AiInput { name: field.to_owned(), body });
    }
    let units = data.measure.units(pipeline, measured).map_err(|bad| callers(&bad))?;
    ticket.measured(Measure { units, effort: pipeline.effort(units) });
    Ok(Arc::new(AiRequest { key: job.key.clone(), json: data.request, file, stream: data.stream }))
}

fn callers(bad: &BadRequest) -> Failure {
    Failure::InputError(bad.worker_text())
}

/// What a file is charged by; None: it is not what it must be.
async fn look_at(
    uplink: &Uplink,
    pipeline: Pipeline,
    body: &Stored,
    head: &Bytes,
) -> Result<Option<FileMeasure>, Failure> {
    if pipeline != Pipeline::AudioToText {
        return Ok(match image_size(head) {
            ImageSize::Size(width, height) => Some(FileMeasure::Image { width, height }),
            ImageSize::More | ImageSize::NotAnImage => None,
        });
    }
    let ours = |why: String| Failure::Pool(why);
    let _place = uplink.recordings.acquire().await.map_err(|_| ours("closing".into()))?;
    let whole = copied(body).await.map_err(|why| ours(format!("temporary file: {why}")))?;
    let length = body.len();
    // It reads the whole file and computes.
    let measured = tokio::task::spawn_blocking(move || audio_ms_of(whole, length)).await;
    let measured = measured.map_err(|_| ours("a recording could not be measured".into()))?;
    Ok(measured.ok().map(|ms| FileMeasure::Audio { ms }))
}

/// A copy that one can seek in; what the shelf keeps is read in chunks only.
async fn copied(body: &Stored) -> io::Result<std::fs::File> {
    let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
    let mut index = 0;
    while let Some(chunk) = body.chunk(index).await {
        file.write_all(&chunk?).await?;
        index += 1;
    }
    file.flush().await?;
    file.rewind().await?;
    Ok(file.into_std().await)
}
