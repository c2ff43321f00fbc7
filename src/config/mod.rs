//! One YAML file, turned into settings.
pub mod settings;
