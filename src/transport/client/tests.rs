//! Tests of outgoing connections.
