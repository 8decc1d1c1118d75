//! When a training run cools down, and when it ends.

use super::super::settings::Schedule;
use super::Training;

impl Training<'_> {
    /// Whether the last window gained no more than tolerance × |ELBO| or its own standard error.
    pub(super) fn window_converged(&self) -> bool {
        let window = self.stop.window;
        if self.window.len() < 2 * window {
            return false;
        }
        let moments = |values: &mut dyn Iterator<Item = f64>| {
            let values: Vec<f64> = values.collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance =
                values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0);
            (mean, variance / values.len() as f64)
        };
        let (before, error_before) = moments(&mut self.window.iter().take(window).copied());
        let (after, error_after) = moments(&mut self.window.iter().skip(window).copied());
        after - before <= (self.stop.tolerance * after.abs()).max((error_before + error_after).sqrt())
    }

    /// Decides whether to cool down, and whether to stop; held-out rows that gain no more end the run as a window does.
    pub(super) fn judge(&mut self, out_of_patience: bool) -> bool {
        let settings = self.settings;
        let last = self.step >= settings.max_iterations as u64;
        let warm = self.step >= settings.beta_warmup as u64;
        if settings.schedule != Schedule::CoolDown {
            return warm && (out_of_patience || (last || self.step.is_multiple_of(10)) && self.window_converged());
        }
        match self.cool_down {
            None => {
                let remaining = settings.max_iterations as u64 - self.step.min(settings.max_iterations as u64);
                if warm && (out_of_patience || self.step.is_multiple_of(10) && self.window_converged()) {
                    self.converged_early = true;
                    let length = settings.cool_down_steps().min(self.step / 2).min(remaining).max(1);
                    self.cool_down = Some((self.step, length));
                } else if remaining <= settings.cool_down_steps() {
                    self.cool_down = Some((self.step, remaining.max(1)));
                }
                false
            }
            Some((start, length)) => {
                // A cool-down that overfits ends early too: the best parameters are kept.
                let done = self.step >= start + length || out_of_patience && self.step > start + length / 2;
                done && (self.converged_early || self.window_converged())
            }
        }
    }
}
