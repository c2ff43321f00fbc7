//! A runner's stream of chunks, passed on as they come and kept within the rules.
use std::time::Duration;

use hyper::body::Incoming;
use tokio::time::timeout;

use super::call::usage;
use crate::domain::outcome::Failure;
use crate::pool::ai::{AiClaim, AiFeed};
use crate::transport::client::h1::H1;
use crate::wire::ai::{ChunkFixer, Fixed, Line, SseReader};

/// An answer whose last chunk is there waits so long for its count of tokens.
const COUNT: Duration = Duration::from_millis(250);

/// Reads the stream to its end; every chunk goes on at once.
pub(super) async fn pass(conn: &mut H1, body: &mut Incoming, claim: AiClaim, silence: Duration) {
    let mut lines = SseReader::new();
    let mut fixer = ChunkFixer::new();
    let mut claim = Some(claim);
    let mut feed: Option<AiFeed> = None;
    let ended = loop {
        let patience = if fixer.is_holding() { COUNT } else { silence };
        let chunk = match timeout(patience, conn.next(body)).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(why))) => break Err(Failure::BadUpload(format!("the runner's stream broke off: {why}"))),
            Ok(None) => break Ok(()),
            Err(_) if fixer.is_holding() => break Ok(()),
            Err(_) => break Err(Failure::Timeout),
        };
        lines.feed(&chunk);
        match drain(&mut lines, &mut fixer, &mut claim, &mut feed).await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    finish(ended, &mut fixer, claim, feed).await;
}

/// All lines that are whole; false when the answer is over, or nobody reads it.
async fn drain(
    lines: &mut SseReader,
    fixer: &mut ChunkFixer,
    claim: &mut Option<AiClaim>,
    feed: &mut Option<AiFeed>,
) -> Result<bool, Failure> {
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(true),
            Err(_) => return Err(Failure::Refused("a line of the stream is longer than 64 KiB".into())),
        };
        let fixed = match line {
            Line::Data(json) => fixer.push(json),
            Line::Done => return Ok(false),
            Line::Skipped(_) => Fixed::Nothing,
        };
        let (chunk, last) = match fixed {
            Fixed::Send(chunk) => (chunk, false),
            Fixed::Last(chunk) => (chunk, true),
            Fixed::Nothing | Fixed::Bad(_) => continue,
        };
        if let Some(claim) = claim.take() {
            *feed = claim.stream();
        }
        let Some(feed) = feed else { return Ok(false) };
        if !feed.chunk(chunk).await || last {
            return Ok(false);
        }
    }
}

async fn finish(ended: Result<(), Failure>, fixer: &mut ChunkFixer, claim: Option<AiClaim>, feed: Option<AiFeed>) {
    let (claim, mut feed) = match (ended, claim, feed) {
        (Err(failure), Some(claim), _) => return claim.failed(failure),
        (Err(failure), None, Some(feed)) => return feed.failed(failure).await,
        (Err(_), None, None) | (Ok(()), None, None) => return,
        (Ok(()), claim, feed) => (claim, feed),
    };
    let last = fixer.finish();
    if let Some(claim) = claim {
        match last {
            // A single chunk, held until now.
            Some(_) => feed = claim.stream(),
            None => return claim.refused("the stream has no chunk with a choice"),
        }
    }
    let Some(mut feed) = feed else { return };
    if let Some(last) = last
        && !feed.chunk(last).await
    {
        return;
    }
    feed.end(fixer.usage().map(usage)).await;
}
