//! Pingora's callbacks: asks the doorman, forwards, watches, tries again.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::{self, Answer};
use super::body::Room;
use super::config::RunnerConfig;
use super::door::{Doorman, Failure, FailureKind, Passing, Verdict};
use super::gate::Gate;
use super::passage::Passage;
use super::rewrite;
use super::route::Manner;
use super::wire::Wire;
use crate::domain::ai::Pipeline;

/// Of an answer that is no runner's.
const ANSWERED: ErrorType = ErrorType::Custom("answered");

pub(super) struct RunnerProxy {
    pub doorman: Arc<dyn Doorman>,
    pub config: Arc<RunnerConfig>,
    pub room: Room,
}

// === impl RunnerProxy ===

impl RunnerProxy {
    /// An answer of ours after a runner was tried: nothing of a body may be left to read.
    async fn instead(&self, session: &mut Session, error: &Error, ctx: &mut Passage) {
        if let Some(why) = ctx.failure.take() {
            let _ = ctx.next(Failure { again: false, ..why }).await;
        }
        if ctx.close {
            return;
        }
        let fallback = || {
            let (status, why) = match error.etype() {
                ErrorType::HTTPStatus(code) => {
                    let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_REQUEST);
                    (status, status.canonical_reason().unwrap_or("refused"))
                }
                _ if *error.esource() == ErrorSource::Downstream => (StatusCode::BAD_REQUEST, "a malformed request"),
                _ => (StatusCode::BAD_GATEWAY, "no runner could answer"),
            };
            Answer::fault(ctx.manner, status, why)
        };
        let answer = ctx.answer.take().unwrap_or_else(fallback);
        session.set_keepalive(None);
        // Whoever has left does not read it.
        let _ = answer.write(session).await;
    }
}

/// Why an orchestrator would not survive this head.
fn unsurvived(manner: Manner, head: &ResponseHeader) -> Option<String> {
    let Manner::Runner(pipeline) = manner else { return None };
    let status = head.status;
    if !answer::is_survived(pipeline, status) {
        return Some(format!("the runner answered {}", status.as_u16()));
    }
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let json = memchr::memmem::find(kind, b"json").is_some();
    let stream = pipeline == Pipeline::Llm && status == StatusCode::OK;
    if json || (stream && memchr::memmem::find(kind, b"event-stream").is_some()) {
        return None;
    }
    Some(format!("the runner answered {} without JSON", status.as_u16()))
}

#[async_trait]
impl ProxyHttp for RunnerProxy {
    type CTX = Passage;

    fn new_ctx(&self) -> Passage {
        Passage::new()
    }

    /// None: what passes is not touched.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut Passage) -> Result<()> {
        if let Some(wire) = session.stream().and_then(|stream| stream.as_any().downcast_ref::<Wire>()) {
            wire.head_is_read();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Passage) -> Result<bool> {
        match self.gate(session, ctx).await? {
            Gate::Forward(forward) => {
                session.set_ignore_info_resp(matches!(forward.passing, Passing::Few | Passing::Stream));
                ctx.forward = Some(forward);
                Ok(false)
            }
            Gate::Answer(answer) => {
                if answer.closes() {
                    session.set_keepalive(None);
                }
                answer.write(session).await.map_err(Error::into_down)?;
                Ok(true)
            }
            Gate::Close => {
                ctx.close = true;
                Err(Error::new_in(ANSWERED))
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Passage) -> Result<Box<HttpPeer>> {
        if let Some(why) = ctx.failure.take() {
            let next = match session.is_body_done() {
                true => tokio::select! {
                    next = ctx.next(why) => next,
                    gone = answer::gone(session.as_downstream_mut()) => return Err(gone),
                },
                false => ctx.next(why).await,
            };
            if !next {
                return Err(Error::new_in(ANSWERED));
            }
        }
        let forward = ctx.forward.as_ref().ok_or_else(|| Error::new_in(ErrorType::InternalError))?;
        let mut peer = Box::new(forward.upstream.peer.clone());
        peer.options.read_timeout = Some(forward.silence.unwrap_or(self.config.limits.silence));
        Ok(peer)
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Passage,
    ) -> Result<()> {
        let Some(pin) = ctx.forward.as_ref().and_then(|forward| forward.upstream.pin) else { return Ok(()) };
        let shown = digest.and_then(|digest| digest.ssl_digest.as_ref()).map(|tls| tls.cert_digest.as_slice());
        if shown == Some(&pin) {
            return Ok(());
        }
        let text = "the runner shows another certificate than the pinned one".to_owned();
        ctx.failure = Some(Failure { kind: FailureKind::Pin, text, again: false });
        Err(Error::new_up(ErrorType::InvalidCert))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Passage,
    ) -> Result<()> {
        let forward = ctx.forward.as_ref().ok_or_else(|| Error::new_in(ErrorType::InternalError))?;
        rewrite::request(head, forward, ctx.whole_body())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Passage,
    ) -> Result<()> {
        if end
            && !ctx.begun
            && let Some(whole) = ctx.whole_body()
        {
            // In place of the little that Pingora kept.
            *body = Some(whole.clone());
        }
        let bytes = body.as_ref().map_or(0, Bytes::len);
        ctx.streamed += bytes as u64;
        if ctx.streamed > ctx.most {
            return Err(Error::new_down(ErrorType::HTTPStatus(413)));
        }
        if let (Some(forward), Some(bytes)) = (&mut ctx.forward, body) {
            forward.guard.may_send().map_err(|why| Error::explain(ErrorType::InternalError, why).into_down())?;
            forward.guard.sent(bytes);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Passage,
    ) -> Result<()> {
        let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !switching {
            return Ok(());
        }
        let Some(forward) = &mut ctx.forward else { return Err(Error::new_in(ErrorType::InternalError)) };
        let refused = match forward.guard.answered(head.status, &head.headers) {
            Verdict::Refuse(why) => Some(why),
            Verdict::Pass => unsurvived(ctx.manner, head),
            Verdict::Rewrite => {
                head.remove_header(&CONTENT_LENGTH);
                unsurvived(ctx.manner, head)
            }
        };
        if let Some(text) = refused {
            ctx.failure = Some(Failure { kind: FailureKind::Answered(head.status), text, again: false });
            return Err(Error::new_up(ErrorType::Custom("an answer that cannot pass")));
        }
        for (name, value) in forward.guard.headers() {
            head.insert_header(name, value)?;
        }
        head.remove_header("keep-alive");
        if matches!(forward.passing, Passing::Trickle { .. }) && !session.is_body_done() {
            // A channel's answer comes at the end, or instead of the rest: nobody wants that any more.
            session.set_read_timeout(Some(self.config.limits.body_gap));
        }
        ctx.begun = true;
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Passage,
    ) -> Result<Option<Duration>> {
        if let Some(forward) = &mut ctx.forward {
            forward.guard.received(body, end).map_err(|why| Error::explain(ErrorType::InternalError, why))?;
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Passage,
        mut e: Box<Error>,
    ) -> Box<Error> {
        e.as_up();
        let can = ctx.whole.is_some() || !session.as_ref().retry_buffer_truncated();
        e.set_retry(ctx.attempt_failed(&e, false, can, self.config.limits.tries));
        e
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        ctx: &mut Passage,
        reused: bool,
    ) -> Box<Error> {
        let can = ctx.whole.is_some() || !session.as_ref().retry_buffer_truncated();
        e.set_retry(ctx.attempt_failed(&e, reused, can, self.config.limits.tries));
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Passage) -> FailToProxy {
        let dead = *e.esource() == ErrorSource::Downstream && !matches!(e.etype(), ErrorType::HTTPStatus(_));
        if !ctx.begun && !dead && !ctx.close {
            self.instead(session, e, ctx).await;
        }
        if ctx.begun
            && !dead
            && let Some(words) = ctx.forward.as_mut().and_then(|forward| forward.guard.last_words())
        {
            // Whoever has left does not read it.
            let _ = session.write_response_body(Some(words), true).await;
        }
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    async fn logging(&self, _session: &mut Session, e: Option<&Error>, ctx: &mut Passage) {
        ctx.end(e);
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Passage, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Passage,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
