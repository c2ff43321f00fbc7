//! Who gets an AI job: the first worker with capacity left for the model.
use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::sim::orchestrator::rules::Word;
use crate::wire::messages::pb;

/// A capability's number and a model.
pub(super) type Model = (u32, String);

pub(super) struct Worker {
    id: u64,
    /// Of its TCP connection.
    addr: SocketAddr,
    version: String,
    /// Capacity left.
    models: BTreeMap<Model, i64>,
    hardware: Vec<pb::HardwareInformation>,
    orders: mpsc::Sender<Word>,
}

/// A registration that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingWorker {
    pub addr: SocketAddr,
    pub version: String,
    /// Capability number, model, capacity left.
    pub models: Vec<(u32, String, i64)>,
    pub hardware: Vec<pb::HardwareInformation>,
}

#[derive(Default)]
pub(super) struct Registry {
    next: u64,
    standing: Vec<Worker>,
}

/// Where a job goes.
pub(super) struct Picked {
    pub(super) worker: u64,
    pub(super) addr: SocketAddr,
    pub(super) orders: mpsc::Sender<Word>,
}

// === impl Registry ===

impl Registry {
    pub(super) fn add(
        &mut self,
        addr: SocketAddr,
        asked: pb::RegisterAiWorkerRequest,
        orders: mpsc::Sender<Word>,
    ) -> u64 {
        self.next += 1;
        let capabilities = asked.capabilities.unwrap_or_default();
        let mut models = BTreeMap::new();
        for (bit, constraint) in capabilities.constraints.unwrap_or_default().per_capability {
            for (model, offer) in constraint.models {
                models.insert((bit, model), i64::from(offer.capacity));
            }
        }
        let (version, hardware) = (capabilities.version, asked.hardware);
        self.standing.push(Worker { id: self.next, addr, version, models, hardware, orders });
        self.next
    }

    /// Its stream ends when the last sender is gone. Whether it still stood.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        let before = self.standing.len();
        self.standing.retain(|worker| worker.id != id);
        self.standing.len() < before
    }

    pub(super) fn take_all(&mut self) -> Vec<mpsc::Sender<Word>> {
        self.standing.drain(..).map(|worker| worker.orders).collect()
    }

    pub(super) fn has(&self, model: &Model) -> bool {
        self.standing.iter().any(|worker| worker.models.get(model).is_some_and(|left| *left > 0))
    }

    /// First fit, in the order of registration.
    pub(super) fn pick(&mut self, model: &Model) -> Option<Picked> {
        self.standing.iter_mut().find_map(|worker| {
            let left = worker.models.get_mut(model).filter(|left| **left > 0)?;
            *left -= 1;
            Some(Picked { worker: worker.id, addr: worker.addr, orders: worker.orders.clone() })
        })
    }

    /// Goes to every registration from the same address and port.
    pub(super) fn give_back(&mut self, addr: SocketAddr, model: &Model) {
        for worker in self.standing.iter_mut().filter(|worker| worker.addr == addr) {
            if let Some(left) = worker.models.get_mut(model) {
                *left += 1;
            }
        }
    }

    pub(super) fn standing(&self) -> Vec<StandingWorker> {
        let models =
            |worker: &Worker| worker.models.iter().map(|((bit, name), left)| (*bit, name.clone(), *left)).collect();
        let standing = self.standing.iter().map(|worker| StandingWorker {
            addr: worker.addr,
            version: worker.version.clone(),
            models: models(worker),
            hardware: worker.hardware.clone(),
        });
        standing.collect()
    }
}
