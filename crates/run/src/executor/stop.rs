//! Stop rules: when an iterating algorithm counts as converged.

use super::Progress;
use super::checkpoint::CheckpointError;
use super::encoding::{Decoder, Encoder};
use std::collections::VecDeque;

/// Decides after every iteration whether the algorithm has converged.
pub trait StopRule {
    /// Forgets everything: a new restart begins.
    fn start(&mut self);

    /// Takes one iteration into account and says whether the algorithm has converged.
    fn converged(&mut self, progress: &Progress) -> bool;

    /// A rule of the same kind that remembers nothing.
    fn fresh(&self) -> Box<dyn StopRule + Send>;

    /// Writes what the rule remembers.
    fn save(&self, encoder: &mut Encoder);

    /// Reads what [`StopRule::save`] wrote.
    ///
    /// # Errors
    /// When the bytes are not of this rule.
    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError>;
}

/// Converged when an iteration gains no more than `tolerance` × |ELBO|.
///
/// With a tolerance of zero only an iteration that gains nothing counts. An algorithm that judges by itself
/// ([`Progress::converged`]) overrides the rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RelativeGain {
    tolerance: f64,
    previous: Option<f64>,
}

impl RelativeGain {
    /// The rule with a relative tolerance (≥ 0, no unit).
    #[must_use]
    pub fn new(tolerance: f64) -> Self {
        Self { tolerance, previous: None }
    }
}

impl StopRule for RelativeGain {
    fn fresh(&self) -> Box<dyn StopRule + Send> {
        let mut own = self.clone();
        own.start();
        Box::new(own)
    }

    fn start(&mut self) {
        self.previous = None;
    }

    fn converged(&mut self, progress: &Progress) -> bool {
        let previous = self.previous.replace(progress.elbo);
        progress.converged.unwrap_or_else(|| {
            previous.is_some_and(|previous| progress.elbo - previous <= self.tolerance * progress.elbo.abs())
        })
    }

    fn save(&self, encoder: &mut Encoder) {
        encoder.option_f64(self.previous);
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.previous = decoder.option_f64()?;
        Ok(())
    }
}

/// Converged when the mean ELBO of a window gains no more over the window before than the larger of
/// `tolerance` × |ELBO| and the standard error of that difference: the rule for ELBOs that are noisy.
///
/// The standard error comes from the spread within the two windows, √((s₁² + s₂²) / window).
#[derive(Debug, Clone, PartialEq)]
pub struct WindowedGain {
    tolerance: f64,
    window: usize,
    values: VecDeque<f64>,
}

impl WindowedGain {
    /// The rule with a relative tolerance (≥ 0) and a window of at least two iterations.
    #[must_use]
    pub fn new(tolerance: f64, window: usize) -> Self {
        Self { tolerance, window: window.max(2), values: VecDeque::new() }
    }
}

/// Mean and unbiased variance.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

impl StopRule for WindowedGain {
    fn fresh(&self) -> Box<dyn StopRule + Send> {
        let mut own = self.clone();
        own.start();
        Box::new(own)
    }

    fn start(&mut self) {
        self.values.clear();
    }

    fn converged(&mut self, progress: &Progress) -> bool {
        self.values.push_back(progress.elbo);
        if self.values.len() > 2 * self.window {
            self.values.pop_front();
        }
        if let Some(converged) = progress.converged {
            return converged;
        }
        if self.values.len() < 2 * self.window {
            return false;
        }
        let (before, variance_before) = moments(self.values.iter().take(self.window).copied());
        let (after, variance_after) = moments(self.values.iter().skip(self.window).copied());
        let standard_error = ((variance_before + variance_after) / self.window as f64).sqrt();
        after - before <= (self.tolerance * after.abs()).max(standard_error)
    }

    fn save(&self, encoder: &mut Encoder) {
        encoder.f64_slice(&self.values.iter().copied().collect::<Vec<_>>());
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.values = decoder.f64_vec()?.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_stop(rule: &mut dyn StopRule, elbos: &[f64]) -> Option<usize> {
        rule.start();
        elbos.iter().position(|&elbo| rule.converged(&Progress::new(elbo)))
    }

    #[test]
    fn relative_gain() {
        let mut rule = RelativeGain::new(1e-3);
        assert_eq!(first_stop(&mut rule, &[-100.0, -50.0, -49.96, -49.95]), Some(2));
        assert_eq!(first_stop(&mut rule, &[-100.0]), None);
        let mut exact = RelativeGain::new(0.0);
        assert_eq!(first_stop(&mut exact, &[-1.0, -0.5, 0.0, 0.0]), Some(3));
    }

    #[test]
    fn the_algorithm_may_decide_itself() {
        let mut rule = RelativeGain::new(1.0);
        rule.start();
        assert!(!rule.converged(&Progress { converged: Some(false), ..Progress::new(-1.0) }));
        assert!(!rule.converged(&Progress { converged: Some(false), ..Progress::new(-1.0) }));
        assert!(rule.converged(&Progress { converged: Some(true), ..Progress::new(9.0) }));
    }

    #[test]
    fn windowed_gain_waits_while_the_mean_rises_beyond_the_noise() {
        let mut rule = WindowedGain::new(1e-6, 10);
        let rising: Vec<f64> = (0..100).map(|i| f64::from(i) + if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        assert_eq!(first_stop(&mut rule, &rising), None);
        let flat: Vec<f64> = (0..100).map(|i| -5.0 + if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        assert_eq!(first_stop(&mut rule, &flat), Some(19));
    }

    #[test]
    fn rules_remember_through_save_and_load() {
        let mut rule = WindowedGain::new(1e-6, 2);
        for elbo in [-3.0, -2.0, -1.0] {
            assert!(!rule.converged(&Progress::new(elbo)));
        }
        let mut encoder = Encoder::new();
        rule.save(&mut encoder);
        let bytes = encoder.into_bytes();
        let mut again = WindowedGain::new(1e-6, 2);
        again.load(&mut Decoder::new(&bytes)).unwrap();
        assert_eq!(again, rule);
    }
}
