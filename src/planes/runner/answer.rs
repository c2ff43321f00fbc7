//! Answers of our own, in shapes that their readers survive.
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::sync::mpsc;

use super::route::Manner;
use crate::domain::ai::Pipeline;

pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: AnswerBody,
}

pub enum AnswerBody {
    Full(Bytes),
    /// Sent as it comes. An error, here or a dropped sender's lack of one is the end; an error cuts
    /// the connection, so that nobody takes a half for a whole. The receiver is dropped when the
    /// client leaves.
    Stream(mpsc::Receiver<Result<Bytes, String>>),
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

// === impl Answer ===

impl Answer {
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
        Answer { status, headers: vec![(CONTENT_TYPE, JSON)], body: AnswerBody::Full(body.into()) }
    }

    /// `{"detail":{"msg":...}}`, with a status that the reader survives.
    pub fn fault(manner: Manner, status: StatusCode, msg: &str) -> Answer {
        let status = match manner {
            Manner::Runner(pipeline) => survived(pipeline, status),
            Manner::Plain => status,
        };
        Answer::json(status, serde_json::json!({ "detail": { "msg": msg } }).to_string())
    }

    /// Whether the connection ends with it.
    pub(super) fn closes(&self) -> bool {
        self.headers.iter().any(|(name, value)| *name == CONNECTION && value == "close")
    }

    pub(super) async fn write(self, session: &mut Session) -> Result<()> {
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 2))?;
        // Pingora writes `Connection` itself.
        for (name, value) in self.headers.into_iter().filter(|(name, _)| name != CONNECTION) {
            head.append_header(name, value)?;
        }
        match self.body {
            AnswerBody::Full(body) => {
                head.insert_header(CONTENT_LENGTH, body.len())?;
                session.write_response_header(Box::new(head), body.is_empty()).await?;
                if !body.is_empty() {
                    session.write_response_body(Some(body), true).await?;
                }
                Ok(())
            }
            AnswerBody::Stream(chunks) => {
                if !head.headers.contains_key(CONTENT_LENGTH) {
                    head.insert_header(http::header::TRANSFER_ENCODING, "chunked")?;
                }
                session.write_response_header(Box::new(head), false).await?;
                stream(session, chunks).await
            }
        }
    }
}

async fn stream(session: &mut Session, mut chunks: mpsc::Receiver<Result<Bytes, String>>) -> Result<()> {
    loop {
        let next = tokio::select! {
            next = chunks.recv() => next,
            gone = gone(session.as_downstream_mut()) => return Err(gone),
        };
        match next {
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => session.write_response_body(Some(chunk), false).await?,
            Some(Err(why)) => return Error::e_explain(ErrorType::InternalError, why),
            None => return session.write_response_body(None, true).await,
        }
    }
}

/// Ends when the client has left. For requests whose body was read.
pub(super) async fn gone(session: &mut ServerSession) -> Box<Error> {
    match session.read_body_or_idle(true).await {
        Err(why) => why.into_down(),
        Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
    }
}

/// The statuses that an orchestrator's client of this pipeline reads as an error; all else becomes 500.
pub(super) fn is_survived(pipeline: Pipeline, status: StatusCode) -> bool {
    match status.as_u16() {
        200 | 400 | 401 | 500 => true,
        413 => matches!(pipeline, Pipeline::AudioToText | Pipeline::ImageToText),
        415 => pipeline == Pipeline::AudioToText,
        // Its `detail` is a list; only a runner says that.
        422 => pipeline != Pipeline::Llm,
        _ => false,
    }
}

fn survived(pipeline: Pipeline, status: StatusCode) -> StatusCode {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status if is_survived(pipeline, status) => status,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
