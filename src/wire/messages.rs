//! The gRPC messages, and the patching that lets unknown fields survive a relay.
mod ai;
#[cfg(test)]
mod ai_tests;
mod codec;
mod hardware;
mod notice;
mod patch;
mod register;
#[cfg(test)]
mod tests;

pub use ai::{
    AiNotice, AiRegister, MOST_AI_NOTICE, MOST_MODEL, patch_ai_notice, read_ai_notice, read_ai_register,
    write_ai_notice, write_ai_register,
};
pub use codec::RawCodec;
pub use hardware::write_hardware;
pub use notice::{BadNotice, Notice, NoticeKind, read_notice};
pub use patch::{end_session, patch_notice};
pub use register::{Register, read_register, write_register};

/// Generated from `proto/livepeer.proto`.
pub mod pb {
    #![allow(clippy::all, clippy::pedantic, clippy::disallowed_methods, unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/net.rs"));
}

/// Why the bytes of a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadWire {
    #[error("the message is {size} bytes, more than the {most} that are allowed")]
    TooBig { size: usize, most: usize },
    #[error("the message has {count} {what}, more than the {most} that are allowed")]
    TooMany { what: &'static str, count: usize, most: usize },
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
}

/// Words of a bitstring that are accepted; go-livepeer's whole list fits into one.
const MOST_WORDS: usize = 16;

// === impl BadWire ===

impl BadWire {
    /// Refused for its size rather than for its content.
    pub fn is_limit(&self) -> bool {
        !matches!(self, BadWire::Unreadable(_))
    }
}

impl From<prost::DecodeError> for BadWire {
    fn from(error: prost::DecodeError) -> BadWire {
        BadWire::Unreadable(error.to_string())
    }
}

fn within(what: &'static str, count: usize, most: usize) -> Result<(), BadWire> {
    if count > most { Err(BadWire::TooMany { what, count, most }) } else { Ok(()) }
}
