//! Header names and fixed texts of the transcoding protocol.
use http::{HeaderMap, HeaderName};

use crate::domain::ids::TaskId;

/// Paths on the service port.
pub const RESULTS_PATH: &str = "/transcodeResults";
pub const REGISTER_PATH: &str = "/net.Transcoder/RegisterTranscoder";

/// `Authorization` of a transcoder's result.
pub const TRANSCODER_AUTHORIZATION: &str = "Livepeer-Transcoder-1.0";

pub const CREDENTIALS: HeaderName = HeaderName::from_static("credentials");
pub const TASK_ID: HeaderName = HeaderName::from_static("taskid");
pub const PIXELS: HeaderName = HeaderName::from_static("pixels");

pub const MULTIPART_TYPE: &str = "multipart/mixed";
pub const ERROR_TYPE: &str = "livepeer/transcoding-error";
pub const MPEGTS_TYPE: &str = "video/mp2t";
pub const MP4_TYPE: &str = "video/mp4";
/// A perceptual hash; it has no `Pixels`.
pub const HASH_TYPE: &str = "application/octet-stream";

/// The two status messages that end a stock worker for good.
pub const INVALID_SECRET: &str = "invalid secret";
pub const ZERO_CAPACITY: &str = "zero capacity";

/// A worker's word that it is full.
pub const BUSY: &str = "TranscoderBusy";
/// A transcoder's answer to a segment that asks for more than it has.
pub const INCOMPATIBLE: &str = "incompatible segment capabilities";

/// The AI road: paths on the service port, and what a worker's result carries.
pub const AI_RESULTS_PATH: &str = "/aiResults";
pub const AI_REGISTER_PATH: &str = "/net.AIWorker/RegisterAIWorker";
pub const AI_WORKER_AUTHORIZATION: &str = "Livepeer-AI-Worker-1.0";
/// The answer is decoded by it.
pub const PIPELINE: HeaderName = HeaderName::from_static("pipeline");
/// The fork's workers say whom to pay, checksummed.
pub const POOL_ETHEREUM_ADDRESS: HeaderName = HeaderName::from_static("poolethereumaddress");
pub const AI_ERROR_TYPE: &str = "livepeer/ai-worker-error";
pub const EVENT_STREAM: &str = "text/event-stream";
pub const FORM_TYPE: &str = "multipart/form-data";
pub const JSON_TYPE: &str = "application/json";
pub const PNG_TYPE: &str = "image/png";
pub const WAV_TYPE: &str = "audio/wav";
/// What files of a form come as, whatever they are.
pub const OCTETS_TYPE: &str = "application/octet-stream";
/// An AI worker's word that it is full.
pub const AI_BUSY: &str = "no workers can process job requested";
/// The fork's answer to an AI registration without an address.
pub const AI_NO_ADDRESS: &str = "ETH Address is required to connect";

/// Why a header's number cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("no {0} header")]
    Missing(&'static str),
    #[error("more than one {0} header")]
    Repeated(&'static str),
    #[error("{0} is not a decimal number")]
    NotANumber(&'static str),
    #[error("{0} is negative")]
    Negative(&'static str),
    #[error("{0} is too large")]
    TooLarge(&'static str),
}

/// The `TaskId` of a result.
pub fn task_id(headers: &HeaderMap) -> Result<TaskId, BadHeader> {
    const NAME: &str = "TaskId";
    let number = number(only(headers, &TASK_ID, NAME)?, NAME)?;
    i64::try_from(number).map(TaskId).map_err(|_| BadHeader::TooLarge(NAME))
}

/// The `Pixels` of a result or of one of its parts.
pub fn pixels(headers: &HeaderMap) -> Result<u64, BadHeader> {
    const NAME: &str = "Pixels";
    let number = number(only(headers, &PIXELS, NAME)?, NAME)?;
    // go-livepeer reads it signed.
    if number > i64::MAX as u64 { Err(BadHeader::TooLarge(NAME)) } else { Ok(number) }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName, shown: &'static str) -> Result<&'a [u8], BadHeader> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or(BadHeader::Missing(shown))?;
    if values.next().is_some() { Err(BadHeader::Repeated(shown)) } else { Ok(value.as_bytes()) }
}

/// A decimal number without sign, spaces or anything else.
pub(super) fn number(text: &[u8], name: &'static str) -> Result<u64, BadHeader> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadHeader::NotANumber(name));
    }
    if negative {
        return Err(BadHeader::Negative(name));
    }
    let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add).ok_or(BadHeader::TooLarge(name))
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
