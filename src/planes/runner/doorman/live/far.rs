//! The short questions that we ask an orchestrator's trickle server ourselves.
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::timeout;

use super::Live;
use super::job::{Channel, Job, Role};
use crate::transport::client::Speak;
use crate::transport::client::h1::H1;

pub(super) const LATEST: &str = "lp-trickle-latest";
pub(super) const SEQ: &str = "lp-trickle-seq";
pub(super) const CLOSED: &str = "lp-trickle-closed";

/// How a job stands at its orchestrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Lives,
    Over,
    Unreachable,
}

/// One question.
const WITHIN: Duration = Duration::from_secs(2);
/// Until an orchestrator is taken for gone.
const ASKED: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(750);

// === impl Live ===

impl Live {
    /// Whether the video of the job still comes.
    pub(super) async fn input(&self, job: &Job) -> Input {
        let Some(channel) = job.channel(Role::Subscribe) else { return Input::Over };
        for turn in 0..ASKED {
            if turn > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            // Before 0.9.0 there is no `next`: a channel that is there answers 400.
            match self.ask(channel, Method::GET, "/next").await {
                Some((StatusCode::NOT_FOUND, _)) => return Input::Over,
                Some((_, headers)) if headers.contains_key(CLOSED) => return Input::Over,
                Some(_) => return Input::Lives,
                None => {}
            }
        }
        Input::Unreachable
    }

    /// Readies the channels for the next writer: segments that broke off end, so that nobody waits
    /// for their rest, and it is known where to go on.
    pub(super) async fn hand_over(&self, job: &Job, broken: &[(Role, i64)]) {
        for role in [Role::Publish, Role::Events] {
            let Some(channel) = job.channel(role) else { continue };
            let last = job.next(role) - 1;
            let of_role =
                broken.iter().filter(|(of, number)| *of == role && *number != last).map(|(_, number)| *number);
            for number in of_role.chain([last]).filter(|number| *number >= 0) {
                self.ask(channel, Method::DELETE, &format!("/{number}")).await;
            }
            let told = self.ask(channel, Method::GET, "/next").await;
            if let Some(latest) = told.and_then(|(_, headers)| number(&headers, LATEST)) {
                job.wrote(role, latest.saturating_sub(1));
            }
        }
    }

    /// Ends the job at its orchestrator, whose gateway then looks for another.
    pub(super) async fn close(&self, job: &Job) {
        for channel in Role::ALL.into_iter().filter_map(|role| job.channel(role)) {
            if self.ask(channel, Method::DELETE, "").await.is_none() {
                return;
            }
        }
    }

    async fn ask(&self, channel: &Channel, method: Method, rest: &str) -> Option<(StatusCode, HeaderMap)> {
        let exchange = async {
            let dialled = self.inner.dialer.dial(&channel.origin, Speak::H1).await.ok()?;
            let mut conn = H1::new(dialled).await.ok()?;
            let request = Request::builder().method(method).uri(format!("{}{rest}", channel.path));
            let request = request.header(HOST, channel.origin.authority());
            let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
            let answer = conn.send(request.body(body).ok()?).await.ok()?;
            Some((answer.status(), answer.headers().clone()))
        };
        timeout(WITHIN, exchange).await.ok()?
    }
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}
