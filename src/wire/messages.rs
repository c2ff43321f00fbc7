//! The gRPC messages, and the patching that lets unknown fields survive a relay.
#![allow(clippy::all, clippy::pedantic)]
include!(concat!(env!("OUT_DIR"), "/net.rs"));
