//! Heads on their way up: what a runner may see of a request.
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderName, TRANSFER_ENCODING,
};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::door::{Forward, Passing};

/// A new writer on a channel (orchestrators from 0.9.0 on).
const RESET: &str = "lp-trickle-reset";
const TRICKLE: &str = "lp-trickle-";

const FEW: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_LENGTH, ACCEPT, TRANSFER_ENCODING];

pub(super) const STREAM_ID: &str = "x-stream-id";

/// Makes `head`, as Pingora has cleaned it, what goes to the runner.
pub(super) fn request(head: &mut RequestHeader, forward: &Forward, whole: Option<&Bytes>) -> Result<()> {
    match forward.passing {
        Passing::Few => keep(head, |name| FEW.contains(name)),
        Passing::Stream => keep(head, |name| FEW.contains(name) || name.as_str() == STREAM_ID),
        Passing::Trickle { reset } => {
            keep(head, |name| FEW.contains(name) || name.as_str().starts_with(TRICKLE));
            if reset {
                head.insert_header(RESET, "1")?;
            }
        }
        Passing::All => {
            head.remove_header(&AUTHORIZATION);
            head.remove_header(&EXPECT);
            head.remove_header(&FORWARDED);
        }
    }
    if let Some(path) = &forward.path {
        head.set_raw_path(path.as_bytes())?;
    }
    head.insert_header(HOST, forward.upstream.host.as_str())?;
    if let Some(token) = &forward.token {
        head.insert_header(AUTHORIZATION, format!("Bearer {token}"))?;
    }
    if let Some(whole) = whole {
        head.remove_header(&TRANSFER_ENCODING);
        head.insert_header(CONTENT_LENGTH, whole.len())?;
    }
    Ok(())
}

fn keep(head: &mut RequestHeader, stays: impl Fn(&HeaderName) -> bool) {
    let others: Vec<HeaderName> = head.headers.keys().filter(|name| !stays(name)).cloned().collect();
    for name in &others {
        head.remove_header(name);
    }
}
