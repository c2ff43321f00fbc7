//! Tests of AI tickets, leases and claims.
