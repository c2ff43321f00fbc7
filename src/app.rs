//! The composition root: who gets what, and which tasks run.
