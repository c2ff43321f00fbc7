//! A worker's trickle requests: let through to the orchestrator's channel, and to no other.
use std::sync::Arc;

use http::header::CONNECTION;
use http::{HeaderValue, Method, StatusCode};

use super::Live;
use super::guard::{TrickleGuard, What};
use super::hand::Hand;
use super::job::{Channel, Role};
use crate::planes::runner::answer::Answer;
use crate::planes::runner::door::{Decision, Forward, Passing};
use crate::planes::runner::route::Manner;

/// What a request wants of a channel.
enum Want {
    Forward(What),
    /// The worker stops; whether the video stops, too, is not for it to say.
    Leave,
    Refuse,
}

// === impl Live ===

impl Live {
    /// `rest`: `<name>`, `<name>/<number>`, `<name>/next`.
    pub(in super::super) fn trickle(&self, method: &Method, rest: &str) -> Decision {
        let (name, number) = rest.split_once('/').unwrap_or((rest, ""));
        let found = name.split_once('-').and_then(|(name, end)| Some((self.hand(name)?, Role::of_end(end)?)));
        let Some((hand, role)) = found.filter(|(hand, _)| !hand.job.ended.is_cancelled()) else {
            return refuse(StatusCode::NOT_FOUND, "no such channel here");
        };
        let Some(channel) = hand.job.channel(role) else {
            return refuse(StatusCode::NOT_FOUND, "this video has no such channel");
        };
        match want(method, number, role, &hand) {
            Want::Forward(what) => self.forward(&hand, role, channel, what, number),
            Want::Leave => {
                hand.leave();
                Decision::Answer(Answer::json(StatusCode::OK, "{}"))
            }
            Want::Refuse => refuse(StatusCode::METHOD_NOT_ALLOWED, "this channel is not for that"),
        }
    }

    fn forward(&self, hand: &Arc<Hand>, role: Role, channel: &Channel, what: What, rest: &str) -> Decision {
        let Some(entered) = hand.enter(self.inner.limits.open) else {
            return refuse(StatusCode::TOO_MANY_REQUESTS, "this video has too many requests open");
        };
        let path = match what.number() {
            Some(number) => format!("{}/{number}", channel.path),
            None if rest.is_empty() => channel.path.clone(),
            None => format!("{}/{rest}", channel.path),
        };
        let reset = matches!(what, What::Write(_)) && hand.resets(role);
        Decision::Forward(Forward {
            upstream: channel.upstream.clone(),
            path: Some(path),
            token: None,
            passing: Passing::Trickle { reset },
            body: None,
            silence: None,
            guard: Box::new(TrickleGuard::new(entered, role, what)),
        })
    }
}

fn want(method: &Method, rest: &str, role: Role, hand: &Hand) -> Want {
    let number = rest.parse::<i64>().ok();
    // Its own numbers become the orchestrator's; -1 and -2 mean the same to both.
    let theirs = number.map(|number| if number < 0 { number } else { number.saturating_add(hand.offset(role)) });
    let forward = |what| Want::Forward(what);
    match (method, role.writes()) {
        (&Method::GET, _) if rest == "next" => forward(What::Next),
        (&Method::GET, false) => theirs.map_or(Want::Refuse, |number| forward(What::Read(number))),
        (&Method::POST, true) if rest.is_empty() => forward(What::Other(None)),
        (&Method::POST, true) => theirs.map_or(Want::Refuse, |number| forward(What::Write(number))),
        (&Method::DELETE, true) if rest.is_empty() => Want::Leave,
        (&Method::DELETE, true) => theirs.map_or(Want::Refuse, |number| forward(What::Other(Some(number)))),
        _ => Want::Refuse,
    }
}

/// A body may be on its way that nobody will read.
fn refuse(status: StatusCode, why: &str) -> Decision {
    let mut answer = Answer::fault(Manner::Plain, status, why);
    answer.headers.push((CONNECTION, HeaderValue::from_static("close")));
    Decision::Answer(answer)
}
