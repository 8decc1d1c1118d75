//! Restarts side by side: the same outcome as one after another, bit for bit, times apart.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::course::{Limits, Made};
use super::ledger::{Keeper, Ledger};
use super::{
    Algorithm, Checkpoints, Executor, Failure, FailureCause, Fit, Iteration, Progress, Restart, RestartOutcome,
    Resumable, StopRule,
};
use crate::seed::derive_seed;

/// What a worker reports while it runs.
enum Event {
    Iteration { restart: usize, iteration: usize, seconds: f64, progress: Progress, gain: Option<f64> },
    Finished { restart: usize, outcome: RestartOutcome },
}

/// What the workers share.
struct Shared<'s, A: Algorithm> {
    seed: u64,
    restarts: usize,
    limits: Limits<'s>,
    /// The next restart, counted from 1.
    next: AtomicUsize,
    /// The last restart that runs although the run is interrupted.
    begun: usize,
    /// The first restart that failed: later ones need not go on.
    failed: AtomicUsize,
    causes: Mutex<Vec<(usize, FailureCause<A::Error>)>>,
    ledger: Mutex<Ledger<'s, A>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.side_by_side(None, start)
    }

    /// As [`Executor::run_side_by_side`], with checkpoints as [`Executor::run_with_checkpoints`] has them: one is written at an
    /// interruption, and at the end of a restart when it is due. Either kind of run goes on from the other's.
    ///
    /// # Errors
    /// As [`Executor::run_with_checkpoints`].
    pub fn run_side_by_side_with_checkpoints<A, E>(
        &mut self,
        checkpoints: &Checkpoints,
        start: impl Fn(Restart) -> Result<A, E> + Sync,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Resumable<Error = E> + Send,
        E: std::error::Error + Send + 'static,
    {
        self.side_by_side(Some(Keeper::new(checkpoints)), start)
    }

    fn side_by_side<A, E>(
        &mut self,
        keeper: Option<Keeper<'_, A>>,
        start: impl Fn(Restart) -> Result<A, E> + Sync,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Algorithm<Error = E> + Send,
        E: std::error::Error + Send + 'static,
    {
        let workers = rayon::current_num_threads().min(self.restarts);
        // Inside a pool the waiting for events would take a thread away from those that send them.
        if workers < 2 || self.max_iterations == 0 || rayon::current_thread_index().is_some() {
            return self.one_after_another(keeper, start);
        }
        let interruption = self.interruption.clone();
        let ledger = self.open_ledger(keeper, &start)?;
        let limits = Limits {
            max_iterations: self.max_iterations,
            interruption: &interruption,
            clock: Instant::now(),
            seconds_before: ledger.seconds_before(),
        };
        let shared = Shared {
            seed: self.seed,
            restarts: self.restarts,
            limits,
            next: AtomicUsize::new(1),
            begun: ledger.last_begun(),
            failed: AtomicUsize::new(usize::MAX),
            causes: Mutex::default(),
            ledger: Mutex::new(ledger),
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
        let mut causes = shared.causes.into_inner().unwrap_or_else(PoisonError::into_inner);
        causes.sort_by_key(|(restart, _)| *restart);
        let cause = (!causes.is_empty()).then(|| causes.remove(0));
        self.close(shared.ledger.into_inner().unwrap_or_else(PoisonError::into_inner), cause, &limits)
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

impl<A: Algorithm> Shared<'_, A> {
    /// Takes one restart after another until none is left.
    fn work(
        &self,
        start: &(impl Fn(Restart) -> Result<A, A::Error> + Sync),
        mut stop: Box<dyn StopRule + Send>,
        events: &Sender<Event>,
    ) {
        loop {
            let restart = self.next.fetch_add(1, Ordering::SeqCst);
            let begins = restart <= self.begun || !self.limits.interruption.is_raised();
            if restart > self.restarts || !begins || self.is_beaten(restart) {
                return;
            }
            if lock(&self.ledger).is_finished(restart) {
                continue;
            }
            if let Err(cause) = self.run_one(restart, start, stop.as_mut(), events) {
                self.failed.fetch_min(restart, Ordering::SeqCst);
                lock(&self.causes).push((restart, cause));
            }
        }
    }

    /// Whether an earlier restart has failed.
    fn is_beaten(&self, restart: usize) -> bool {
        self.failed.load(Ordering::SeqCst) < restart
    }

    fn run_one(
        &self,
        restart: usize,
        start: &(impl Fn(Restart) -> Result<A, A::Error> + Sync),
        stop: &mut dyn StopRule,
        events: &Sender<Event>,
    ) -> Result<(), FailureCause<A::Error>> {
        let seed = derive_seed(self.seed, restart as u64);
        let mut algorithm = start(Restart { index: restart, seed }).map_err(FailureCause::Algorithm)?;
        let mut course = lock(&self.ledger).take_up(restart, stop, &mut algorithm)?;
        let reached = course.advance(
            &mut algorithm,
            stop,
            &self.limits,
            || self.is_beaten(restart),
            |made| {
                let Made { course, seconds, progress, gain, .. } = made;
                // Nobody listens any more only when the run is being torn down.
                let _ = events.send(Event::Iteration { restart, iteration: course.iteration, seconds, progress, gain });
                Ok(())
            },
        );
        let mut ledger = lock(&self.ledger);
        if let Err(cause) = reached {
            ledger.fail(course);
            return Err(cause);
        }
        if !course.is_whole(&self.limits) {
            ledger.leave_open(course, stop, algorithm);
            return Ok(());
        }
        let outcome = ledger.finish(course, algorithm, &self.limits)?;
        let _ = events.send(Event::Finished { restart, outcome });
        Ok(())
    }
}
