//! Linear predictors over the rows: data columns times coefficients and look-ups, in one pass for all draws.

use std::sync::Arc;

use vi_families::rows::panels::{GROUP, Panels, total};

use super::elementwise::buffer;
use super::program::{Frame, Operation, Program};
use super::shape::{Source, Value};

/// Where some coefficients of a design matrix come from.
#[derive(Debug, Clone)]
pub(crate) struct Coefficients {
    /// `[width]`, without rows: a latent buffer or constants.
    pub value: Value,
    /// How many columns they belong to.
    pub width: usize,
    /// What they are multiplied by.
    pub factor: f64,
}

/// A design matrix with its coefficients, column by column.
#[derive(Debug, Clone)]
pub(crate) struct Design {
    /// `[rows, columns]`.
    pub panels: Arc<Panels>,
    /// In the order of the columns.
    pub coefficients: Vec<Coefficients>,
    /// Whether all of them are affine functions of the coordinates: opposite draws then have opposite deviations.
    pub is_affine: bool,
    /// Buffer `[columns]` for the coefficients of every draw.
    pub gathered: usize,
    /// Buffer `[columns, GROUP]` for partial sums of their adjoints.
    pub sums: usize,
}

impl Design {
    /// Gathers the coefficients of every draw.
    pub(super) fn gather(&self, program: &Program, frame: &mut Frame) {
        let columns = self.panels.columns();
        let mut gathered = frame.take(self.gathered);
        let mut at = 0;
        for part in &self.coefficients {
            let from = frame.read(program, &part.value);
            let step = if part.value.is_data() { 0 } else { part.width };
            for draw in 0..frame.draws {
                let to = &mut gathered[draw * columns + at..][..part.width];
                for (to, from) in to.iter_mut().zip(&from[draw * step..][..part.width]) {
                    *to = part.factor * from;
                }
            }
            at += part.width;
        }
        frame.put(self.gathered, gathered);
    }

    /// The draws' pairs, where what all of them have in common needs to be multiplied only once.
    fn pairs(&self, frame: &Frame) -> Option<usize> {
        (frame.paired && self.is_affine).then_some(frame.draws / 2)
    }

    /// Gathers the coefficients of every draw; those of pairs as their centre and half their differences, `[1 + pairs, columns]`.
    fn gather_pairs(&self, program: &Program, frame: &mut Frame) {
        self.gather(program, frame);
        let Some(pairs) = self.pairs(frame) else { return };
        let columns = self.panels.columns();
        let gathered = &mut frame.values[self.gathered];
        for pair in 0..pairs {
            for k in 0..columns {
                let (a, b) = (gathered[2 * pair * columns + k], gathered[(2 * pair + 1) * columns + k]);
                if pair == 0 {
                    gathered[k] = 0.5 * (a + b);
                }
                gathered[(1 + pair) * columns + k] = 0.5 * (a - b);
            }
        }
    }

    /// Gives the adjoints' total to all draws alike and each pair its difference.
    fn scatter_pairs(&self, frame: &mut Frame, pairs: usize) {
        let columns = self.panels.columns();
        let share = 0.5 / pairs as f64;
        let mut at = 0;
        for part in &self.coefficients {
            if let Source::Latent(b) = part.value.source {
                let mut adjoint = frame.take_adjoint(b);
                let sums = &frame.values[self.sums];
                for k in 0..part.width {
                    let of = |vector: usize| part.factor * total(&sums[(vector * columns + at + k) * GROUP..][..GROUP]);
                    let even = share * of(0);
                    for pair in 0..pairs {
                        let half = of(1 + pair);
                        adjoint[2 * pair * part.width + k] += even + half;
                        adjoint[(2 * pair + 1) * part.width + k] += even - half;
                    }
                }
                frame.put_adjoint(b, adjoint);
            }
            at += part.width;
        }
    }

    /// Adds up the partial sums and gives them to the adjoints of the coefficients.
    pub(super) fn scatter(&self, frame: &mut Frame) {
        let columns = self.panels.columns();
        let mut at = 0;
        for part in &self.coefficients {
            if let Source::Latent(b) = part.value.source {
                let mut adjoint = frame.take_adjoint(b);
                let sums = &frame.values[self.sums];
                for draw in 0..frame.draws {
                    let from = &sums[(draw * columns + at) * GROUP..];
                    let to = &mut adjoint[draw * part.width..(draw + 1) * part.width];
                    for (to, sums) in to.iter_mut().zip(from.chunks_exact(GROUP)) {
                        *to += part.factor * total(sums);
                    }
                }
                frame.put_adjoint(b, adjoint);
            }
            at += part.width;
        }
    }

    /// Numbers of the partial sums in use.
    pub(super) fn length(&self, frame: &Frame) -> usize {
        frame.draws * self.panels.columns() * GROUP
    }
}

/// factor · base\[codes\[r\]\] · multiplier\[r\], added to a linear predictor.
#[derive(Debug, Clone)]
pub(crate) struct LookUp {
    /// `[levels]`, a latent buffer without rows.
    pub base: Value,
    /// A level for each data row.
    pub codes: Arc<Vec<u32>>,
    /// A number for each data row.
    pub multiplier: Option<Arc<Vec<f64>>>,
    /// A number for all.
    pub factor: f64,
}

/// η\[r\] = Σₖ x\[r, k\] βₖ + Σ look-ups.
#[derive(Debug)]
pub(crate) struct Affine {
    /// x with β.
    pub design: Option<Design>,
    /// The look-ups.
    pub look_ups: Vec<LookUp>,
    /// η, `[rows]`.
    pub output: Value,
}

impl Operation for Affine {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws, start) = (frame.rows, frame.draws, frame.start);
        if frame.opening
            && let Some(design) = &self.design
        {
            design.gather_pairs(program, frame);
        }
        let mut eta = frame.take(out);
        match &self.design {
            Some(design) => {
                let coefficients = &frame.values[design.gathered];
                match design.pairs(frame) {
                    Some(pairs) => design.panels.multiply_pairs(start..start + rows, coefficients, pairs, &mut eta),
                    None => design.panels.multiply(start..start + rows, coefficients, draws, &mut eta),
                }
            }
            None => eta[..draws * rows].fill(0.0),
        }
        for look_up in &self.look_ups {
            let codes = &look_up.codes[start..start + rows];
            let levels = look_up.base.shape.inner();
            let base = frame.read(program, &look_up.base);
            for (eta, base) in eta[..draws * rows].chunks_exact_mut(rows.max(1)).zip(base.chunks_exact(levels)) {
                match &look_up.multiplier {
                    None => {
                        for (eta, &code) in eta.iter_mut().zip(codes) {
                            *eta += look_up.factor * base[code as usize];
                        }
                    }
                    Some(multiplier) => {
                        for ((eta, &code), m) in eta.iter_mut().zip(codes).zip(&multiplier[start..start + rows]) {
                            *eta += look_up.factor * base[code as usize] * m;
                        }
                    }
                }
            }
        }
        frame.put(out, eta);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws, start) = (frame.rows, frame.draws, frame.start);
        if let Some(design) = &self.design {
            let pairs = design.pairs(frame);
            let mut sums = frame.take(design.sums);
            if frame.opening {
                sums[..design.length(frame)].fill(0.0);
            }
            let weights = &frame.adjoints[out];
            match pairs {
                Some(pairs) => design.panels.contract_pairs(start..start + rows, weights, pairs, &mut sums),
                None => design.panels.contract(start..start + rows, weights, draws, &mut sums),
            }
            frame.put(design.sums, sums);
            match pairs {
                _ if !frame.closing => {}
                Some(pairs) => design.scatter_pairs(frame, pairs),
                None => design.scatter(frame),
            }
        }
        for look_up in &self.look_ups {
            let Some(base) = buffer(&look_up.base) else { continue };
            let codes = &look_up.codes[start..start + rows];
            let levels = look_up.base.shape.inner();
            let mut adjoint = frame.take_adjoint(base);
            let g = &frame.adjoints[out][..draws * rows];
            for (g, adjoint) in g.chunks_exact(rows.max(1)).zip(adjoint.chunks_exact_mut(levels)) {
                match &look_up.multiplier {
                    None => {
                        for (g, &code) in g.iter().zip(codes) {
                            adjoint[code as usize] += look_up.factor * g;
                        }
                    }
                    Some(multiplier) => {
                        for ((g, &code), m) in g.iter().zip(codes).zip(&multiplier[start..start + rows]) {
                            adjoint[code as usize] += look_up.factor * g * m;
                        }
                    }
                }
            }
            frame.put_adjoint(base, adjoint);
        }
    }

    fn numbers_read(&self) -> usize {
        self.design.as_ref().map_or(0, |d| d.panels.rows() * d.panels.columns())
    }
}

/// s = Σᵣ (yᵣ − Σₖ x\[r, k\] βₖ)², over rows of its own: those of a triangular factor of the data's.
#[derive(Debug)]
pub(crate) struct SquaredResiduals {
    /// x with β.
    pub design: Design,
    /// y.
    pub targets: Arc<Vec<f64>>,
    /// Buffer `[rows of x]` for the residuals.
    pub residuals: usize,
    /// s.
    pub output: Value,
}

impl Operation for SquaredResiduals {
    fn forward(&self, program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws) = (self.targets.len(), frame.draws);
        self.design.gather(program, frame);
        let (mut s, mut residuals) = (frame.take(out), frame.take(self.residuals));
        self.design.panels.multiply(0..rows, &frame.values[self.design.gathered], draws, &mut residuals);
        for (s, residuals) in s[..draws].iter_mut().zip(residuals.chunks_exact_mut(rows)) {
            let mut sum = 0.0;
            for (r, y) in residuals.iter_mut().zip(self.targets.iter()) {
                *r = y - *r;
                sum += *r * *r;
            }
            *s = sum;
        }
        frame.put(self.residuals, residuals);
        frame.put(out, s);
    }

    fn backward(&self, _program: &Program, frame: &mut Frame, _theta: &[f64]) {
        let Some(out) = buffer(&self.output) else { return };
        let (rows, draws) = (self.targets.len(), frame.draws);
        let (mut residuals, mut sums) = (frame.take(self.residuals), frame.take(self.design.sums));
        for (g, residuals) in frame.adjoints[out][..draws].iter().zip(residuals.chunks_exact_mut(rows)) {
            residuals.iter_mut().for_each(|r| *r *= -2.0 * g);
        }
        sums[..self.design.length(frame)].fill(0.0);
        self.design.panels.contract(0..rows, &residuals, draws, &mut sums);
        frame.put(self.residuals, residuals);
        frame.put(self.design.sums, sums);
        self.design.scatter(frame);
    }
}
