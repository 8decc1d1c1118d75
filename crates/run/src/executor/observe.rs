//! Observers: what is told of a run while it runs.

use super::Progress;

/// One iteration, as observers see it.
#[derive(Debug, Clone, Copy)]
pub struct Iteration<'a> {
    /// The restart, counted from 1.
    pub restart: usize,
    /// How many restarts there will be.
    pub num_restarts: usize,
    /// The iteration within the restart, counted from 1.
    pub iteration: usize,
    /// The limit of iterations per restart.
    pub max_iterations: usize,
    /// Seconds since the run began.
    pub seconds: f64,
    /// What the algorithm reports.
    pub progress: &'a Progress,
    /// How much the ELBO rose over the iteration before, in nats; `None` in the first.
    pub gain: Option<f64>,
}

/// Told of what happens; the default is to ignore it. An observer never changes the run.
pub trait Observer {
    /// After every iteration.
    fn iteration(&mut self, iteration: &Iteration<'_>) {
        let _ = iteration;
    }

    /// After the last iteration of a restart, with its final ELBO.
    fn restart_finished(&mut self, restart: usize, elbo: f64, converged: bool) {
        let _ = (restart, elbo, converged);
    }

    /// When the run has ended, also by failure or interruption.
    fn finished(&mut self) {}
}
