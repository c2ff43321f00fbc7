//! AI over HTTP: the port that orchestrators point a URL at, and the runners that we dial.
pub mod agent;
pub mod runners;
