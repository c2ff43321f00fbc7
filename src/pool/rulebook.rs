//! The rule book in force: swapped whole, kept by each job for its life.
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Rules;

pub struct Rulebook(ArcSwap<Rules>);

// === impl Rulebook ===

impl Rulebook {
    pub fn new(rules: Rules) -> Rulebook {
        Rulebook(ArcSwap::from_pointee(rules))
    }

    pub fn current(&self) -> Arc<Rules> {
        self.0.load_full()
    }

    pub fn replace(&self, rules: Rules) {
        self.0.store(Arc::new(rules));
    }
}
