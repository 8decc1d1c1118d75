//! Exponential families, special functions and vectorised row kernels.
