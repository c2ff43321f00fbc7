//! One YAML file, turned into settings.
