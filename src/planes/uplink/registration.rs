//! What there is to register, by kind: transcoders, and AI workers.
use bytes::Bytes;
use tokio::sync::watch;

use super::config::UplinkConfig;
use crate::domain::capability::{Bits, Capabilities, core_version};
use crate::pool::ai::AiOffer;
use crate::pool::{Offer, Pool};
use crate::wire::headers::{AI_REGISTER_PATH, REGISTER_PATH};
use crate::wire::messages::{write_ai_register, write_register};

/// An orchestrator may take one kind and not the other: each stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Transcoder,
    Ai,
}

/// What one stream registers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// Sessions, or AI jobs over all models; 0: nothing to register.
    pub(super) capacity: u32,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Transcoder(Capabilities),
    Ai(AiOffer),
}

/// What the pool offers of one kind, as it changes.
pub(super) enum Offers {
    Transcoder(watch::Receiver<Offer>),
    Ai(watch::Receiver<AiOffer>),
}

/// The pool is gone.
pub(super) struct Gone;

// === impl Offers ===

impl Offers {
    pub(super) fn of(pool: &Pool, kind: Kind) -> Offers {
        match kind {
            Kind::Transcoder => Offers::Transcoder(pool.offer()),
            Kind::Ai => Offers::Ai(pool.ai_offer()),
        }
    }

    /// Waits until there is something to register.
    pub(super) async fn something(&mut self) -> Result<(), Gone> {
        let seen = match self {
            Offers::Transcoder(offer) => offer.wait_for(|offer| offer.capacity > 0).await.map(drop),
            Offers::Ai(offer) => offer.wait_for(|offer| jobs(offer) > 0).await.map(drop),
        };
        seen.map_err(|_| Gone)
    }

    pub(super) async fn changed(&mut self) -> Result<(), Gone> {
        let changed = match self {
            Offers::Transcoder(offer) => offer.changed().await,
            Offers::Ai(offer) => offer.changed().await,
        };
        changed.map_err(|_| Gone)
    }

    /// The registrations that should stand now; none for no capacity.
    pub(super) fn wanted(&mut self, config: &UplinkConfig) -> Vec<Registration> {
        match self {
            Offers::Transcoder(offer) => {
                split(&offer.borrow_and_update(), config.registrations, &config.fallback_version)
            }
            Offers::Ai(offer) => whole(&offer.borrow_and_update()),
        }
    }
}

/// Steps of [`stated`].
const LAST_STEP: u8 = 2;
const ANY_VERSION: &str = "1000.0.0";

/// The offer over at most `streams` registrations, as evenly as it goes.
pub(super) fn split(offer: &Offer, streams: u32, fallback_version: &str) -> Vec<Registration> {
    let streams = streams.max(1).min(offer.capacity);
    let version = offer.version.clone().unwrap_or_else(|| fallback_version.to_owned());
    let caps = Capabilities { bits: Bits(offer.bits.0.clone()), version };
    (0..streams)
        .map(|n| {
            let more = u32::from(n < offer.capacity % streams);
            let what = What::Transcoder(caps.clone());
            Registration { capacity: offer.capacity / streams + more, what }
        })
        .collect()
}

/// One registration for all models. An orchestrator looks for the first worker that has a slot
/// of the model: more of us would only cut a model of capacity 1 out of all but one.
pub(super) fn whole(offer: &AiOffer) -> Vec<Registration> {
    match jobs(offer) {
        0 => Vec::new(),
        capacity => vec![Registration { capacity, what: What::Ai(offer.clone()) }],
    }
}

fn jobs(offer: &AiOffer) -> u32 {
    offer.models.iter().fold(0, |sum, model| sum.saturating_add(model.capacity))
}

// === impl Registration ===

impl Registration {
    pub(super) fn kind(&self) -> Kind {
        match self.what {
            What::Transcoder(_) => Kind::Transcoder,
            What::Ai(_) => Kind::Ai,
        }
    }

    pub(super) fn path(&self) -> &'static str {
        match self.what {
            What::Transcoder(_) => REGISTER_PATH,
            What::Ai(_) => AI_REGISTER_PATH,
        }
    }

    /// `step`: which of the versions that can be stated; see [`Registration::next_step`].
    pub(super) fn message(&self, secret: &str, fallback_version: &str, step: u8) -> Bytes {
        match &self.what {
            What::Transcoder(caps) => write_register(secret, i64::from(self.capacity), caps),
            What::Ai(offer) => {
                let version = stated(offer.version.as_deref(), fallback_version, step);
                write_ai_register(secret, &offer.models, version, &offer.hardware)
            }
        }
    }

    /// The next step at which it would state another version, if it was dropped without a word.
    pub(super) fn next_step(&self, fallback_version: &str, step: u8) -> Option<u8> {
        let What::Ai(offer) = &self.what else { return None };
        let at = |step| stated(offer.version.as_deref(), fallback_version, step);
        (step + 1..=LAST_STEP).find(|&next| at(next) != at(step))
    }
}

/// The version that an AI registration states: the workers' lowest, or ours where none says one;
/// then the higher of the two; then one that no orchestrator's own can be above. An orchestrator
/// drops a worker of a lower version than its own without a word, whatever the worker can do, and
/// looks at the version for nothing else; HTTP runners have none of its kind.
pub(super) fn stated<'a>(offered: Option<&'a str>, fallback: &'a str, step: u8) -> &'a str {
    match (step, offered) {
        (LAST_STEP.., _) => ANY_VERSION,
        (0, Some(offered)) => offered,
        (_, Some(offered)) if core_version(fallback) <= core_version(offered) => offered,
        _ => fallback,
    }
}
