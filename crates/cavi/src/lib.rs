//! Coordinate-ascent variational inference.
