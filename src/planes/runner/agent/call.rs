//! One job at a runner: the request in its API's shape, the answer back in the worker road's.
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Agent;
use super::streamed;
use crate::domain::ai::Pipeline;
use crate::domain::outcome::Failure;
use crate::pool::ai::{AiClaim, AiFile, AiRequest, AiResult, Usage};
use crate::transport::client::h1::{H1, OutBody};
use crate::wire::ai::{self, Blame, FormFile, FormWriter};
use crate::wire::headers::JSON_TYPE;

/// Works one job; ends early when nobody wants its answer any more.
pub(super) async fn run(agent: Arc<Agent>, claim: AiClaim, request: Arc<AiRequest>, gone: CancellationToken) {
    tokio::select! {
        // Dropping the connection is how a runner hears of it.
        () = gone.cancelled() => {}
        () = agent.work(claim, request) => {}
    }
}

// === impl Agent ===

impl Agent {
    async fn work(&self, claim: AiClaim, request: Arc<AiRequest>) {
        let pipeline = request.key.pipeline;
        let (mut conn, answer) = match self.ask(&request).await {
            Ok(asked) => asked,
            Err(failure) => return claim.failed(failure),
        };
        let status = answer.status();
        let mut body = answer.into_body();
        if status != StatusCode::OK {
            let text = timeout(self.care.silence, conn.text(&mut body, ai::MOST_ERROR_BODY)).await.unwrap_or_default();
            return claim.failed(failed(pipeline, status, text.as_bytes()));
        }
        if pipeline == Pipeline::Llm && request.stream {
            return streamed::pass(&mut conn, &mut body, claim, self.care.silence).await;
        }
        match self.whole(&mut conn, &mut body, pipeline, &claim).await {
            Ok(result) => {
                self.runner.idle.put(&self.runner.origin, conn);
                claim.whole(result).await;
            }
            Err(failure) => claim.failed(failure),
        }
    }

    /// Sends the request: over a kept connection first, and over a new one when that was closed.
    async fn ask(&self, request: &Arc<AiRequest>) -> Result<(H1, Response<Incoming>), Failure> {
        let broken = |why: String| Failure::WorkerError(format!("the runner could not be reached: {why}"));
        if let Some(mut conn) = self.runner.idle.take(&self.runner.origin)
            && let Ok(answer) = self.send(&mut conn, request).await?
        {
            return Ok((conn, answer));
        }
        let mut conn = self.fresh().await.map_err(broken)?;
        let answer = self.send(&mut conn, request).await?.map_err(|why| broken(why.to_string()))?;
        Ok((conn, answer))
    }

    async fn send(
        &self,
        conn: &mut H1,
        request: &Arc<AiRequest>,
    ) -> Result<Result<Response<Incoming>, hyper::Error>, Failure> {
        let bad = |why: String| Failure::Pool(format!("the request cannot be written for a runner: {why}"));
        let (kind, length, body) = body(request).map_err(bad)?;
        let path = self.runner.path(request.key.pipeline.name());
        let request = self
            .request(Request::post(path))
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_LENGTH, length)
            .body(body)
            .map_err(|why| bad(why.to_string()))?;
        timeout(self.care.silence, conn.send(request)).await.map_err(|_| Failure::Timeout)
    }

    /// Reads a JSON answer and puts its files on the shelf.
    async fn whole(
        &self,
        conn: &mut H1,
        body: &mut Incoming,
        pipeline: Pipeline,
        claim: &AiClaim,
    ) -> Result<AiResult, Failure> {
        let most = usize::try_from(self.care.most_answer).unwrap_or(usize::MAX);
        let mut json = Vec::new();
        loop {
            let chunk = timeout(self.care.silence, conn.next(body)).await.map_err(|_| Failure::Timeout)?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|why| Failure::BadUpload(format!("the runner's answer broke off: {why}")))?;
            if json.len() + chunk.len() > most {
                return Err(Failure::Refused(format!("the runner's answer is larger than {most} bytes")));
            }
            json.extend_from_slice(&chunk);
        }
        let json = Bytes::from(json);
        let name = || format!("{:08x}", rand::random::<u32>());
        let (json, decoded) = ai::runner_to_answer(pipeline, &json, name).map_err(Failure::Refused)?;
        let mut files = Vec::new();
        for file in decoded {
            let mut spool = claim.spool();
            let full = |why: crate::pool::ShelfFull| Failure::Pool(why.to_string());
            spool.push(file.bytes).await.map_err(full)?;
            let body = spool.finish().await.map_err(full)?;
            files.push(AiFile { name: file.name, content_type: file.content_type.into(), body });
        }
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let facts = ai::check_answer(pipeline, &json, &names).map_err(Failure::Refused)?;
        Ok(AiResult { json, files, usage: facts.usage.map(usage) })
    }
}

pub(super) fn usage(usage: ai::Usage) -> Usage {
    Usage { prompt: usage.prompt, made: usage.completion }
}

/// A runner's error, by whose fault it is.
fn failed(pipeline: Pipeline, status: StatusCode, body: &[u8]) -> Failure {
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        return Failure::Busy;
    }
    match ai::runner_error(pipeline, status.as_u16(), body) {
        (Blame::Caller, text) => Failure::InputError(text),
        (Blame::Worker, text) => Failure::WorkerError(text),
    }
}

/// Content type, length and body of the request in the runner API's shape.
fn body(request: &Arc<AiRequest>) -> Result<(String, u64, OutBody), String> {
    let pipeline = request.key.pipeline;
    let Some(field) = pipeline.file_field() else {
        let body = Full::new(request.json.clone()).map_err(|never| match never {}).boxed_unsync();
        return Ok((JSON_TYPE.into(), request.json.len() as u64, body));
    };
    let file = request.file.as_ref().ok_or("it brings no file")?;
    let fields = ai::request_to_form(pipeline, &request.json).map_err(|bad| bad.to_string())?;
    let file = FormFile { name: field, file_name: field, length: file.body.len() };
    let form = FormWriter::new(rand::random(), Some(file), &fields);
    let (kind, length) = (form.content_type(), form.content_length());
    let (head, tail) = (form.head(), form.tail());
    let owner = request.clone();
    let chunks = futures_util::stream::unfold(0usize, move |index| {
        let owner = owner.clone();
        async move {
            let chunk = owner.file.as_ref()?.body.chunk(index).await?;
            Some((chunk, index + 1))
        }
    });
    let once = |bytes: Bytes| futures_util::stream::once(std::future::ready(Ok(bytes)));
    let stream = once(head).chain(chunks).chain(once(tail)).map(|chunk| chunk.map(http_body::Frame::data));
    Ok((kind, length, StreamBody::new(stream).boxed_unsync()))
}
