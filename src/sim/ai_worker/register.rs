//! What an AI worker registers with.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::Rng;

use super::{Shared, job};
use crate::domain::capability::DEFAULT_BITS;
use crate::sim::tasks::Tasks;
use crate::sim::tls::Dialer;
use crate::sim::worker::register::{Peer, Registration};
use crate::wire::messages::pb;
use crate::wire::messages::pb::capabilities::{CapabilityConstraints, Constraints, capability_constraints};

const GIGABYTE: i64 = 1_000_000_000;

fn capabilities(shared: &Shared) -> pb::Capabilities {
    let mut bits = DEFAULT_BITS;
    let mut by_bit: HashMap<u32, CapabilityConstraints> = HashMap::new();
    for offer in &shared.plan.models {
        let Some(bit) = offer.key.pipeline.capability() else { continue };
        bits |= 1 << bit;
        let model = capability_constraints::ModelConstraint {
            warm: offer.warm,
            capacity: offer.capacity,
            runner_version: offer.version.clone(),
            // Never said by a worker.
            capacity_in_use: 0,
        };
        by_bit.entry(bit).or_default().models.insert(offer.key.model.to_string(), model);
    }
    pb::Capabilities {
        bitstring: vec![bits],
        mandatories: Vec::new(),
        capacities: (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| (bit, 1)).collect(),
        version: shared.plan.version.clone(),
        constraints: Some(Constraints { min_version: String::new(), per_capability: by_bit }),
    }
}

fn hardware(shared: &Shared) -> Vec<pb::HardwareInformation> {
    let gpu = pb::GpuComputeInfo {
        id: format!("GPU-{}", shared.plan.name),
        name: "Simulated".into(),
        major: 8,
        minor: 9,
        memory_free: 20 * GIGABYTE,
        memory_total: 24 * GIGABYTE,
    };
    let one = |offer: &crate::domain::ai::ModelOffer| pb::HardwareInformation {
        pipeline: offer.key.pipeline.name().to_owned(),
        model_id: offer.key.model.to_string(),
        gpu_info: [("0".to_owned(), gpu.clone())].into(),
    };
    shared.plan.models.iter().map(one).collect()
}

// === impl Shared ===

impl Peer for Shared {
    const PATH: &'static str = "/net.AIWorker/RegisterAIWorker";

    fn pool(&self) -> SocketAddr {
        self.pool
    }

    fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    fn backoff(&self) -> (Duration, Duration) {
        (self.plan.first_backoff, self.plan.longest_backoff)
    }

    fn spread(&self) -> f64 {
        self.chance.lock().random_range(0.5..1.5)
    }

    fn request(&self) -> Bytes {
        let message = pb::RegisterAiWorkerRequest {
            secret: self.plan.secret.clone(),
            capabilities: Some(capabilities(self)),
            hardware: hardware(self),
            ethereum_address: self.plan.address.map(|a| Bytes::copy_from_slice(&a.0)).unwrap_or_default(),
        };
        message.encode_to_vec().into()
    }

    fn attempted(&self) {
        self.change(|seen| seen.attempts += 1);
    }

    fn ended(&self, why: String, for_good: bool) {
        self.change(|seen| {
            if for_good {
                seen.retired = Some(why.clone());
            }
            seen.last_ending = Some(why);
        });
    }

    fn take(self: &Arc<Self>, registration: &Arc<Registration>, message: Bytes) {
        job::take(self, registration, &message);
    }
}
