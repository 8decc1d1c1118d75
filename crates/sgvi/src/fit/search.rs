//! The default optimiser: the ELBO with fixed draws, climbed by L-BFGS in coordinates scaled by its curvature, with more
//! draws from stage to stage (deterministic ADVI: Giordano, Ingram & Broderick 2024).

use std::sync::Arc;

use nalgebra::DMatrix;
use vi_model::inference::VariationalFamily;
use vi_run::executor::{Algorithm, CheckpointError, Decoder, Encoder, Progress, Resumable};
use vi_run::seed::derive_seed;

use super::approach;
use super::assess;
use super::categories;
use super::curvature::{self, Whitening};
use super::gaussian::{Gaussian, Root};
use super::lbfgs::{Lbfgs, Step};
use super::noise;
use super::objective::{Chart, MeanScale, Objective, diagonal_root};
use super::saddle;
use crate::error::SgviError;
use crate::lower::Model;
use crate::tape::{Evaluation, Evaluator};

/// What the search is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchSettings {
    /// The family of the approximation.
    pub family: VariationalFamily,
    /// Rank of the low-rank family.
    pub rank: usize,
    /// Relative gain that counts as none.
    pub tolerance: f64,
    /// Seed of this restart.
    pub seed: u64,
    /// Whether the starting point is moved at random (restarts after the first).
    pub jitter: bool,
    /// Draws of the last stage; `None` chooses by the model's size.
    pub draws: Option<usize>,
    /// Names of variables that share one joint factor under mean field.
    pub blocks: Vec<Vec<String>>,
}

/// One stage: its number of draws, and the expected gain (nats) and number of steps at which it ends.
#[derive(Debug, Clone, Copy)]
struct Stage {
    draws: usize,
    gain: f64,
    steps: usize,
}

/// The search; each step is one L-BFGS step.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    model: &'a Model,
    evaluator: &'a Evaluator,
    settings: SearchSettings,
    stages: Vec<Stage>,
    stage: usize,
    steps: usize,
    scale: Vec<f64>,
    chart: Chart,
    objective: Objective<'a>,
    lbfgs: Lbfgs,
    recent: Vec<f64>,
    /// How often a stage has gone on although the posterior looked improper.
    reopened: usize,
}

const WINDOW: usize = 10;
/// How often a stage that has not settled goes on although the posterior looks improper.
const MOST_REOPENED: usize = 5;
/// Natural steps of categorical factors at most, and the gain (nats) of the last.
const MOST_NATURAL: usize = 20;
const NATURAL_GAIN: f64 = 1e-4;
/// Spread of the logits from which categorical factors start.
const SYMMETRY_BREAKING: f64 = 0.3;
/// Expected gain (nats) at which the last stage ends.
const FINAL_GAIN: f64 = 2e-6;

impl<'a> Search<'a> {
    /// Finds a starting point and its scales.
    ///
    /// # Errors
    /// [`SgviError::NotFinite`] where the log joint is finite nowhere around the start.
    pub(crate) fn new(model: &'a Model, evaluator: &'a Evaluator, settings: SearchSettings) -> Result<Self, SgviError> {
        let n = model.program.dimension;
        let guess: Vec<f64> = model.start_scale.clone();
        let mut mean = start(model, evaluator, &settings)?;
        let mut is_weight = vec![false; n];
        model.categories.iter().for_each(|c| is_weight[c.range()].fill(true));
        let mut point = mean.clone();
        categories::place_probabilities(&model.categories, &mut point);
        let point = saddle::leave(evaluator, point, &guess, &is_weight, derive_seed(settings.seed, 2));
        let point = approach::approach(evaluator, point, &guess, &is_weight);
        (0..n).filter(|i| !is_weight[*i]).for_each(|i| mean[i] = point[i]);
        let scale: Vec<f64> = curvature::diagonal(evaluator, &point, &guess, &is_weight)
            .into_iter()
            .zip(&guess)
            .map(|(c, g)| {
                let s = 1.0 / c.abs().sqrt();
                if !s.is_finite() || s > 1e6 * g {
                    *g
                } else if c < 0.0 {
                    s.min(*g)
                } else {
                    s
                }
            })
            .collect();
        let free: Vec<usize> = (0..n).filter(|i| !model.is_point[*i]).collect();
        let blocks = share_blocks(model, &free, &settings.blocks);
        let mut settings = settings;
        if blocks.is_some() {
            // Dense within the blocks: a full-rank root with zeros between them.
            settings.family = VariationalFamily::FullRank;
        }
        let stages = stages(model, &settings, free.len());
        let mut search = Self {
            model,
            evaluator,
            stages,
            stage: 0,
            steps: 0,
            chart: Chart {
                origin: Gaussian {
                    mean: mean.clone(),
                    free: free.clone(),
                    root: Root::Diagonal(Vec::new()),
                    categories: Arc::clone(&model.categories),
                },
                mean_scale: MeanScale::Diagonal(scale.clone()),
                blocks,
            },
            scale: scale.clone(),
            objective: Objective::new(evaluator, Vec::new(), 0),
            lbfgs: Lbfgs::new(Vec::new(), f64::NAN, Vec::new()),
            recent: Vec::new(),
            settings,
            reopened: 0,
        };
        // Narrow at first; narrower where the log joint is not finite all around.
        for narrow in [0.3, 0.03, 3e-3, 3e-4, 3e-6] {
            let sd: Vec<f64> = free.iter().map(|&i| narrow * scale[i]).collect();
            search.chart.origin.root = Root::Diagonal(sd);
            search.open(MeanScale::Diagonal(scale.clone()));
            if search.lbfgs.value.is_finite() && search.lbfgs.gradient.iter().all(|g| g.is_finite()) {
                return Ok(search);
            }
        }
        let mut out = Evaluation::default();
        evaluator.evaluate(&point, 1, false, &mut out);
        Err(not_finite(model, &out))
    }

    /// A chart at the current approximation whose coordinates are whitened by its own spread.
    ///
    /// # Errors
    /// [`SgviError::Improper`] where the posterior is.
    pub(crate) fn whitened(&mut self) -> Result<Chart, SgviError> {
        while !self.is_family() {
            self.enter((self.stage + 1).min(self.stages.len() - 1))?;
        }
        let origin = self.gaussian();
        let scale = curvature::scales(&origin, &self.scale);
        let mean_scale = match &origin.root {
            Root::Cholesky(l) if origin.free.len() == origin.mean.len() => MeanScale::Dense(l.clone()),
            _ => MeanScale::Diagonal(scale),
        };
        Ok(Chart { origin, mean_scale, blocks: self.chart.blocks.clone() })
    }

    /// The current approximation.
    pub(crate) fn gaussian(&self) -> Gaussian {
        self.chart.gaussian(&self.lbfgs.x)
    }

    /// Starts the optimiser of the current stage at the chart's origin.
    fn open(&mut self, mean_scale: MeanScale) {
        let stage = self.stages[self.stage];
        self.chart.mean_scale = mean_scale;
        let seed = derive_seed(self.settings.seed, 100 + stage.draws as u64);
        let w = self.chart.origin.noise_dimension();
        if self.objective.draws != stage.draws || self.objective.noise.len() != stage.draws * w {
            self.objective = Objective::new(self.evaluator, noise::matched(seed, stage.draws, w), stage.draws);
        }
        let x = self.chart.start();
        let mut gradient = Vec::new();
        let value = self.objective.negative_elbo(&self.chart, &x, &mut gradient);
        self.lbfgs = Lbfgs::new(x, value, gradient);
        self.steps = 0;
        self.recent.clear();
    }

    /// Categorical factors moved along their natural gradient, as coordinate ascent would, while the ELBO of the present draws
    /// gains; and the gain. Unlike plain gradients these do not vanish where a factor is sure of a value.
    fn improved(&mut self, mut q: Gaussian) -> (Gaussian, f64) {
        let mut total = 0.0;
        if q.categories.is_empty() {
            return (q, total);
        }
        let (n, mut gradient) = (q.mean.len(), Vec::new());
        let chart = |q: &Gaussian| Chart {
            origin: q.clone(),
            mean_scale: MeanScale::Diagonal(vec![1.0; n]),
            blocks: self.chart.blocks.clone(),
        };
        let mut here = chart(&q);
        let mut value = self.objective.negative_elbo(&here, &here.start(), &mut gradient);
        for _ in 0..MOST_NATURAL {
            let step = categories::natural_gradient(&q.categories, &q.mean, &self.objective.slopes);
            let mut length = 1.0;
            let gain = loop {
                let mut moved = q.clone();
                moved.mean.iter_mut().zip(&step).for_each(|(m, s)| *m += length * s);
                here = chart(&moved);
                let found = self.objective.negative_elbo(&here, &here.start(), &mut gradient);
                if found < value {
                    let gain = value - found;
                    (q, value) = (moved, found);
                    break gain;
                }
                length *= 0.5;
                if length < 0.05 {
                    break 0.0;
                }
            };
            total += gain;
            if gain < NATURAL_GAIN {
                break;
            }
        }
        (q, total)
    }

    /// Moves on to a stage with fresh scales; the first stage is mean-field, later ones are of the family asked for.
    fn enter(&mut self, stage: usize) -> Result<(), SgviError> {
        let mut q = self.gaussian();
        curvature::revive(self.evaluator, &mut q, &self.scale);
        let (q, _) = self.improved(q);
        self.stage = stage;
        let scale = curvature::scales(&q, &self.scale);
        let seed = derive_seed(self.settings.seed, 200 + stage as u64);
        let whitening = if curvature::is_affordable(&q) {
            Whitening::new(self.model, self.evaluator, &q, &scale, seed)?
        } else {
            None
        };
        if whitening.is_none() {
            self.check_growth(&q)?;
        }
        let dense = whitening.as_ref().and_then(|w| curvature::dense_scale(w, &scale));
        let mean_scale = || match &dense {
            Some(p) => MeanScale::Dense(p.clone()),
            None => MeanScale::Diagonal(scale.clone()),
        };
        let sd: Vec<f64> = q.free.iter().map(|&i| scale[i]).collect();
        self.chart.origin = q.clone();
        if self.is_family() {
            self.open(mean_scale());
            return Ok(());
        }
        self.chart.origin.root = diagonal_root(self.settings.family, &sd, self.settings.rank);
        self.open(mean_scale());
        if self.settings.family == VariationalFamily::FullRank
            && let Some(root) = whitening.as_ref().and_then(|w| self.block_root(w, &q.free, &scale))
        {
            let plain = (self.chart.origin.root.clone(), self.lbfgs.value);
            self.chart.origin.root = Root::Cholesky(root);
            self.open(mean_scale());
            if self.lbfgs.value.is_nan() || self.lbfgs.value > plain.1 {
                self.chart.origin.root = plain.0;
                self.open(mean_scale());
            }
        }
        Ok(())
    }

    /// Goes on with the present stage around the present approximation.
    fn reopen(&mut self) {
        self.stage = self.stage.saturating_sub(1);
        self.reopened += 1;
        let mut q = self.gaussian();
        curvature::revive(self.evaluator, &mut q, &self.scale);
        self.chart.origin = q.clone();
        self.open(MeanScale::Diagonal(curvature::scales(&q, &self.scale)));
    }

    /// The curvature's root over the free coordinates, block by block.
    fn block_root(&self, whitening: &Whitening, free: &[usize], scale: &[f64]) -> Option<DMatrix<f64>> {
        let Some(blocks) = &self.chart.blocks else { return whitening.root(free, scale) };
        let k = free.len();
        let mut root = DMatrix::zeros(k, k);
        for first in 0..k {
            let members: Vec<usize> = (0..k).filter(|&j| blocks[first * k + j]).collect();
            if members.first() == Some(&first) {
                let which: Vec<usize> = members.iter().map(|&j| free[j]).collect();
                let part = whitening.root(&which, scale)?;
                for (a, &i) in members.iter().enumerate() {
                    for (b, &j) in members.iter().enumerate() {
                        root[(i, j)] = part[(a, b)];
                    }
                }
            }
        }
        Some(root)
    }

    /// Whether the approximation is already of the family asked for (the first stage is mean-field).
    fn is_family(&self) -> bool {
        matches!(
            (&self.chart.origin.root, self.settings.family),
            (Root::Diagonal(_), VariationalFamily::MeanField)
                | (Root::Cholesky(_), VariationalFamily::FullRank)
                | (Root::LowRank { .. }, VariationalFamily::LowRank)
        )
    }

    /// With too many coordinates for the whole curvature: a coordinate whose spread grew without bound is flat.
    fn check_growth(&self, q: &Gaussian) -> Result<(), SgviError> {
        for (&c, v) in q.free.iter().zip(q.variances()) {
            if v.sqrt() > 1e4 * self.scale[c] {
                let mut direction = vec![0.0; q.mean.len()];
                direction[c] = v.sqrt();
                if !v.is_finite() || curvature::is_flat(self.evaluator, &q.center(), &direction) {
                    direction[c] = 1.0;
                    return Err(curvature::improper(self.model, &direction, &vec![1.0; q.mean.len()]));
                }
            }
        }
        Ok(())
    }

    /// Whether the stage is done, and whether that is because nothing more is to be gained.
    fn stage_over(&self, moved: Step, gain: f64) -> (bool, bool) {
        let stage = self.stages[self.stage];
        let level = (self.settings.tolerance * self.lbfgs.value.abs()).max(gain);
        let slow = self.recent.len() > WINDOW
            && self.recent[self.recent.len() - 1 - WINDOW] - self.lbfgs.value
                <= level.max(0.02 * self.objective.standard_error.min(1.0));
        let done = self.lbfgs.expected_gain <= level || slow || moved == Step::Stuck;
        (done || self.steps >= stage.steps, done)
    }
}

impl Algorithm for Search<'_> {
    type Error = SgviError;

    fn step(&mut self) -> Result<Progress, SgviError> {
        let (chart, objective) = (&self.chart, &mut self.objective);
        let mut error = objective.standard_error;
        let moved = self.lbfgs.step(|x, g| {
            let value = objective.negative_elbo(chart, x, g);
            error = objective.standard_error;
            value
        });
        self.steps += 1;
        if !self.lbfgs.value.is_finite() {
            let seed = derive_seed(self.settings.seed, 400);
            return Err(assess::outside_in_draws(self.model, self.evaluator, &self.gaussian(), seed));
        }
        self.recent.push(self.lbfgs.value);
        let progress = Progress {
            elbo: -self.lbfgs.value,
            standard_error: Some(error),
            converged: Some(false),
            extra: Vec::new(),
        };
        // With nearly constant log weights more draws would find the same optimum: this stage is the last.
        let exact = self.is_family() && error * (self.stages[self.stage].draws as f64).sqrt() < 1e-3;
        let gain = if exact { FINAL_GAIN } else { self.stages[self.stage].gain };
        let (over, done) = self.stage_over(moved, gain);
        if !over {
            return Ok(progress);
        }
        if self.stage + 1 < self.stages.len() && !(exact && done) {
            match self.enter(self.stage + 1) {
                // Far from an optimum a flat direction says nothing: the same stage goes on in fresh scales.
                Err(SgviError::Improper { .. }) if !done && self.reopened < MOST_REOPENED => self.reopen(),
                entered => entered?,
            }
            return Ok(progress);
        }
        if done {
            // A last look at the curvature: an improper posterior has no optimum however small the gains.
            let (q, gain) = self.improved(self.gaussian());
            if gain > 10.0 * NATURAL_GAIN && self.reopened < MOST_REOPENED {
                self.reopened += 1;
                self.chart.origin = q.clone();
                self.open(MeanScale::Diagonal(curvature::scales(&q, &self.scale)));
                return Ok(progress);
            }
            if self.stage == 0 && curvature::is_affordable(&q) {
                let scale = curvature::scales(&q, &self.scale);
                Whitening::new(self.model, self.evaluator, &q, &scale, derive_seed(self.settings.seed, 300))?;
            }
            return Ok(Progress { converged: Some(true), ..progress });
        }
        self.enter(self.stage)?;
        Ok(progress)
    }
}

impl Resumable for Search<'_> {
    fn save(&self, encoder: &mut Encoder) {
        let q = &self.chart.origin;
        encoder.usize(self.stage);
        encoder.usize(self.steps);
        encoder.f64_slice(&q.mean);
        save_root(encoder, &q.root);
        match &self.chart.mean_scale {
            MeanScale::Diagonal(s) => {
                encoder.bool(false);
                encoder.f64_slice(s);
            }
            MeanScale::Dense(p) => {
                encoder.bool(true);
                encoder.f64_slice(p.as_slice());
            }
        }
        encoder.f64_slice(&self.recent);
        self.lbfgs.save(encoder);
    }

    fn load(&mut self, decoder: &mut Decoder<'_>) -> Result<(), CheckpointError> {
        self.stage = decoder.usize()?.min(self.stages.len() - 1);
        let steps = decoder.usize()?;
        self.chart.origin.mean = decoder.f64_vec()?;
        self.chart.origin.root = load_root(decoder, self.chart.origin.free.len())?;
        let n = self.chart.origin.mean.len();
        let dense = decoder.bool()?;
        let scale = decoder.f64_vec()?;
        let mean_scale =
            if dense { MeanScale::Dense(DMatrix::from_column_slice(n, n, &scale)) } else { MeanScale::Diagonal(scale) };
        self.open(mean_scale);
        self.steps = steps;
        self.recent = decoder.f64_vec()?;
        self.lbfgs = Lbfgs::load(decoder)?;
        // The standard error belongs to the last point.
        let mut gradient = Vec::new();
        self.objective.negative_elbo(&self.chart, &self.lbfgs.x.clone(), &mut gradient);
        Ok(())
    }
}

pub(super) fn save_root(encoder: &mut Encoder, root: &Root) {
    match root {
        Root::Diagonal(sd) => {
            encoder.usize(0);
            encoder.f64_slice(sd);
        }
        Root::Cholesky(l) => {
            encoder.usize(1);
            encoder.f64_slice(l.as_slice());
        }
        Root::LowRank { sd, u } => {
            encoder.usize(2);
            encoder.f64_slice(sd);
            encoder.f64_slice(u.as_slice());
        }
    }
}

pub(super) fn load_root(decoder: &mut Decoder<'_>, k: usize) -> Result<Root, CheckpointError> {
    let kind = decoder.usize()?;
    let first = decoder.f64_vec()?;
    Ok(match kind {
        0 => Root::Diagonal(first),
        1 => Root::Cholesky(DMatrix::from_column_slice(k, k, &first)),
        _ => {
            let u = decoder.f64_vec()?;
            let rank = u.len() / k.max(1);
            Root::LowRank { sd: first, u: DMatrix::from_column_slice(k, rank, &u) }
        }
    })
}

/// The stages: rough, better, and as many draws as the model's cost allows.
fn stages(model: &Model, settings: &SearchSettings, free: usize) -> Vec<Stage> {
    if free == 0 {
        // Points alone: nothing is drawn.
        return vec![Stage { draws: 2, gain: FINAL_GAIN, steps: 200 }];
    }
    let cost = model.program.work() + free;
    let enough = match settings.family {
        VariationalFamily::MeanField => 4096,
        VariationalFamily::FullRank => 4096.max(8 * free),
        VariationalFamily::LowRank => 4096.max(8 * settings.rank),
    };
    let least = match settings.family {
        VariationalFamily::MeanField => 128,
        VariationalFamily::FullRank => 256.max(4 * free),
        VariationalFamily::LowRank => 256,
    };
    let last = settings.draws.unwrap_or((40_000_000 / cost.max(1)).min(enough)).max(least);
    let even = |n: usize| n.div_ceil(2) * 2;
    let middle = even(last.min(least.max(256)));
    if settings.draws == Some(0) {
        // A warm-up for stochastic steps.
        return vec![Stage { draws: 32, gain: 0.05, steps: 60 }, Stage { draws: middle, gain: 1e-2, steps: 100 }];
    }
    vec![
        Stage { draws: 32, gain: 0.05, steps: 60 },
        Stage { draws: middle, gain: 1e-3, steps: 100 },
        Stage { draws: even(last), gain: FINAL_GAIN, steps: 100 },
    ]
}

/// A point at which the log joint and its gradient are finite.
fn start(model: &Model, evaluator: &Evaluator, settings: &SearchSettings) -> Result<Vec<f64>, SgviError> {
    let n = model.program.dimension;
    let tries = 64;
    let jitter = noise::independent(derive_seed(settings.seed, 1), tries, n);
    let mut first = None;
    for t in 0..tries {
        let spread = if t == 0 && !settings.jitter { 0.0 } else { 0.1 * (1.0 + t as f64 * 0.1) };
        let theta: Vec<f64> =
            (0..n).map(|i| model.start[i] + spread * model.start_scale[i].min(10.0) * jitter[t * n + i]).collect();
        let mut theta = theta;
        for c in model.categories.iter().flat_map(categories::Category::range) {
            // Equal probabilities are a saddle where values can be exchanged.
            theta[c] += SYMMETRY_BREAKING * jitter[t * n + c];
        }
        let mut point = theta.clone();
        categories::place_probabilities(&model.categories, &mut point);
        let mut out = Evaluation::default();
        evaluator.evaluate(&point, 1, true, &mut out);
        if out.values[0].is_finite() && out.gradients.iter().all(|g| g.is_finite()) {
            return Ok(theta);
        }
        first.get_or_insert(out);
    }
    Err(not_finite(model, &first.unwrap_or_default()))
}

fn not_finite(model: &Model, out: &Evaluation) -> SgviError {
    let n = model.program.dimension;
    let term = out.terms.iter().position(|t| !t.is_finite());
    let (variable, value) = match term {
        Some(t) => (model.program.terms[t].clone(), out.terms[t]),
        None => {
            let at = out.gradients.iter().position(|g| !g.is_finite()).unwrap_or(0);
            let owner = if n == 0 { 0 } else { model.owner[at % n] };
            (model.program.terms.get(owner).cloned().unwrap_or_default(), f64::NAN)
        }
    };
    SgviError::NotFinite { variable, value }
}

/// Whether two free coordinates share a block; `None` where no blocks were asked for.
fn share_blocks(model: &Model, free: &[usize], blocks: &[Vec<String>]) -> Option<Vec<bool>> {
    if blocks.is_empty() {
        return None;
    }
    let block_of = |c: usize| {
        let name = &model.program.terms[model.owner[c]];
        blocks.iter().position(|b| b.contains(name))
    };
    let of: Vec<Option<usize>> = free.iter().map(|&c| block_of(c)).collect();
    let k = free.len();
    Some((0..k * k).map(|at| at / k == at % k || of[at / k].is_some() && of[at / k] == of[at % k]).collect())
}
