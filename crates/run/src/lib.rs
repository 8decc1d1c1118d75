//! The loop around an inference engine, its records and their writers.
