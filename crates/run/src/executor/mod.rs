//! The loop around an iterating algorithm: restarts, stop rule, time, observers, interruption, checkpoints.

pub mod algorithm;
pub mod checkpoint;
mod course;
pub mod encoding;
pub mod interruption;
mod ledger;
pub mod observe;
pub mod outcome;
mod parallel;
pub mod stop;

pub use algorithm::{Algorithm, Progress, Restart, Resumable};
pub use checkpoint::{CheckpointError, Checkpoints, fingerprint};
pub use encoding::{Decoder, Encoder, Stored};
pub use interruption::Interruption;
pub use observe::{Iteration, Observer};
pub use outcome::{Failure, FailureCause, Fit, Outcome, RestartOutcome};
pub use stop::{RelativeGain, StopRule, WindowedGain};

use crate::record::{Status, TracePoint, best_index};
use crate::seed::derive_seed;
use course::{Limits, Made};
use ledger::{Keeper, Ledger};
use std::time::Instant;

/// Runs an algorithm; see [`Executor::run`].
pub struct Executor<'a> {
    /// The seed from which every restart's seed is derived.
    pub seed: u64,
    /// How many restarts to run; the best ELBO is kept.
    pub restarts: usize,
    /// The limit of iterations per restart.
    pub max_iterations: usize,
    /// When a restart counts as converged.
    pub stop: Box<dyn StopRule + 'a>,
    /// Told of every iteration.
    pub observers: Vec<Box<dyn Observer + 'a>>,
    /// Ends the run early.
    pub interruption: Interruption,
    /// The names of [`Progress::extra`].
    pub trace_columns: Vec<String>,
}

impl<'a> Executor<'a> {
    /// One restart of at most `max_iterations`, without observers.
    #[must_use]
    pub fn new(seed: u64, max_iterations: usize, stop: impl StopRule + 'a) -> Self {
        Self {
            seed,
            restarts: 1,
            max_iterations,
            stop: Box::new(stop),
            observers: Vec::new(),
            interruption: Interruption::new(),
            trace_columns: Vec::new(),
        }
    }

    /// With so many restarts.
    #[must_use]
    pub fn restarts(mut self, restarts: usize) -> Self {
        self.restarts = restarts;
        self
    }

    /// With one more observer.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer + 'a) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// With this flag to end it early.
    #[must_use]
    pub fn interruption(mut self, interruption: Interruption) -> Self {
        self.interruption = interruption;
        self
    }

    /// With these names of the extra columns of the trace.
    #[must_use]
    pub fn trace_columns(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.trace_columns = names.into_iter().map(Into::into).collect();
        self
    }

    /// Runs every restart that `start` makes and returns the one with the highest ELBO, the first of equals.
    ///
    /// An interruption ends the run after the current iteration, with what has been reached.
    ///
    /// # Errors
    /// When a start or a step fails, or an ELBO is not finite.
    pub fn run<A, E>(&mut self, start: impl FnMut(Restart) -> Result<A, E>) -> Result<Fit<A>, Failure<E>>
    where
        A: Algorithm<Error = E>,
        E: std::error::Error + 'static,
    {
        self.one_after_another(None, start)
    }

    /// As [`Executor::run`], with checkpoints; with [`Checkpoints::resume`] the run goes on where the file left it, and
    /// ends bitwise where the uninterrupted run would have (times apart).
    ///
    /// # Errors
    /// As [`Executor::run`], and when a checkpoint cannot be read or written.
    pub fn run_with_checkpoints<A, E>(
        &mut self,
        checkpoints: &Checkpoints,
        start: impl FnMut(Restart) -> Result<A, E>,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Resumable<Error = E>,
        E: std::error::Error + 'static,
    {
        self.one_after_another(Some(Keeper::new(checkpoints)), start)
    }

    fn one_after_another<A, E>(
        &mut self,
        keeper: Option<Keeper<'_, A>>,
        mut start: impl FnMut(Restart) -> Result<A, E>,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Algorithm<Error = E>,
        E: std::error::Error + 'static,
    {
        let interruption = self.interruption.clone();
        let mut ledger = self.open_ledger(keeper, &mut start)?;
        let limits = Limits {
            max_iterations: self.max_iterations,
            interruption: &interruption,
            clock: Instant::now(),
            seconds_before: ledger.seconds_before(),
        };
        let begun = ledger.last_begun();
        let restarts = if self.max_iterations == 0 { 0 } else { self.restarts };
        let mut cause = None;
        for restart in 1..=restarts {
            if restart > begun && interruption.is_raised() {
                break;
            }
            if ledger.is_finished(restart) {
                continue;
            }
            if let Err(failure) = self.run_one(restart, &mut start, &mut ledger, &limits) {
                cause = Some((restart, failure));
                break;
            }
        }
        self.close(ledger, cause, &limits)
    }

    /// Runs one restart to its end, or as far as it comes.
    fn run_one<A: Algorithm>(
        &mut self,
        restart: usize,
        start: &mut impl FnMut(Restart) -> Result<A, A::Error>,
        ledger: &mut Ledger<'_, A>,
        limits: &Limits<'_>,
    ) -> Result<(), FailureCause<A::Error>> {
        let seed = derive_seed(self.seed, restart as u64);
        let mut algorithm = start(Restart { index: restart, seed }).map_err(FailureCause::Algorithm)?;
        let stop = self.stop.as_mut();
        let mut course = ledger.take_up(restart, stop, &mut algorithm)?;
        let (observers, num_restarts, max_iterations) = (&mut self.observers, self.restarts, self.max_iterations);
        let reached = course.advance(
            &mut algorithm,
            stop,
            limits,
            || false,
            |made| {
                let Made { course, algorithm, stop, seconds, progress, gain } = made;
                let iteration = course.iteration;
                for observer in observers.iter_mut() {
                    let progress = &progress;
                    let seen = Iteration { restart, num_restarts, iteration, max_iterations, seconds, progress, gain };
                    observer.iteration(&seen);
                }
                Ok(ledger.step(course, stop, algorithm, seconds)?)
            },
        );
        if let Err(cause) = reached {
            ledger.fail(course);
            return Err(cause);
        }
        if !course.is_whole(limits) {
            ledger.leave_open(course, stop, algorithm);
            return Ok(());
        }
        let outcome = ledger.finish(course, algorithm, limits)?;
        for observer in &mut self.observers {
            observer.restart_finished(restart, outcome.elbo, outcome.converged);
        }
        Ok(())
    }

    /// What the checkpoint holds, if the run is to go on from one.
    fn open_ledger<'c, A, E>(
        &self,
        keeper: Option<Keeper<'c, A>>,
        mut start: impl FnMut(Restart) -> Result<A, E>,
    ) -> Result<Ledger<'c, A>, Failure<E>>
    where
        A: Algorithm<Error = E>,
        E: std::error::Error + 'static,
    {
        Ledger::open(keeper, |index| start(Restart { index, seed: derive_seed(self.seed, index as u64) }))
            .map_err(|cause| Failure { cause, restarts: Vec::new(), trace: Vec::new(), seconds: 0.0 })
    }

    /// Ends what was cut off and says what the run has come to.
    fn close<A, E>(
        &mut self,
        mut ledger: Ledger<'_, A>,
        mut cause: Option<(usize, FailureCause<E>)>,
        limits: &Limits<'_>,
    ) -> Result<Fit<A>, Failure<E>>
    where
        A: Algorithm<Error = E>,
        E: std::error::Error + 'static,
    {
        if cause.is_none() {
            match ledger.close(limits) {
                Ok(ended) => {
                    for (restart, outcome) in ended {
                        for observer in &mut self.observers {
                            observer.restart_finished(restart, outcome.elbo, outcome.converged);
                        }
                    }
                }
                Err(failure) => cause = Some((usize::MAX, failure)),
            }
        }
        for observer in &mut self.observers {
            observer.finished();
        }
        let (algorithm, outcomes, trace) = ledger.conclude(cause.as_ref().map(|(restart, _)| *restart));
        self.conclude(cause.map(|(_, cause)| cause), algorithm, outcomes, trace, limits.seconds())
    }

    /// What the restarts come to.
    fn conclude<A, E>(
        &self,
        cause: Option<FailureCause<E>>,
        algorithm: Option<A>,
        restarts: Vec<RestartOutcome>,
        trace: Vec<TracePoint>,
        seconds: f64,
    ) -> Result<Fit<A>, Failure<E>>
    where
        E: std::error::Error + 'static,
    {
        let best = best_index(restarts.iter().map(|outcome| outcome.elbo));
        match (cause, best, algorithm) {
            (None, Some(best), Some(algorithm)) => {
                let outcome = restarts[best];
                // A flag that was raised when everything had run has cut nothing off.
                let cut = restarts.len() < self.restarts
                    || restarts.iter().any(|o| !o.converged && o.iterations < self.max_iterations);
                let interrupted = cut && self.interruption.is_raised();
                let status = if outcome.converged && !interrupted { Status::Converged } else { Status::MaxIterations };
                Ok(Fit {
                    algorithm,
                    outcome: Outcome {
                        status,
                        best_restart: best + 1,
                        iterations: outcome.iterations,
                        seconds,
                        elbo: outcome.elbo,
                        restarts,
                        trace,
                        trace_columns: self.trace_columns.clone(),
                        interrupted,
                    },
                })
            }
            (None, ..) => {
                let option = if self.restarts == 0 { "restarts" } else { "max_iterations" };
                Err(Failure { cause: FailureCause::NothingToDo { option }, restarts: Vec::new(), trace, seconds })
            }
            (Some(cause), ..) => Err(Failure { cause, restarts, trace, seconds }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::test_folder;
    use std::time::Duration;

    /// Climbs towards a level that depends on the restart, by noisy steps from its own small generator.
    #[derive(Debug, Clone, PartialEq)]
    struct Climber {
        level: f64,
        distance: f64,
        noise: u64,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("slipped")]
    struct Slipped;

    fn climber(restart: Restart) -> Result<Climber, Slipped> {
        let level = [-3.0, -1.0, -2.0][restart.index - 1];
        Ok(Climber { level, distance: 8.0, noise: restart.seed })
    }

    impl Algorithm for Climber {
        type Error = Slipped;

        fn step(&mut self) -> Result<Progress, Slipped> {
            self.noise = derive_seed(self.noise, 1);
            self.distance *= 0.25 + 0.5 * (self.noise >> 11) as f64 / (1u64 << 53) as f64;
            Ok(Progress { extra: vec![self.distance], ..Progress::new(self.level - self.distance) })
        }
    }

    impl Resumable for Climber {
        fn save(&self, encoder: &mut Encoder) {
            encoder.f64(self.distance);
            encoder.u64(self.noise);
        }

        fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
            self.distance = decoder.f64()?;
            self.noise = decoder.u64()?;
            Ok(())
        }
    }

    /// Raises the flag in one iteration of one restart.
    struct Interrupter(Interruption, usize, usize);

    impl Observer for Interrupter {
        fn iteration(&mut self, iteration: &Iteration<'_>) {
            if (iteration.restart, iteration.iteration) == (self.1, self.2) {
                self.0.raise();
            }
        }
    }

    fn executor<'a>() -> Executor<'a> {
        Executor::new(5, 1000, RelativeGain::new(1e-9)).restarts(3).trace_columns(["distance"])
    }

    /// An outcome without what differs between two equal runs.
    fn without_times(mut outcome: Outcome) -> Outcome {
        outcome.seconds = 0.0;
        outcome.trace.iter_mut().for_each(|point| point.seconds = 0.0);
        outcome
    }

    #[test]
    fn the_best_restart_is_kept() {
        let fit = executor().run(climber).unwrap();
        assert_eq!((fit.outcome.best_restart, fit.outcome.restarts.len()), (2, 3));
        assert_eq!(fit.outcome.status, Status::Converged);
        assert_eq!(fit.algorithm.level, -1.0);
        assert_eq!(fit.outcome.elbo, -1.0 - fit.algorithm.distance);
        let total: usize = fit.outcome.restarts.iter().map(|restart| restart.iterations).sum();
        assert_eq!(fit.outcome.trace.len(), total);
        let again = executor().run(climber).unwrap();
        assert_eq!(without_times(again.outcome), without_times(fit.outcome));
    }

    #[test]
    fn the_limit_of_iterations_and_zero() {
        let mut executor = executor();
        executor.max_iterations = 2;
        let fit = executor.run(climber).unwrap();
        assert_eq!((fit.outcome.status, fit.outcome.iterations), (Status::MaxIterations, 2));
        executor.max_iterations = 0;
        let failure = executor.run(climber).unwrap_err();
        assert!(matches!(failure.cause, FailureCause::NothingToDo { option: "max_iterations" }));
    }

    #[test]
    fn an_interrupted_run_ends_with_what_was_reached() {
        let flag = Interruption::new();
        let mut executor = executor().interruption(flag.clone()).observe(Interrupter(flag, 2, 3));
        let outcome = executor.run(climber).unwrap().outcome;
        assert!(outcome.interrupted);
        assert_eq!(outcome.restarts.len(), 2);
        assert_eq!(outcome.restarts[1].iterations, 3);
        // The first restart had converged, but the run as it was asked for had not.
        assert!(outcome.restarts[0].converged);
        assert_eq!(outcome.status, Status::MaxIterations);
    }

    #[test]
    fn a_flag_raised_in_the_last_iteration_interrupts_nothing() {
        let whole = executor().run(climber).unwrap().outcome;
        let flag = Interruption::new();
        let last = whole.restarts[2].iterations;
        let mut executor = executor().interruption(flag.clone()).observe(Interrupter(flag, 3, last));
        let outcome = executor.run(climber).unwrap().outcome;
        assert!(!outcome.interrupted);
        assert_eq!(outcome.status, Status::Converged);
    }

    #[test]
    fn a_resumed_run_ends_bitwise_as_the_uninterrupted_one() {
        let folder = test_folder("resume");
        let whole = executor().run(climber).unwrap();
        for (restart, iteration) in [(1, 1), (2, 4), (3, 2), (3, whole.outcome.restarts[2].iterations)] {
            let mut checkpoints = Checkpoints {
                path: folder.join("checkpoint.bin"),
                every: Duration::from_secs(3600),
                every_steps: None,
                fingerprint: 11,
                resume: false,
            };
            let flag = Interruption::new();
            let mut first = executor().interruption(flag.clone()).observe(Interrupter(flag, restart, iteration));
            first.run_with_checkpoints(&checkpoints, climber).unwrap();
            checkpoints.resume = true;
            let resumed = executor().run_with_checkpoints(&checkpoints, climber).unwrap();
            assert_eq!(without_times(resumed.outcome), without_times(whole.outcome.clone()));
            assert_eq!(resumed.algorithm, whole.algorithm);
        }
        let other = Checkpoints {
            path: folder.join("checkpoint.bin"),
            every: Duration::ZERO,
            every_steps: None,
            fingerprint: 12,
            resume: true,
        };
        let failure = executor().run_with_checkpoints(&other, climber).unwrap_err();
        assert!(matches!(failure.cause, FailureCause::Checkpoint(CheckpointError::OtherRun { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn either_kind_of_run_goes_on_from_the_other() {
        let folder = test_folder("resume-beside");
        let whole = executor().run(climber).unwrap();
        let at = |resume| Checkpoints {
            path: folder.join("checkpoint.bin"),
            every: Duration::ZERO,
            every_steps: None,
            fingerprint: 11,
            resume,
        };
        let interrupted = |restart, iteration| {
            let flag = Interruption::new();
            executor().interruption(flag.clone()).observe(Interrupter(flag, restart, iteration))
        };
        for (restart, iteration) in [(1, 1), (1, 3), (2, 2), (3, 1)] {
            let cut = interrupted(restart, iteration).run_side_by_side_with_checkpoints(&at(false), climber).unwrap();
            assert!(cut.outcome.restarts.len() >= restart);
            let resumed = executor().run_with_checkpoints(&at(true), climber).unwrap();
            assert!(without_times(resumed.outcome) == without_times(whole.outcome.clone()));
            assert_eq!(resumed.algorithm, whole.algorithm);

            // Twice cut off, the second time at once: what is under way stays under way.
            interrupted(restart, iteration).run_with_checkpoints(&at(false), climber).unwrap();
            let flag = Interruption::new();
            flag.raise();
            executor().interruption(flag).run_side_by_side_with_checkpoints(&at(true), climber).unwrap();
            let resumed = executor().run_side_by_side_with_checkpoints(&at(true), climber).unwrap();
            assert!(without_times(resumed.outcome) == without_times(whole.outcome.clone()));
            assert_eq!(resumed.algorithm, whole.algorithm);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn restarts_side_by_side_are_those_one_after_another() {
        let whole = executor().run(climber).unwrap();
        let beside = executor().run_side_by_side(climber).unwrap();
        assert_eq!(without_times(beside.outcome), without_times(whole.outcome));
        assert_eq!(beside.algorithm, whole.algorithm);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let single = one.install(|| executor().run_side_by_side(climber)).unwrap();
        assert_eq!(single.algorithm, whole.algorithm);
    }

    /// Climbs, but slips in the second restart.
    fn slippery(restart: Restart) -> Result<Climber, Slipped> {
        if restart.index == 2 { Err(Slipped) } else { climber(restart) }
    }

    #[test]
    fn a_failure_side_by_side_is_the_first_one() {
        let (one, other) = (executor().run(slippery).unwrap_err(), executor().run_side_by_side(slippery).unwrap_err());
        assert!(matches!(other.cause, FailureCause::Algorithm(Slipped)));
        assert_eq!(other.restarts, one.restarts);
        assert_eq!(other.trace.len(), one.trace.len());
    }

    #[test]
    fn an_interruption_side_by_side_keeps_what_was_reached() {
        let flag = Interruption::new();
        flag.raise();
        let outcome = executor().interruption(flag).run_side_by_side(climber).unwrap().outcome;
        assert!(outcome.interrupted && outcome.status == Status::MaxIterations);
        assert!(outcome.restarts.iter().all(|r| r.iterations == 1) && !outcome.restarts.is_empty());
    }

    /// Fails, or reports what is not finite, in its third step.
    struct Faller(usize, Option<f64>);

    impl Algorithm for Faller {
        type Error = Slipped;

        fn step(&mut self) -> Result<Progress, Slipped> {
            self.0 += 1;
            if self.0 == 3 { self.1.map(Progress::new).ok_or(Slipped) } else { Ok(Progress::new(self.0 as f64)) }
        }
    }

    #[test]
    fn failures_keep_the_curve() {
        let failure = executor().run(|_| Ok(Faller(0, None))).err().unwrap();
        assert!(matches!(failure.cause, FailureCause::Algorithm(Slipped)));
        assert_eq!(failure.trace.len(), 2);
        let failure = executor().run(|_| Ok(Faller(0, Some(f64::NAN)))).err().unwrap();
        assert_eq!(failure.to_string(), "the ELBO became NaN in iteration 3 of restart 1");
    }
}
