//! Restarts side by side: the same outcome as one after another, bit for bit, times apart.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::{
    Algorithm, Executor, Failure, FailureCause, Fit, Interruption, Iteration, Progress, Restart, RestartOutcome,
    StopRule,
};
use crate::record::TracePoint;
use crate::seed::derive_seed;

/// What a worker reports while it runs.
enum Event {
    Iteration { restart: usize, iteration: usize, seconds: f64, progress: Progress, gain: Option<f64> },
    Finished { restart: usize, outcome: RestartOutcome },
}

/// How one restart ended.
struct Ended<E> {
    restart: usize,
    trace: Vec<TracePoint>,
    result: Result<RestartOutcome, FailureCause<E>>,
}

/// What the workers share.
struct Shared<'s, A, E> {
    seed: u64,
    restarts: usize,
    max_iterations: usize,
    interruption: &'s Interruption,
    clock: Instant,
    /// The next restart, counted from 1.
    next: AtomicUsize,
    /// The first restart that failed: later ones need not go on.
    failed: AtomicUsize,
    /// The best algorithm so far, with its restart and ELBO.
    best: Mutex<Option<(usize, f64, A)>>,
    ended: Mutex<Vec<Ended<E>>>,
}

impl Executor<'_> {
    /// As [`Executor::run`], with as many restarts at a time as rayon has threads: for algorithms that are too small to use
    /// the threads themselves. Observers hear of the restarts interleaved; the curve and the outcome are in their order.
    ///
    /// # Errors
    /// As [`Executor::run`]: of several restarts that fail, the first.
    pub fn run_side_by_side<A, E>(
        &mut self,
        start: impl Fn(Restart) -> Result<A, E> + Sync,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Algorithm<Error = E> + Send,
        E: std::error::Error + Send + 'static,
    {
        let workers = rayon::current_num_threads().min(self.restarts);
        // Inside a pool the waiting for events would take a thread away from those that send them.
        if workers < 2 || self.max_iterations == 0 || rayon::current_thread_index().is_some() {
            return self.run(start);
        }
        let clock = Instant::now();
        let interruption = self.interruption.clone();
        let shared = Shared {
            seed: self.seed,
            restarts: self.restarts,
            max_iterations: self.max_iterations,
            interruption: &interruption,
            clock,
            next: AtomicUsize::new(1),
            failed: AtomicUsize::new(usize::MAX),
            best: Mutex::new(None),
            ended: Mutex::new(Vec::new()),
        };
        let (sender, receiver) = channel();
        rayon::in_place_scope(|scope| {
            for _ in 0..workers {
                let (shared, start, sender, stop) = (&shared, &start, sender.clone(), self.stop.fresh());
                scope.spawn(move |_| shared.work(start, stop, &sender));
            }
            drop(sender);
            self.forward(&receiver);
        });
        let mut ended = shared.ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.sort_by_key(|e| e.restart);
        let best = shared.best.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut outcomes, mut trace) = (Vec::new(), Vec::new());
        let mut cause = None;
        for one in ended {
            trace.extend(one.trace);
            match one.result {
                Ok(outcome) => outcomes.push(outcome),
                Err(failure) => {
                    cause = Some(failure);
                    break;
                }
            }
        }
        for observer in &mut self.observers {
            observer.finished();
        }
        self.conclude(cause, best.map(|(_, _, algorithm)| algorithm), outcomes, trace, clock.elapsed().as_secs_f64())
    }

    /// Tells the observers what the workers report.
    fn forward(&mut self, events: &Receiver<Event>) {
        for event in events {
            for observer in &mut self.observers {
                match &event {
                    Event::Iteration { restart, iteration, seconds, progress, gain } => {
                        observer.iteration(&Iteration {
                            restart: *restart,
                            num_restarts: self.restarts,
                            iteration: *iteration,
                            max_iterations: self.max_iterations,
                            seconds: *seconds,
                            progress,
                            gain: *gain,
                        })
                    }
                    Event::Finished { restart, outcome } => {
                        observer.restart_finished(*restart, outcome.elbo, outcome.converged);
                    }
                }
            }
        }
    }
}

impl<A, E> Shared<'_, A, E>
where
    A: Algorithm<Error = E>,
{
    /// Takes one restart after another until none is left.
    fn work(
        &self,
        start: &(impl Fn(Restart) -> Result<A, E> + Sync),
        mut stop: Box<dyn StopRule + Send>,
        events: &Sender<Event>,
    ) {
        loop {
            let restart = self.next.fetch_add(1, Ordering::SeqCst);
            let begins = restart == 1 || !self.interruption.is_raised();
            if restart > self.restarts || !begins || self.is_beaten(restart) {
                return;
            }
            let mut trace = Vec::new();
            let result = self.run_one(restart, start, stop.as_mut(), events, &mut trace);
            if result.is_err() {
                self.failed.fetch_min(restart, Ordering::SeqCst);
            }
            let mut ended = self.ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            ended.push(Ended { restart, trace, result });
        }
    }

    /// Whether an earlier restart has failed.
    fn is_beaten(&self, restart: usize) -> bool {
        self.failed.load(Ordering::SeqCst) < restart
    }

    fn run_one(
        &self,
        restart: usize,
        start: &(impl Fn(Restart) -> Result<A, E> + Sync),
        stop: &mut dyn StopRule,
        events: &Sender<Event>,
        trace: &mut Vec<TracePoint>,
    ) -> Result<RestartOutcome, FailureCause<E>> {
        stop.start();
        let seed = derive_seed(self.seed, restart as u64);
        let mut algorithm = start(Restart { index: restart, seed }).map_err(FailureCause::Algorithm)?;
        let mut converged = false;
        let mut elbo: Option<f64> = None;
        let mut iteration = 0;
        let ends = |iteration, converged| {
            converged || iteration >= self.max_iterations || self.interruption.is_raised() || self.is_beaten(restart)
        };
        while iteration == 0 || !ends(iteration, converged) {
            let progress = algorithm.step().map_err(FailureCause::Algorithm)?;
            iteration += 1;
            if !progress.elbo.is_finite() {
                return Err(FailureCause::NotFinite { restart, iteration, elbo: progress.elbo });
            }
            let seconds = self.clock.elapsed().as_secs_f64();
            let gain = elbo.map(|previous| progress.elbo - previous);
            trace.push(TracePoint {
                restart,
                iteration,
                seconds,
                elbo: progress.elbo,
                standard_error: progress.standard_error,
                extra: progress.extra.clone(),
            });
            converged = stop.converged(&progress);
            elbo = Some(progress.elbo);
            // Nobody listens any more only when the run is being torn down.
            let _ = events.send(Event::Iteration { restart, iteration, seconds, progress, gain });
        }
        let elbo = algorithm.finish().map_err(FailureCause::Algorithm)?.or(elbo).unwrap_or(f64::NAN);
        if !elbo.is_finite() {
            return Err(FailureCause::NotFinite { restart, iteration, elbo });
        }
        let outcome = RestartOutcome { elbo, iterations: iteration, converged };
        let _ = events.send(Event::Finished { restart, outcome });
        let mut best = self.best.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The first of equals, in whichever order they end.
        if best.as_ref().is_none_or(|(other, highest, _)| elbo > *highest || elbo == *highest && restart < *other) {
            *best = Some((restart, elbo, algorithm));
        }
        Ok(outcome)
    }
}
