//! Registrations: read from workers, written to orchestrators.
use bytes::Bytes;
use prost::Message;

use super::{BadWire, MOST_WORDS, pb, within};
use crate::domain::capability::{Bits, Capabilities};
use crate::domain::ids::Address;

/// A stock transcoder's registration is under 300 bytes.
const MOST_BYTES: usize = 64 << 10;
const MOST_SECRET: usize = 4096;
const MOST_VERSION: usize = 256;

/// What a worker registers with.
#[derive(Clone, PartialEq, Eq)]
pub struct Register {
    pub secret: String,
    /// As sent: may be 0, negative or absurd.
    pub capacity: i64,
    pub capabilities: Option<Capabilities>,
    /// The fork's field, when it is 20 bytes and not all zero.
    pub ethereum_address: Option<Address>,
}

// === impl Register ===

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register")
            .field("secret", &"***")
            .field("capacity", &self.capacity)
            .field("capabilities", &self.capabilities)
            .field("ethereum_address", &self.ethereum_address)
            .finish()
    }
}

pub fn read_register(raw: &Bytes) -> Result<Register, BadWire> {
    if raw.len() > MOST_BYTES {
        return Err(BadWire::TooBig { size: raw.len(), most: MOST_BYTES });
    }
    let message = pb::RegisterRequest::decode(raw.clone())?;
    within("bytes of secret", message.secret.len(), MOST_SECRET)?;
    let capabilities = message.capabilities.map(read_capabilities).transpose()?;
    Ok(Register {
        secret: message.secret,
        capacity: message.capacity,
        capabilities,
        ethereum_address: Address::from_wire(&message.ethereum_address),
    })
}

fn read_capabilities(message: pb::Capabilities) -> Result<Capabilities, BadWire> {
    within("words of capabilities", message.bitstring.len(), MOST_WORDS)?;
    within("bytes of version", message.version.len(), MOST_VERSION)?;
    Ok(Capabilities { bits: Bits(message.bitstring), version: message.version })
}

/// Our own registration, as a stock transcoder sends it: one of each capability that we have,
/// and constraints that are present but empty. What an orchestrator advertises is added up from
/// the capacities, so every bit is listed there.
pub fn write_register(secret: &str, capacity: i64, capabilities: &Capabilities) -> Bytes {
    let capabilities = pb::Capabilities {
        bitstring: capabilities.bits.0.clone(),
        capacities: capabilities.bits.numbers().map(|bit| (bit, 1)).collect(),
        version: capabilities.version.clone(),
        constraints: Some(pb::capabilities::Constraints::default()),
        ..Default::default()
    };
    let message = pb::RegisterRequest {
        secret: secret.to_owned(),
        capacity,
        capabilities: Some(capabilities),
        ..Default::default()
    };
    message.encode_to_vec().into()
}
