//! The one place where refusals and verdicts become words that a stock worker prints.
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use tonic::Status;

use crate::pool::ai::AiVerdict;
use crate::pool::{Refusal, Unclaimable, Verdict};
use crate::transport::{Body, full};
use crate::wire::headers::{INVALID_SECRET, ZERO_CAPACITY};

/// The longest sentence that we send.
const LONGEST: usize = 200;

/// A plain answer.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn ok() -> Response<Body> {
    text(StatusCode::OK, "OK")
}

/// The same for everything that is not there.
pub(super) fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// For gRPC methods that we do not have.
pub(super) fn unimplemented() -> Response<Body> {
    grpc(Status::unimplemented("this pool has net.Transcoder/RegisterTranscoder and net.AIWorker/RegisterAIWorker"))
}

/// A status without a stream; never for a refusal, which stock orchestrators send in trailers.
pub(super) fn grpc(status: Status) -> Response<Body> {
    use http_body_util::BodyExt;
    status.into_http::<tonic::body::Body>().map(|body| body.map_err(Into::into).boxed_unsync())
}

/// A sentence fit to be printed: one line, no `%` (old workers take it for a format), not too
/// long, with where to get help at its end.
pub(super) fn sentence(text: &str, help: Option<&str>) -> String {
    let help = help.filter(|url| !url.contains('%')).map(|url| format!(" Help: {url}")).unwrap_or_default();
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '%' => plain.push_str(" percent"),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    let room = LONGEST.saturating_sub(help.len());
    if plain.len() > room {
        let mut end = room.saturating_sub(3);
        while !plain.is_char_boundary(end) {
            end -= 1;
        }
        plain.truncate(end);
        plain.push_str("...");
    }
    plain + &help
}

/// How a registration ends. The two fatal texts are exact, and nothing else may read like them.
pub(super) fn refusal(refusal: &Refusal, help: Option<&str>) -> Status {
    match refusal {
        Refusal::InvalidSecret => Status::unknown(INVALID_SECRET),
        Refusal::ZeroCapacity => Status::unknown(ZERO_CAPACITY),
        Refusal::TryLater(why) => Status::unavailable(not_fatal(why, help)),
        Refusal::TooMuch(why) => Status::resource_exhausted(not_fatal(why, help)),
    }
}

/// The stream ends, and the worker comes back.
pub(super) fn goodbye(why: &str, help: Option<&str>) -> Status {
    Status::unavailable(not_fatal(why, help))
}

fn not_fatal(why: &str, help: Option<&str>) -> String {
    match sentence(why, help) {
        text if text.trim() == INVALID_SECRET || text.trim() == ZERO_CAPACITY => format!("try again: {text}"),
        text => text,
    }
}

/// The credential of a result was not taken.
pub(super) fn unauthorized(refusal: &Refusal, help: Option<&str>) -> Response<Body> {
    match refusal {
        Refusal::InvalidSecret | Refusal::ZeroCapacity => text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Refusal::TryLater(why) => text(StatusCode::SERVICE_UNAVAILABLE, sentence(why, help)),
        Refusal::TooMuch(why) => text(StatusCode::TOO_MANY_REQUESTS, sentence(why, help)),
    }
}

pub(super) fn unclaimable(why: Unclaimable, help: Option<&str>) -> Response<Body> {
    let (status, why) = match why {
        Unclaimable::Unknown => (StatusCode::NOT_FOUND, "No such task: it was never given out, or long ago."),
        Unclaimable::NotYours => (StatusCode::FORBIDDEN, "This task was given to another worker."),
        Unclaimable::Ended => (
            StatusCode::GONE,
            "Too late: this task was answered by another worker or is over. If this is frequent, lower -maxSessions, \
             or the capacity of your models.",
        ),
        Unclaimable::Busy => (StatusCode::CONFLICT, "A result for this task is being read on another request."),
    };
    text(status, sentence(why, help))
}

pub(super) fn verdict(verdict: &Verdict, help: Option<&str>) -> Response<Body> {
    match verdict {
        Verdict::Accepted | Verdict::Noted | Verdict::Repeated => ok(),
        Verdict::Refused(why) => text(StatusCode::UNPROCESSABLE_ENTITY, sentence(why, help)),
        Verdict::Late => unclaimable(Unclaimable::Ended, help),
        Verdict::Conflict => text(
            StatusCode::CONFLICT,
            sentence("Another result for this task was taken before; this one is not.", help),
        ),
        Verdict::Storage(why) => text(StatusCode::SERVICE_UNAVAILABLE, sentence(why, help)),
    }
}

pub(super) fn ai_verdict(verdict: &AiVerdict, help: Option<&str>) -> Response<Body> {
    match verdict {
        AiVerdict::Accepted | AiVerdict::Noted => ok(),
        AiVerdict::Late => unclaimable(Unclaimable::Ended, help),
        AiVerdict::Storage(why) => text(StatusCode::SERVICE_UNAVAILABLE, sentence(why, help)),
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
