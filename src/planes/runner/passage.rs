//! One request's way through the port: what Pingora's callbacks leave for one another.
use bytes::Bytes;
use pingora_error::{Error, ErrorSource, ErrorType};

use super::answer::Answer;
use super::body::Held;
use super::door::{Decision, End, Failure, FailureKind, Forward};
use super::route::Manner;

/// Connections that the runner had closed while they lay in our pool, before we blame it.
const STALE: u32 = 2;

pub(super) struct Passage {
    pub manner: Manner,
    pub forward: Option<Forward>,
    /// All of the request's body, when it was read before the decision.
    pub whole: Option<Bytes>,
    /// Its room in memory.
    pub held: Option<Held>,
    /// The most bytes of a streamed body.
    pub most: u64,
    /// Bytes of it so far, in this attempt.
    pub streamed: u64,
    /// Why the last attempt failed; the guard has not been asked yet.
    pub failure: Option<Failure>,
    /// What to tell the client instead of a runner's answer.
    pub answer: Option<Answer>,
    /// Close without a word.
    pub close: bool,
    /// A runner's answer goes down.
    pub begun: bool,
    pub tries: u32,
    pub stale: u32,
}

// === impl Passage ===

impl Passage {
    pub fn new() -> Passage {
        Passage {
            manner: Manner::Plain,
            forward: None,
            whole: None,
            held: None,
            most: u64::MAX,
            streamed: 0,
            failure: None,
            answer: None,
            close: false,
            begun: false,
            tries: 0,
            stale: 0,
        }
    }

    /// The body to send in place of what Pingora kept.
    pub fn whole_body(&self) -> Option<&Bytes> {
        let whole = self.whole.as_ref()?;
        Some(self.forward.as_ref().and_then(|forward| forward.body.as_ref()).unwrap_or(whole))
    }

    /// Notes that an attempt failed. Whether to try again at once.
    pub fn attempt_failed(&mut self, error: &Error, reused: bool, can_send_again: bool, tries: u32) -> bool {
        if self.begun || *error.esource() == ErrorSource::Downstream {
            return false;
        }
        let told = self.failure.take();
        if reused && told.is_none() && is_stale(error) && can_send_again && self.stale < STALE {
            self.stale += 1;
            return true;
        }
        self.tries += 1;
        let again = can_send_again && self.tries < tries;
        let why = told.unwrap_or_else(|| failure(error));
        self.failure = Some(Failure { again, ..why });
        again
    }

    /// Asks the guard of the failed attempt what now. Whether there is another runner to ask.
    pub async fn next(&mut self, why: Failure) -> bool {
        let Some(forward) = self.forward.take() else { return false };
        let again = why.again;
        match forward.guard.failed(why).await {
            Decision::Forward(forward) if again => {
                self.forward = Some(forward);
                self.streamed = 0;
                return true;
            }
            // Dropping it tells its guard.
            Decision::Forward(_) => {}
            Decision::Answer(answer) => self.answer = Some(answer),
            Decision::Close => self.close = true,
        }
        false
    }

    /// The last word to the guard.
    pub fn end(&mut self, error: Option<&Error>) {
        let Some(forward) = self.forward.take() else { return };
        let end = match error {
            None if self.begun => End::Whole,
            None => End::Cut("no answer".into()),
            Some(error) if *error.esource() == ErrorSource::Downstream => End::ClientLeft,
            Some(error) => End::Cut(text(error)),
        };
        forward.guard.finished(end);
    }
}

fn is_stale(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}

fn failure(error: &Error) -> Failure {
    let kind = match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => FailureKind::Silent,
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::SocketError => FailureKind::Connect,
        _ => FailureKind::Broken,
    };
    Failure { kind, text: text(error), again: false }
}

/// What Pingora says, without its chain of places.
fn text(error: &Error) -> String {
    let mut text = error.etype().as_str().to_owned();
    if let Some(context) = &error.context {
        text = format!("{text}: {}", context.as_str());
    }
    text
}
