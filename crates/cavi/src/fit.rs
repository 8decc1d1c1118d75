//! Fitting: restarts of coordinate ascent under the common loop, and the best of them.

use vi_model::graph::Graph;
use vi_model::inference::Initialization;
use vi_run::executor::{
    Algorithm, CheckpointError, Checkpoints, Decoder, Encoder, Executor, Failure, FailureCause, Fit, Progress,
    RelativeGain, Restart, Resumable, Stored,
};

use crate::accelerate::Acceleration;
use crate::engine::{Engine, Start, begins_apart};
use crate::error::CaviError;
use crate::lower::{IMPOSSIBLE, lower};
use crate::plan::plan;
use crate::rotate::Rotations;
use crate::schedule::Schedule;
use crate::starts::choose;

/// Iterations per restart where the model does not say.
const DEFAULT_MAX_ITERATIONS: usize = 1000;
/// Relative gain at which a restart counts as converged where the model does not say.
pub(crate) const DEFAULT_TOLERANCE: f64 = 1e-8;

/// A fall of the ELBO, relative to its size, that is more than the digits a fit needs, and a distance (in nats) that a factor moves
/// in an iteration only while it is on its way.
const LOST: f64 = 1e-8;
const STILL_MOVING: f64 = 1e-3;

/// Values of the rows' data and factors up to which restarts run side by side.
pub(crate) const LARGEST_SIDE_BY_SIDE: usize = 1 << 20;

/// A model prepared for coordinate ascent: an algorithm whose step is one iteration over all factors.
///
/// Clones share the model and the data.
#[derive(Debug, Clone)]
pub struct Ascent {
    pub(crate) engine: Engine,
    start: Option<Start>,
    initialization: Initialization,
    schedule: Schedule,
    acceleration: Acceleration,
    rotations: Rotations,
    last: f64,
    /// What the last iteration gained, unless it was a jump.
    gain: Option<f64>,
    /// As the stop rule has it, relative to the ELBO.
    tolerance: f64,
}

impl Ascent {
    /// Derives the updates of a model and reads its data once.
    ///
    /// # Errors
    ///
    /// Refuses models with a part that has no conjugate update, naming it.
    pub fn new(graph: &Graph) -> Result<Self, CaviError> {
        let mut lowered = lower(graph)?;
        let plan = plan(&mut lowered)?;
        let engine = Engine::new(lowered, plan)?;
        let initialization = graph.inference.initialization.unwrap_or_default();
        let schedule = Schedule::new(graph, &engine)?;
        let rotations = Rotations::new(&engine);
        let acceleration = Acceleration::default();
        let tolerance = graph.inference.tolerance.unwrap_or(DEFAULT_TOLERANCE);
        let last = f64::NEG_INFINITY;
        Ok(Self { engine, start: None, initialization, schedule, acceleration, rotations, last, gain: None, tolerance })
    }

    /// Puts the factors at the start of a restart.
    ///
    /// # Errors
    ///
    /// Fails when the data cannot be read.
    pub fn restart(&mut self, restart: Restart) -> Result<(), CaviError> {
        let (seed, attempt) = choose(&self.engine, self.initialization, restart)?;
        self.start = Some(self.engine.start(seed, attempt)?);
        self.last = f64::NEG_INFINITY;
        self.gain = None;
        self.acceleration = Acceleration::default();
        self.rotations = Rotations::new(&self.engine);
        self.schedule.restart(restart.seed);
        Ok(())
    }

    /// A copy at the start of a restart.
    fn started(&self, restart: Restart) -> Result<Self, CaviError> {
        let mut own = self.clone();
        own.restart(restart)?;
        Ok(own)
    }

    /// Whether restarts run side by side: the rows of a larger model occupy all threads by themselves.
    fn is_small(&self) -> bool {
        self.engine.row_values() <= LARGEST_SIDE_BY_SIDE
    }

    /// Each variable's part of the ELBO, in nats, in the order of the model file.
    pub fn elbo_terms(&self) -> Vec<(String, f64)> {
        self.engine.elbo_terms()
    }

    /// Gates that begin at their prior because the model asks for it: where their categories are alike, they stay alike.
    pub fn gates_at_their_prior(&self) -> Vec<String> {
        let (program, plan) = (&self.engine.lowered.program, &self.engine.plan);
        let asked = self.initialization == Initialization::Prior;
        let apart = |f: &usize| asked && begins_apart(program, plan, *f, &Start::default());
        (0..program.factors.len()).filter(apart).map(|f| program.factors[f].name.clone()).collect()
    }

    /// Whether the ELBO is that of the Jaakkola–Jordan bound on a logit, a bound on the ELBO.
    pub fn is_bounded(&self) -> bool {
        self.engine.lowered.bounded
    }
}

impl Algorithm for Ascent {
    type Error = CaviError;

    fn step(&mut self) -> Result<Progress, CaviError> {
        if let Some(start) = self.start.take()
            && start.is_given()
        {
            // From given statistics to factors of q: only then is the ELBO defined.
            self.engine.step(Some(&start))?;
        }
        if !self.schedule.is_batch() {
            let elbo = self.schedule.step(&mut self.engine)?;
            let progress = self.reached(elbo, self.schedule.may_fall())?;
            return Ok(self.schedule.judge(progress));
        }
        if let Some(elbo) = self.rotations.try_all(&mut self.engine, self.last)? {
            // A jump of another kind: earlier iterations say nothing of the next.
            self.acceleration.forget();
            return self.jumped(elbo);
        }
        if let Some(elbo) = self.acceleration.jump(&mut self.engine, self.last)? {
            return self.jumped(elbo);
        }
        let before = self.last;
        let elbo = self.engine.step(None)?;
        self.acceleration.note(&self.engine);
        let progress = self.reached(elbo, false)?;
        Ok(self.judge(before, progress))
    }
}

impl Resumable for Ascent {
    fn save(&self, encoder: &mut Encoder) {
        self.engine.encode(encoder);
        self.schedule.save(encoder);
        self.acceleration.store(encoder);
        self.rotations.save(encoder);
        encoder.f64(self.last);
        encoder.option_f64(self.gain);
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.start = None;
        self.engine.decode(decoder)?;
        self.schedule.load(decoder)?;
        self.acceleration = Stored::restore(decoder)?;
        self.rotations.load(decoder)?;
        self.last = decoder.f64()?;
        self.gain = decoder.option_f64()?;
        Ok(())
    }
}

impl Ascent {
    /// Checks an iteration's ELBO against the last one.
    fn reached(&mut self, elbo: f64, may_fall: bool) -> Result<Progress, CaviError> {
        // Rounding moves a sum of many terms; a fall beyond that is an error.
        let iteration = self.engine.iteration;
        if !may_fall && elbo < self.last && elbo < self.last - 1e-9 * (1.0 + self.engine.magnitude()) {
            let factor = self.engine.falling_factor().unwrap_or_else(|| "the row-level factors".to_owned());
            return Err(CaviError::Fall { factor, before: self.last, after: elbo, iteration });
        }
        // Of a likelihood without a maximum, what is fitted exactly cancels among ever larger numbers.
        if !may_fall
            && elbo < self.last - LOST * (1.0 + self.last.abs())
            && let Some((factor, distance)) = self.engine.farthest_move()?
            && distance > STILL_MOVING
        {
            return Err(CaviError::Unbounded { factor, elbo, iteration });
        }
        self.last = elbo;
        Ok(Progress::new(elbo))
    }

    /// After a jump: what it has gained says nothing of what remains.
    fn jumped(&mut self, elbo: f64) -> Result<Progress, CaviError> {
        self.gain = None;
        Ok(Progress { converged: Some(false), ..self.reached(elbo, false)? })
    }

    /// Where the gain g of an ordinary iteration is within the tolerance, but not the sum of those to come: gains that shrink by the
    /// ratio r from one to the next add up to g r / (1 − r) (Aitken's estimate).
    fn judge(&mut self, before: f64, progress: Progress) -> Progress {
        let gain = progress.elbo - before;
        let last = self.gain.replace(gain);
        let most = self.tolerance * progress.elbo.abs();
        let little = |last: f64| gain < last && gain * gain / (last - gain) <= most;
        if gain <= 0.0 || gain > most || last.is_some_and(little) {
            return progress;
        }
        Progress { converged: Some(false), ..progress }
    }
}

/// The loop that a model's `[inference]` asks for.
///
/// Add observers and an interruption as needed, then run it with [`fit_with`].
pub fn executor(graph: &Graph) -> Executor<'static> {
    let inference = &graph.inference;
    let tolerance = inference.tolerance.unwrap_or(DEFAULT_TOLERANCE);
    let (seed, most) = (inference.seed.unwrap_or(0), inference.max_iterations.unwrap_or(DEFAULT_MAX_ITERATIONS));
    Executor::new(seed, most, RelativeGain::new(tolerance)).restarts(inference.restarts.unwrap_or(1))
}

/// Fits a model as its `[inference]` says and returns the best restart.
///
/// # Errors
///
/// Refuses models that are not conjugate; fails when a factor has no distribution.
pub fn fit(graph: &Graph) -> Result<Fit<Ascent>, FitError> {
    let ascent = Ascent::new(graph)?;
    fit_with(&ascent, &mut executor(graph)).map_err(FitError::from)
}

/// Runs restarts of a prepared model under a loop of one's own; those of a small model side by side.
///
/// # Errors
///
/// What ended the run, with what had been reached.
pub fn fit_with(ascent: &Ascent, executor: &mut Executor<'_>) -> Result<Fit<Ascent>, Failure<CaviError>> {
    possible(if ascent.is_small() {
        executor.run_side_by_side(|restart| ascent.started(restart))
    } else {
        executor.run(|restart| ascent.started(restart))
    }?)
}

/// As [`fit_with`], with checkpoints: a run that was interrupted goes on to bitwise the result that it would have had.
///
/// # Errors
///
/// As [`fit_with`], and when a checkpoint cannot be read or written.
pub fn fit_with_checkpoints(
    ascent: &Ascent,
    executor: &mut Executor<'_>,
    checkpoints: &Checkpoints,
) -> Result<Fit<Ascent>, Failure<CaviError>> {
    possible(if ascent.is_small() {
        executor.run_side_by_side_with_checkpoints(checkpoints, |restart| ascent.started(restart))
    } else {
        executor.run_with_checkpoints(checkpoints, |restart| ascent.started(restart))
    }?)
}

/// Refuses a fit under which the data are impossible.
fn possible(fit: Fit<Ascent>) -> Result<Fit<Ascent>, Failure<CaviError>> {
    match fit.algorithm.elbo_terms().into_iter().find(|(_, term)| *term < IMPOSSIBLE) {
        Some((term, _)) => Err(Failure {
            cause: FailureCause::Algorithm(CaviError::Impossible { term }),
            restarts: fit.outcome.restarts,
            trace: fit.outcome.trace,
            seconds: fit.outcome.seconds,
        }),
        None => Ok(fit),
    }
}

/// Why a fit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The model was refused.
    #[error(transparent)]
    Refused(#[from] CaviError),
    /// The run failed.
    #[error(transparent)]
    Failed(#[from] Failure<CaviError>),
}
