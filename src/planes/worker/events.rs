//! A language model's answer as it is made: each chunk passed on at once, and an end in any case.
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::upload::Pace;
use super::{Plane, ai_result, reply, upload};
use crate::domain::outcome::Failure;
use crate::pool::Unclaimable;
use crate::pool::ai::{AiClaim, AiFeed};
use crate::transport::Body;
use crate::wire::ai::{ChunkFixer, Fixed, Line, SseReader};

/// A stock worker whose runner never says `finish_reason` keeps its POST open for ever.
const IDLE: Duration = Duration::from_secs(60);
/// Before the first chunk, when a model may still be loaded.
const FIRST_CHUNK: Duration = Duration::from_secs(180);
/// The count of tokens may come behind the last chunk, which is held back for it so long.
const COUNT_WAIT: Duration = Duration::from_millis(250);
/// Bytes of one streamed answer.
const MOST_STREAM: u64 = 64 << 20;
/// What is still read behind the last chunk.
const MOST_REST: u64 = 64 << 10;

/// Where a stream stands. Its first chunk turns the claim into a feed: until then the job may
/// still go elsewhere.
enum Way {
    Claimed(AiClaim),
    Feeding(AiFeed),
}

/// Why a stream did not come to its end.
enum Cut {
    /// Nobody wants it any more.
    Gone,
    Failed(StatusCode, Failure),
}

struct Events<'a> {
    body: &'a mut Incoming,
    reader: SseReader,
    fixer: ChunkFixer,
    gone: CancellationToken,
    until: Instant,
    bytes: u64,
    way: Option<Way>,
}

pub(super) async fn stream(
    plane: &Plane,
    claim: AiClaim,
    body: &mut Incoming,
    pace: Pace,
) -> Result<Response<Body>, Response<Body>> {
    let help = plane.config.help_url.as_deref();
    let mut events = Events {
        body,
        reader: SseReader::new(),
        fixer: ChunkFixer::new(),
        gone: claim.gone(),
        until: pace.until,
        bytes: 0,
        way: Some(Way::Claimed(claim)),
    };
    let end = events.run().await;
    let usage = events.fixer.usage().map(ai_result::usage);
    match (end, events.way.take()) {
        (Ok(()), Some(Way::Feeding(feed))) => {
            let response = ai_result::settled(plane, async move { feed.end(usage).await }).await;
            // A stock worker closes the body now; cut off, it would log an error.
            upload::throw_away(events.body, MOST_REST).await;
            Ok(response)
        }
        (Ok(()), way) => {
            Err(failed(way, Failure::BadUpload("an empty stream".into()), StatusCode::BAD_REQUEST, help).await)
        }
        (Err(Cut::Gone), way) => {
            let given_up = Failure::Pool("nobody waits for the answer any more".into());
            failed(way, given_up, StatusCode::GONE, help).await;
            Err(reply::unclaimable(Unclaimable::Ended, help))
        }
        (Err(Cut::Failed(status, failure)), way) => Err(failed(way, failure, status, help).await),
    }
}

async fn failed(way: Option<Way>, failure: Failure, status: StatusCode, help: Option<&str>) -> Response<Body> {
    let why = failure.to_string();
    match way {
        Some(Way::Claimed(claim)) => claim.failed(failure),
        Some(Way::Feeding(feed)) => feed.failed(failure).await,
        None => {}
    }
    reply::text(status, reply::sentence(&why, help))
}

// === impl Events ===

impl Events<'_> {
    /// Passes chunks on until the last one is out.
    async fn run(&mut self) -> Result<(), Cut> {
        while let Some(bytes) = self.bytes().await? {
            self.bytes += bytes.len() as u64;
            if self.bytes > MOST_STREAM {
                let why = format!("the stream is longer than {MOST_STREAM} bytes");
                return Err(Cut::Failed(StatusCode::PAYLOAD_TOO_LARGE, Failure::BadUpload(why)));
            }
            self.reader.feed(&bytes);
            loop {
                let too_long = |fault: crate::wire::ai::LineTooLong| Failure::BadUpload(fault.to_string());
                let line = self.reader.next().map_err(|f| Cut::Failed(StatusCode::PAYLOAD_TOO_LARGE, too_long(f)))?;
                let Some(line) = line else { break };
                if self.line(line).await? {
                    return Ok(());
                }
            }
        }
        // The last line needs no line end.
        if let Ok(Some(line)) = std::mem::take(&mut self.reader).finish()
            && self.line(line).await?
        {
            return Ok(());
        }
        self.finish().await
    }

    /// The next bytes; None at the body's end, or when the last chunk has waited long enough.
    async fn bytes(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            let now = Instant::now();
            let holding = self.fixer.is_holding();
            let by = self.until.min(now + self.patience());
            let frame = tokio::select! {
                frame = tokio::time::timeout_at(by, self.body.frame()) => frame,
                () = self.gone.cancelled() => return Err(Cut::Gone),
            };
            match frame {
                Err(_) if holding => return Ok(None),
                Err(_) => return Err(Cut::Failed(StatusCode::REQUEST_TIMEOUT, Failure::Timeout)),
                Ok(None) => return Ok(None),
                Ok(Some(Err(_))) if holding => return Ok(None),
                Ok(Some(Err(_))) => return Err(Cut::Failed(StatusCode::REQUEST_TIMEOUT, Failure::Disconnected)),
                // Trailers mean nothing here.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    Err(_) => continue,
                },
            }
        }
    }

    fn patience(&self) -> Duration {
        match &self.way {
            _ if self.fixer.is_holding() => COUNT_WAIT,
            Some(Way::Feeding(_)) => IDLE,
            _ => FIRST_CHUNK,
        }
    }

    /// Whether it was the last.
    async fn line(&mut self, line: Line) -> Result<bool, Cut> {
        let fixed = match line {
            Line::Data(json) => self.fixer.push(json),
            // Stock programs skip both; the body's end is what counts.
            Line::Done | Line::Skipped(_) => return Ok(false),
        };
        match fixed {
            Fixed::Send(chunk) => self.chunk(chunk).await.map(|()| false),
            Fixed::Last(chunk) => self.chunk(chunk).await.map(|()| true),
            Fixed::Nothing | Fixed::Bad(_) => Ok(false),
        }
    }

    async fn finish(&mut self) -> Result<(), Cut> {
        match self.fixer.finish() {
            Some(chunk) => self.chunk(chunk).await,
            None => Ok(()),
        }
    }

    async fn chunk(&mut self, chunk: Bytes) -> Result<(), Cut> {
        if let Some(Way::Claimed(_)) = &self.way
            && let Some(Way::Claimed(claim)) = self.way.take()
        {
            self.way = Some(Way::Feeding(claim.stream().ok_or(Cut::Gone)?));
        }
        let Some(Way::Feeding(feed)) = &mut self.way else { return Err(Cut::Gone) };
        match tokio::time::timeout_at(self.until, feed.chunk(chunk)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Cut::Gone),
            Err(_) => {
                let why = Failure::Pool("the answer was not read in time".into());
                Err(Cut::Failed(StatusCode::REQUEST_TIMEOUT, why))
            }
        }
    }
}
