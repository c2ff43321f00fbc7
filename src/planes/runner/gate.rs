//! Before a request is forwarded: who asks, how much, and what the doorman says.
use http::header::{AUTHORIZATION, EXPECT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use pingora_error::{Error, Result};
use pingora_proxy::Session;
use subtle::ConstantTimeEq;

use super::answer::{self, Answer};
use super::body::{self, Prelude, Spool, Unread};
use super::door::{Ask, Decision, Forward, Need, is_form};
use super::passage::Passage;
use super::proxy::RunnerProxy;
use super::route::Route;

/// What the request filter came to.
pub(super) enum Gate {
    Forward(Forward),
    Answer(Answer),
    Close,
}

// === impl RunnerProxy ===

impl RunnerProxy {
    /// Reads what must be read and asks the doorman.
    pub(super) async fn gate(&self, session: &mut Session, ctx: &mut Passage) -> Result<Gate> {
        let head: Parts = session.req_header().as_owned_parts();
        let route = Route::of(&head.method, head.uri.path());
        ctx.manner = route.manner();
        let fault = |status, why: &str| Ok(Gate::Answer(Answer::fault(route.manner(), status, why)));
        if head.headers.len() > self.config.limits.head_fields {
            return fault(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
        }
        if route.needs_token() && !self.known(&head.headers) {
            // An orchestrator drops a capability that answers 401.
            let byoc = matches!(route, Route::Byoc { .. });
            let status = if byoc { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
            return fault(status, "missing or wrong bearer token");
        }
        if head.headers.contains_key(EXPECT) {
            session.write_continue_response().await.map_err(Error::into_down)?;
        }
        let body = match self.prelude(session, &route, &head, ctx).await {
            Ok(body) => body,
            Err(Unread::Tell(status, why)) => return fault(status, &why),
            Err(Unread::Gone(why)) => return Err(why),
        };
        let spool = match &body {
            Prelude::Spooled(spool) => Some(spool.again()),
            _ => None,
        };
        let client = session.client_addr().and_then(|address| address.as_inet()).copied();
        let decided = self.doorman.admit(Ask { route, head: &head, body, client });
        let decision = match session.is_body_done() {
            true => tokio::select! {
                decision = decided => decision,
                gone = answer::gone(session.as_downstream_mut()) => return Err(gone),
            },
            // Reading would take the body away; whoever has left is noticed while it streams.
            false => decided.await,
        };
        match decision {
            Decision::Forward(forward) => match self.load(spool, ctx).await {
                Err(Unread::Tell(status, why)) => fault(status, &why),
                _ => Ok(Gate::Forward(forward)),
            },
            Decision::Answer(answer) => Ok(Gate::Answer(answer)),
            Decision::Close => Ok(Gate::Close),
        }
    }

    async fn prelude(
        &self,
        session: &mut Session,
        route: &Route<'_>,
        head: &Parts,
        ctx: &mut Passage,
    ) -> Result<Prelude, Unread> {
        let limits = &self.config.limits;
        let patient = matches!(route, Route::App { .. } | Route::Trickle { .. });
        session.set_read_timeout(Some(if patient { limits.silence } else { limits.body_gap }));
        let need = self.doorman.need(route, head);
        ctx.most = match route {
            Route::Pipeline { .. } => limits.most_form_bytes,
            _ => limits.most_body_bytes,
        };
        let most = if is_form(head) { limits.most_form_in_memory } else { limits.most_json_bytes };
        match need {
            Need::Whole => {
                let (whole, held) = body::whole(session, most, &self.room).await?;
                (ctx.whole, ctx.held) = (Some(whole.clone()), Some(held));
                Ok(Prelude::Whole(whole))
            }
            Need::Spool => body::spool(session, limits.most_form_bytes).await.map(Prelude::Spooled),
            Need::Nothing => match body::length(session) {
                Some(length) if length > ctx.most => Err(body::too_long(ctx.most)),
                _ => Ok(Prelude::Streams),
            },
        }
    }

    /// A spooled body that shall be sent on after all.
    async fn load(&self, spool: Option<Result<Spool, Unread>>, ctx: &mut Passage) -> Result<(), Unread> {
        let Some(spool) = spool else { return Ok(()) };
        let (whole, held) = spool?.load(self.config.limits.most_form_in_memory, &self.room).await?;
        (ctx.whole, ctx.held) = (Some(whole), Some(held));
        Ok(())
    }

    fn known(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.config.token else { return true };
        let shown = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let shown = shown.strip_prefix(b"Bearer ").unwrap_or_default();
        shown.ct_eq(token.as_bytes()).into()
    }
}
