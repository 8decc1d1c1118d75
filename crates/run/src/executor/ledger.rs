//! What a run has reached, restart by restart, in memory and in a checkpoint.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::checkpoint::{CheckpointError, Checkpoints, read_checkpoint, write_checkpoint};
use super::course::{Course, Limits};
use super::encoding::{Decoder, Encoder, Stored};
use super::{Algorithm, FailureCause, RestartOutcome, Resumable, StopRule};
use crate::record::TracePoint;

/// A checkpoint takes at most this share of the time between two.
const SHARE: u32 = 20;

/// How the algorithms of a run are saved, and where.
pub(super) struct Keeper<'c, A> {
    checkpoints: &'c Checkpoints,
    save: fn(&A, &mut Encoder),
    load: fn(&mut A, &mut Decoder<'_>) -> Result<(), CheckpointError>,
    last: Instant,
    cost: Duration,
    steps: usize,
}

impl<'c, A: Resumable> Keeper<'c, A> {
    /// Saves where `checkpoints` says.
    pub(super) fn new(checkpoints: &'c Checkpoints) -> Self {
        Self { checkpoints, save: A::save, load: A::load, last: Instant::now(), cost: Duration::ZERO, steps: 0 }
    }
}

impl<A> Keeper<'_, A> {
    /// Whether so much time or so many steps have passed that a checkpoint is due.
    fn is_due(&self) -> bool {
        self.checkpoints.every_steps.is_some_and(|most| self.steps >= most)
            || self.last.elapsed() >= self.checkpoints.every.max(self.cost * SHARE)
    }
}

/// The best finished restart.
struct Best<A> {
    restart: usize,
    elbo: f64,
    algorithm: A,
}

/// A restart whose iterations were cut off, before it is ended.
struct Open<A> {
    course: Course,
    stop: Vec<u8>,
    algorithm: A,
}

/// A restart under way, as a checkpoint holds it.
type Saved = BTreeMap<usize, Vec<u8>>;

/// The restarts of a run.
pub(super) struct Ledger<'c, A> {
    keeper: Option<Keeper<'c, A>>,
    outcomes: BTreeMap<usize, RestartOutcome>,
    traces: BTreeMap<usize, Vec<TracePoint>>,
    best: Option<Best<A>>,
    open: Vec<Open<A>>,
    /// Restarts that a checkpoint left under way.
    saved: Saved,
    /// Seconds that the run had taken when that checkpoint was written.
    seconds: f64,
}

impl<'c, A: Algorithm> Ledger<'c, A> {
    /// Of a run that begins, or goes on from a checkpoint.
    pub(super) fn open(
        keeper: Option<Keeper<'c, A>>,
        start: impl FnMut(usize) -> Result<A, A::Error>,
    ) -> Result<Self, FailureCause<A::Error>> {
        let mut ledger = Self {
            outcomes: BTreeMap::new(),
            traces: BTreeMap::new(),
            best: None,
            open: Vec::new(),
            saved: Saved::new(),
            seconds: 0.0,
            keeper,
        };
        if ledger.keeper.as_ref().is_some_and(|keeper| keeper.checkpoints.resume) {
            ledger.read(start)?;
        }
        Ok(ledger)
    }

    /// Seconds that the run had taken before it was resumed.
    pub(super) fn seconds_before(&self) -> f64 {
        self.seconds
    }

    /// Whether a restart has ended.
    pub(super) fn is_finished(&self, restart: usize) -> bool {
        self.outcomes.contains_key(&restart)
    }

    /// The last restart that was begun; at least the first is.
    pub(super) fn last_begun(&self) -> usize {
        self.outcomes.keys().chain(self.saved.keys()).max().copied().unwrap_or(1)
    }

    /// Puts a freshly started restart where the checkpoint left it, if it did.
    pub(super) fn take_up(
        &mut self,
        restart: usize,
        stop: &mut dyn StopRule,
        algorithm: &mut A,
    ) -> Result<Course, CheckpointError> {
        stop.start();
        let (Some(bytes), Some(keeper)) = (self.saved.remove(&restart), &self.keeper) else {
            return Ok(Course::new(restart));
        };
        let mut decoder = Decoder::new(&bytes);
        let course = Course::restore(&mut decoder)?;
        stop.load(&mut Decoder::new(decoder.bytes()?))?;
        (keeper.load)(algorithm, &mut decoder)?;
        decoder.finish()?;
        Ok(course)
    }

    /// Writes a checkpoint if one is due after a step of the only restart under way.
    pub(super) fn step(
        &mut self,
        course: &Course,
        stop: &dyn StopRule,
        algorithm: &A,
        seconds: f64,
    ) -> Result<(), CheckpointError> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        keeper.steps += 1;
        if keeper.is_due() { self.write(&[(course, &state_of(stop), algorithm)], seconds) } else { Ok(()) }
    }

    /// Ends a restart that has come to its end, and writes a checkpoint if one is due.
    pub(super) fn finish(
        &mut self,
        course: Course,
        algorithm: A,
        limits: &Limits<'_>,
    ) -> Result<RestartOutcome, FailureCause<A::Error>> {
        let outcome = self.end(course, algorithm)?;
        if self.keeper.as_ref().is_some_and(Keeper::is_due) {
            self.write(&[], limits.seconds())?;
        }
        Ok(outcome)
    }

    fn end(&mut self, course: Course, mut algorithm: A) -> Result<RestartOutcome, FailureCause<A::Error>> {
        let result = course.end(&mut algorithm);
        let restart = course.restart;
        self.traces.insert(restart, course.trace);
        let outcome = result?;
        self.outcomes.insert(restart, outcome);
        let elbo = outcome.elbo;
        // The first of equals, in whichever order they end.
        if self.best.as_ref().is_none_or(|b| elbo > b.elbo || elbo == b.elbo && restart < b.restart) {
            self.best = Some(Best { restart, elbo, algorithm });
        }
        Ok(outcome)
    }

    /// Keeps a restart that the interruption cut off, until [`Ledger::close`].
    pub(super) fn leave_open(&mut self, course: Course, stop: &dyn StopRule, algorithm: A) {
        self.open.push(Open { course, stop: state_of(stop), algorithm });
    }

    /// Keeps the curve of a restart that failed.
    pub(super) fn fail(&mut self, course: Course) {
        self.traces.insert(course.restart, course.trace);
    }

    /// Writes the checkpoint of an interrupted run, then ends the restarts that were cut off; their outcomes.
    pub(super) fn close(
        &mut self,
        limits: &Limits<'_>,
    ) -> Result<Vec<(usize, RestartOutcome)>, FailureCause<A::Error>> {
        let mut open = std::mem::take(&mut self.open);
        open.sort_by_key(|o| o.course.restart);
        if self.keeper.is_some() && limits.interruption.is_raised() {
            let underway: Vec<_> = open.iter().map(|o| (&o.course, &o.stop, &o.algorithm)).collect();
            self.write(&underway, limits.seconds())?;
        }
        open.into_iter().map(|o| Ok((o.course.restart, self.end(o.course, o.algorithm)?))).collect()
    }

    /// The best algorithm, the outcomes and curves in the order of the restarts; up to the one that failed, if one did.
    pub(super) fn conclude(self, failed: Option<usize>) -> (Option<A>, Vec<RestartOutcome>, Vec<TracePoint>) {
        let before = |restart: &usize| failed.is_none_or(|failed| *restart < failed);
        let outcomes = self.outcomes.into_iter().filter(|(r, _)| before(r)).map(|(_, outcome)| outcome).collect();
        let kept = self.traces.into_iter().filter(|(r, _)| before(r) || failed == Some(*r));
        (self.best.map(|best| best.algorithm), outcomes, kept.flat_map(|(_, trace)| trace).collect())
    }

    fn write(&mut self, underway: &[(&Course, &Vec<u8>, &A)], seconds: f64) -> Result<(), CheckpointError> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let begun = Instant::now();
        let mut encoder = Encoder::new();
        encoder.f64(seconds);
        self.outcomes.store(&mut encoder);
        self.traces.store(&mut encoder);
        encoder.usize(self.best.as_ref().map_or(0, |best| best.restart));
        encoder.nested(|encoder| {
            if let Some(best) = &self.best {
                (keeper.save)(&best.algorithm, encoder);
            }
        });
        encoder.usize(underway.len() + self.saved.len());
        for (course, stop, algorithm) in underway {
            encoder.usize(course.restart);
            encoder.nested(|encoder| {
                course.store(encoder);
                encoder.bytes(stop);
                (keeper.save)(algorithm, encoder);
            });
        }
        for (restart, bytes) in &self.saved {
            encoder.usize(*restart);
            encoder.bytes(bytes);
        }
        write_checkpoint(&keeper.checkpoints.path, keeper.checkpoints.fingerprint, &encoder.into_bytes())?;
        (keeper.steps, keeper.last, keeper.cost) = (0, Instant::now(), begun.elapsed());
        Ok(())
    }

    /// Reads the checkpoint; `start` makes the algorithm of a restart.
    fn read(&mut self, mut start: impl FnMut(usize) -> Result<A, A::Error>) -> Result<(), FailureCause<A::Error>> {
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let content = read_checkpoint(&keeper.checkpoints.path, keeper.checkpoints.fingerprint)?;
        let mut decoder = Decoder::new(&content);
        self.seconds = decoder.f64()?;
        self.outcomes = Stored::restore(&mut decoder)?;
        self.traces = Stored::restore(&mut decoder)?;
        let restart = decoder.usize()?;
        let mut bytes = Decoder::new(decoder.bytes()?);
        if let Some(outcome) = self.outcomes.get(&restart) {
            let mut algorithm = start(restart).map_err(FailureCause::Algorithm)?;
            (keeper.load)(&mut algorithm, &mut bytes)?;
            self.best = Some(Best { restart, elbo: outcome.elbo, algorithm });
        }
        bytes.finish()?;
        for _ in 0..decoder.usize()? {
            let restart = decoder.usize()?;
            self.saved.insert(restart, decoder.bytes()?.to_vec());
        }
        decoder.finish()?;
        Ok(())
    }
}

/// What a stop rule remembers.
fn state_of(stop: &dyn StopRule) -> Vec<u8> {
    let mut encoder = Encoder::new();
    stop.save(&mut encoder);
    encoder.into_bytes()
}
