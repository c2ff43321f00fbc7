//! The verbs: login, join, submit, lease, settle, view.
pub mod api;
pub mod clock;

pub use crate::policy::rules::{JobLimits, JoinRules, RetryRules, RouteRules, Rules};
pub use api::*;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::domain::ids::{ConnId, Epoch, OrchestratorName, SessionKey, TaskId};
use crate::domain::job::Job;
use crate::domain::outcome::Failure;
use crate::domain::time::Moment;
use crate::domain::work::Profile;
use clock::Clock;

/// Where tickets, leases and receipts meet. Cheap to clone.
#[derive(Clone)]
pub struct Pool {}

/// A worker on its seat: orders come here. Dropping it leaves the pool; what it still holds goes
/// elsewhere, unless it was told to go (`Order::Goodbye`), when running jobs may still be answered.
pub struct Seated {
    pub conn: ConnId,
    orders: mpsc::Receiver<Order>,
}

/// The right to answer one task, once. Dropping it counts as a broken upload.
pub struct Claim {}

/// A job that was let in. Dropping it before `close` voids it.
pub struct Ticket {}

impl Pool {
    pub fn clock(&self) -> Clock {
        unimplemented!()
    }
    pub fn rules(&self) -> Arc<Rules> {
        unimplemented!()
    }
    /// Who is at the door. Counts failures by address; the same call proves results and registrations.
    pub fn login(&self, knock: Knock<'_>) -> Result<Worker, Refusal> {
        let _ = knock;
        unimplemented!()
    }
    /// Takes a seat.
    pub fn join(&self, worker: &Worker, join: Join) -> Result<Seated, Refusal> {
        let _ = (worker, join);
        unimplemented!()
    }
    /// The source behind a lease's secret address; None for anything but a live lease within its
    /// number of downloads.
    pub fn source(&self, key: &str) -> Option<SourceReader> {
        let _ = key;
        unimplemented!()
    }
    /// The right to answer `task`.
    pub fn claim(&self, worker: &Worker, task: TaskId) -> Result<Claim, Unclaimable> {
        let _ = (worker, task);
        unimplemented!()
    }
    /// Lets a job in: limits, storage health, deadline.
    pub fn submit(&self, job: NewJob) -> Result<Ticket, Failure> {
        let _ = job;
        unimplemented!()
    }
    /// The orchestrator ended a session: told to the worker that holds it.
    pub fn end_session(&self, session: &SessionKey, message: Option<Bytes>) {
        let _ = (session, message);
    }
    /// Another process answers there now: jobs of other epochs are dropped.
    pub fn epoch(&self, orchestrator: &OrchestratorName, epoch: &Epoch) {
        let _ = (orchestrator, epoch);
    }
    /// What the pool offers upstream, as it changes.
    pub fn offer(&self) -> watch::Receiver<Offer> {
        unimplemented!()
    }
}

impl Seated {
    /// The next order; None when the pool is closing.
    pub async fn next(&mut self) -> Option<Order> {
        self.orders.recv().await
    }
    /// For streams.
    pub fn poll_next(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Order>> {
        self.orders.poll_recv(cx)
    }
}

impl Claim {
    pub fn profiles(&self) -> &[Profile] {
        unimplemented!()
    }
    /// The body must have arrived by then.
    pub fn answer_by(&self) -> Moment {
        unimplemented!()
    }
    /// Room for one part.
    pub fn spool(&self) -> Spool {
        unimplemented!()
    }
    /// The whole result arrived. Verified, recorded durably, handed to the job: then the verdict.
    pub async fn result(self, result: TranscodeResult) -> Verdict {
        let _ = result;
        unimplemented!()
    }
    /// An error result.
    pub fn error(self, text: &str) -> Verdict {
        let _ = text;
        unimplemented!()
    }
    /// The upload broke off or was not a result; the job goes elsewhere.
    pub fn broken(self, why: &str) {
        let _ = why;
    }
}

impl Ticket {
    pub fn job(&self) -> &Arc<Job> {
        unimplemented!()
    }
    /// Where the source goes; `end` it in any case.
    pub fn source(&self) -> SourceWriter {
        unimplemented!()
    }
    /// Works the job until it has an answer; returns at the latest at `job().answer_by`.
    pub async fn work(&mut self) -> Answer {
        unimplemented!()
    }
    /// The orchestrator's word on the answer: the books are closed.
    pub fn close(self, upstream: Upstream) {
        let _ = upstream;
    }
}
