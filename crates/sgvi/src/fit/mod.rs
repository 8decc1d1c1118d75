//! Fitting: Gaussian families, deterministic and stochastic search, assessment, the posterior on its own scale.

pub(crate) mod approach;
pub(crate) mod approximation;
pub(crate) mod assess;
pub(crate) mod between;
pub(crate) mod categories;
#[cfg(test)]
mod chains_tests;
pub(crate) mod climb;
pub(crate) mod compare;
pub(crate) mod counts;
pub(crate) mod curvature;
pub(crate) mod estimator;
pub(crate) mod expected;
#[cfg(test)]
mod factored_tests;
pub(crate) mod gaussian;
pub(crate) mod lbfgs;
pub(crate) mod local_terms;
#[cfg(test)]
mod mixed_tests;
pub(crate) mod noise;
pub(crate) mod objective;
pub(crate) mod pareto;
pub(crate) mod posterior;
pub(crate) mod range;
pub(crate) mod repeat;
pub(crate) mod responsibility;
pub(crate) mod run;
pub(crate) mod saddle;
pub(crate) mod save;
pub(crate) mod search;
#[cfg(test)]
mod settings_tests;
pub(crate) mod steps;
pub(crate) mod stochastic;
#[cfg(test)]
mod tests;
