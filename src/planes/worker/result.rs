//! Results: who sends what for which task, checked in the order of a stock orchestrator.
#![expect(clippy::result_large_err, reason = "the error is the answer itself, moved once")]
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::upload::{Broken, Pace};
use super::{Plane, reply, upload};
use crate::domain::ids::TaskId;
use crate::pool::{Claim, Knock, TranscodeResult, Unclaimable, Worker};
use crate::transport::{Body, ConnectionInfo};
use crate::wire::headers::{self, BadHeader, CREDENTIALS, ERROR_TYPE, MULTIPART_TYPE, TRANSCODER_AUTHORIZATION};
use crate::wire::multipart::boundary_from_content_type;

/// A stock error text is a line.
pub(super) const MOST_ERROR: u64 = 64 << 10;
/// All parts of a result together.
pub(super) const MOST_RESULT: u64 = 1 << 30;
/// What is still read of a body that was refused, so that clients which send to the end before
/// they look at the answer find one.
const MOST_UNREAD: u64 = 1 << 20;
const MOST_UNREAD_STRANGER: u64 = 64 << 10;

/// What a result's Content-Type says it is.
enum Kind {
    Error,
    Renditions { boundary: String },
}

pub(super) async fn result(plane: &Plane, info: &ConnectionInfo, request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    match taken(plane, info, &head.headers, &mut body).await {
        Ok(response) => response,
        Err(refusal) => refused(info, &mut body, refusal).await,
    }
}

/// The answer to a body that was not read to its end.
pub(super) async fn refused(info: &ConnectionInfo, body: &mut Incoming, refusal: Response<Body>) -> Response<Body> {
    let most = if info.is_authenticated() { MOST_UNREAD } else { MOST_UNREAD_STRANGER };
    upload::throw_away(body, most).await;
    refusal
}

async fn taken(
    plane: &Plane,
    info: &ConnectionInfo,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Response<Body>, Response<Body>> {
    let help = plane.config.help_url.as_deref();
    let worker = authorize(plane, info, headers, TRANSCODER_AUTHORIZATION)?;
    let claim = || claimed(headers, help, |task| plane.pool.claim(&worker, task));
    let kind = match kind(headers) {
        Ok(kind) => kind,
        Err(why) => {
            // A stock orchestrator throws such a result away and the task times out: here it
            // goes elsewhere at once.
            if let Ok(claim) = claim() {
                claim.broken(&why);
            }
            return Err(reply::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, reply::sentence(&why, help)));
        }
    };
    let claim = claim()?;
    let pace = Pace::new(plane, claim.answer_by());
    let boundary = match kind {
        Kind::Error => return error_text(claim, body, pace, help).await,
        Kind::Renditions { boundary } => boundary,
    };
    let Ok(decoded_pixels) = headers::pixels(headers) else {
        claim.broken("the Pixels header is missing or no number");
        return Err(reply::text(StatusCode::BAD_REQUEST, "Invalid Pixels"));
    };
    if length(headers).is_some_and(|length| length > MOST_RESULT) {
        return Err(fail(claim, Broken::too_long("the result is larger than 1 GiB"), help));
    }
    match upload::parts(body, &boundary, MOST_RESULT, &claim, pace).await {
        Ok(parts) => Ok(judge(plane, claim, TranscodeResult { decoded_pixels, parts }).await),
        Err(broken) => Err(fail(claim, broken, help)),
    }
}

/// The claim to the task that the headers name.
pub(super) fn claimed<C>(
    headers: &HeaderMap,
    help: Option<&str>,
    claim: impl FnOnce(TaskId) -> Result<C, Unclaimable>,
) -> Result<C, Response<Body>> {
    match headers::task_id(headers) {
        Ok(task) => claim(task).map_err(|why| reply::unclaimable(why, help)),
        // Numbers, but none that was ever given out.
        Err(BadHeader::Negative(_) | BadHeader::TooLarge(_)) => Err(reply::unclaimable(Unclaimable::Unknown, help)),
        Err(_) => Err(reply::text(StatusCode::BAD_REQUEST, "Invalid Task ID")),
    }
}

/// Who posts it. The fork's `PoolEthereumAddress` is not looked at: a worker is paid where its
/// registration says.
pub(super) fn authorize(
    plane: &Plane,
    info: &ConnectionInfo,
    headers: &HeaderMap,
    authorization: &str,
) -> Result<Worker, Response<Body>> {
    let value = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let unauthorized = || reply::text(StatusCode::UNAUTHORIZED, "Unauthorized");
    if value(AUTHORIZATION) != Some(authorization) {
        return Err(unauthorized());
    }
    let secret = value(CREDENTIALS).ok_or_else(unauthorized)?;
    let knock = Knock { secret, named: None, peer: info.peer.ip() };
    let help = plane.config.help_url.as_deref();
    let worker = plane.pool.login(knock).map_err(|refusal| reply::unauthorized(&refusal, help))?;
    info.authenticated();
    Ok(worker)
}

fn kind(headers: &HeaderMap) -> Result<Kind, String> {
    let value = headers.get(CONTENT_TYPE).ok_or("There is no Content-Type.")?;
    let value = value.to_str().map_err(|_| "The Content-Type cannot be read.")?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(ERROR_TYPE) {
        return Ok(Kind::Error);
    }
    if !essence.eq_ignore_ascii_case(MULTIPART_TYPE) {
        return Err(format!("A result is {MULTIPART_TYPE} or {ERROR_TYPE}, not {essence:.60}."));
    }
    let boundary = boundary_from_content_type(value).map_err(|error| error.to_string())?;
    Ok(Kind::Renditions { boundary })
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn error_text(
    claim: Claim,
    body: &mut Incoming,
    pace: Pace,
    help: Option<&str>,
) -> Result<Response<Body>, Response<Body>> {
    match upload::whole(body, MOST_ERROR, pace).await {
        Ok(bytes) => {
            let verdict = claim.error(&String::from_utf8_lossy(&bytes));
            Ok(reply::verdict(&verdict, help))
        }
        Err(broken) => Err(fail(claim, broken, help)),
    }
}

fn fail(claim: Claim, broken: Broken, help: Option<&str>) -> Response<Body> {
    claim.broken(&broken.why);
    reply::text(broken.status, reply::sentence(&broken.why, help))
}

/// As a task of its own: a worker that hangs up after its last byte has still done the work.
async fn judge(plane: &Plane, claim: Claim, result: TranscodeResult) -> Response<Body> {
    let help = plane.config.help_url.as_deref();
    let (tell, told) = oneshot::channel();
    plane.tasks.spawn("verdict", async move {
        // Nobody waits any more when the worker is gone.
        let _ = tell.send(claim.result(result).await);
    });
    match told.await {
        Ok(verdict) => reply::verdict(&verdict, help),
        Err(_) => reply::text(StatusCode::SERVICE_UNAVAILABLE, "a fault of ours; the result was not taken"),
    }
}
