//! Tests of the orchestrator side.
