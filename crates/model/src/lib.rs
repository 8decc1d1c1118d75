//! The model language, from TOML text to a checked graph.
