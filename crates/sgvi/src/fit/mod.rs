//! Fitting: Gaussian families, deterministic and stochastic search, assessment, the posterior on its own scale.

pub mod approach;
pub mod approximation;
pub mod assess;
pub mod categories;
pub mod climb;
pub mod compare;
pub mod curvature;
pub mod estimator;
pub mod expected;
#[cfg(test)]
mod factored_tests;
pub mod gaussian;
pub mod lbfgs;
pub mod local_terms;
pub mod noise;
pub mod objective;
pub mod pareto;
pub mod posterior;
pub mod range;
pub mod repeat;
pub mod responsibility;
pub mod run;
pub mod saddle;
pub mod save;
pub mod search;
pub mod steps;
pub mod stochastic;
#[cfg(test)]
mod tests;
