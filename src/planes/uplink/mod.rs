//! We look like one large worker: register at orchestrators, fetch sources, forward results.
pub mod config;
use crate::pool::Pool;
use crate::transport::Tasks;
use config::*;
#[derive(Clone)]
pub struct Uplinks;
impl Uplinks {
    pub fn status(&self) -> Vec<String> {
        vec![]
    }
}
pub fn start(_p: Pool, _c: UplinkConfig, _o: Vec<OrchestratorConfig>, _t: Tasks) -> Uplinks {
    Uplinks
}
