//! Heads on their way up: what a runner may see of a request.
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderName, TRANSFER_ENCODING,
};
use pingora_error::Result;
use pingora_http::RequestHeader;

use super::door::{Forward, Passing};

const FEW: [HeaderName; 4] = [CONTENT_TYPE, CONTENT_LENGTH, ACCEPT, TRANSFER_ENCODING];

pub(super) const STREAM_ID: &str = "x-stream-id";

/// Makes `head`, as Pingora has cleaned it, what goes to the runner.
pub(super) fn request(head: &mut RequestHeader, forward: &Forward, whole: Option<&Bytes>) -> Result<()> {
    if forward.passing != Passing::All {
        let kept = |name: &HeaderName| {
            FEW.contains(name) || (forward.passing == Passing::Stream && name.as_str() == STREAM_ID)
        };
        let others: Vec<HeaderName> = head.headers.keys().filter(|name| !kept(name)).cloned().collect();
        for name in &others {
            head.remove_header(name);
        }
    } else {
        head.remove_header(&AUTHORIZATION);
        head.remove_header(&EXPECT);
        head.remove_header(&FORWARDED);
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
