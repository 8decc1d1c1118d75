//! What the rows' operations are made of late: linear predictors and row-level densities, kept as they are written until
//! something reads them, so that sums of columns become one product and a density its term.

use std::sync::Arc;

use vi_families::rows::panels::{GROUP, Panels};
use vi_model::graph::BinaryOperator;

use super::builder::Builder;
use super::gaussian::Gaussian;
use crate::density::Kernel;
use crate::tape::{
    Affine, Binary, Coefficients, DensitySum, Design, Gather, LookUp, ScalarDensity, Shape, Source, Value,
};

/// Data columns of a linear predictor.
#[derive(Debug, Clone)]
pub(super) enum Columns {
    /// One column of ones.
    Ones,
    /// `[rows, width]`.
    Numbers(Arc<Vec<f64>>),
    /// Indicators of the level of each row, times a number for each row.
    Levels(Arc<Vec<u32>>, Option<Arc<Vec<f64>>>),
}

/// An additive piece of a linear predictor.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Columns times their coefficients.
    Columns(Columns, Coefficients),
    /// An element for each row.
    LookUp(LookUp),
}

/// A value over the rows that no operation computes yet.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    /// A sum of pieces.
    Linear(Vec<Piece>),
    /// A log density of aligned arguments.
    Density { kernel: Kernel, arguments: Vec<Value>, skip_missing: bool },
    /// A vector of data in each row less one that sees no rows.
    Deviation { data: Value, centre: Value },
    /// Gaussian log densities of the rows.
    Gaussian(Gaussian),
}

const ROWS: Shape = Shape { rows: true, axes: Vec::new() };

impl Builder {
    pub(super) fn pend(&mut self, pending: Pending, shape: Shape) -> Value {
        let buffer = self.buffer(&shape, true, true);
        self.pending.insert(buffer, pending);
        Value { source: Source::Latent(buffer), shape }
    }

    /// Makes the operation of a value that is about to be read.
    pub(super) fn settle(&mut self, value: &Value) {
        let Source::Latent(buffer) = value.source else { return };
        match self.pending.remove(&buffer) {
            None => {}
            Some(Pending::Linear(pieces)) => self.settle_linear(pieces, value.clone()),
            Some(Pending::Density { kernel, arguments, skip_missing }) => {
                arguments.iter().for_each(|a| self.settle(a));
                let partials = std::array::from_fn(|i| {
                    arguments.get(i).filter(|a| !a.is_data()).map(|_| self.buffer(&value.shape, false, true))
                });
                let operation = ScalarDensity {
                    kernel,
                    arguments: five(&arguments),
                    count: arguments.len(),
                    skip_missing,
                    output: value.clone(),
                    partials,
                };
                self.push(Box::new(operation), true);
            }
            Some(Pending::Deviation { data: left, centre: right }) => {
                let operation = Binary { operator: BinaryOperator::Subtract, left, right, output: value.clone() };
                self.push(Box::new(operation), true);
            }
            Some(Pending::Gaussian(gaussian)) => self.settle_gaussian(gaussian, value.clone()),
        }
    }

    fn settle_linear(&mut self, mut pieces: Vec<Piece>, output: Value) {
        if let [Piece::LookUp(LookUp { base, codes, multiplier: None, factor: 1.0 })] = &pieces[..] {
            let label = base.shape.axes[0].0;
            let operation = Gather { base: base.clone(), label, codes: Arc::clone(codes), output };
            return self.push(Box::new(operation), true);
        }
        let look_ups = pieces
            .extract_if(.., |p| matches!(p, Piece::LookUp(_)))
            .filter_map(|p| if let Piece::LookUp(l) = p { Some(l) } else { None })
            .collect();
        let parts: Vec<(Columns, Coefficients)> =
            pieces.into_iter().filter_map(|p| if let Piece::Columns(x, c) = p { Some((x, c)) } else { None }).collect();
        let design = if parts.is_empty() {
            None
        } else {
            let n = self.program.num_rows;
            let element = places(&parts);
            let panels = Panels::new(n, element.len(), |r, k| element[k].at(r));
            let coefficients = parts.iter().map(|p| p.1.clone()).collect();
            Some(self.design(panels, coefficients, true))
        };
        self.push(Box::new(Affine { design, look_ups, output }), true);
    }

    /// A design with the buffers that it works with.
    pub(super) fn design(&mut self, panels: Panels, coefficients: Vec<Coefficients>, local: bool) -> Design {
        let columns = panels.columns();
        let mut numbers = |n: usize| {
            let label = self.fresh_label();
            self.buffer(&Shape { rows: false, axes: vec![(label, n)] }, false, local)
        };
        let (gathered, sums) = (numbers(columns), numbers(columns * GROUP));
        let is_affine = coefficients.iter().all(|c| self.is_affine(&c.value));
        Design { panels: Arc::new(panels), coefficients, is_affine, gathered, sums }
    }

    /// Whether a value is known to be an affine function of the coordinates.
    pub(super) fn is_affine(&self, value: &Value) -> bool {
        match value.source {
            Source::Latent(b) => self.affine.contains(&b),
            Source::Data(_) => true,
        }
    }

    /// Whether a value is a latent one that sees no rows.
    pub(super) fn is_global(&self, value: &Value) -> bool {
        !value.is_data() && !self.is_local(value)
    }

    /// A value as a sum of pieces, where it is one: pending, a global number, or data over the rows.
    fn pieces(&mut self, value: &Value) -> Option<Vec<Piece>> {
        let constant = |value: &Value| Coefficients { value: value.clone(), width: 1, factor: 1.0 };
        match value.source {
            Source::Latent(b) => match self.pending.get(&b) {
                Some(Pending::Linear(pieces)) => Some(pieces.clone()),
                _ if value.shape == Shape::default() && self.is_global(value) => {
                    Some(vec![Piece::Columns(Columns::Ones, constant(value))])
                }
                _ => None,
            },
            Source::Data(d) => {
                let columns = if value.shape == Shape::default() {
                    Columns::Ones
                } else if value.shape == ROWS {
                    Columns::Numbers(Arc::clone(&self.program.data[d].values))
                } else {
                    return None;
                };
                let coefficient = if value.shape.rows { self.constant(1.0) } else { value.clone() };
                Some(vec![Piece::Columns(columns, constant(&coefficient))])
            }
        }
    }

    /// A sum, difference, product or quotient that is a linear predictor again.
    pub(super) fn linear_binary(&mut self, operator: BinaryOperator, left: &Value, right: &Value) -> Option<Value> {
        if self.eager || left.shape.union(&right.shape) != ROWS || (left.is_data() && right.is_data()) {
            return None;
        }
        let pieces = match operator {
            BinaryOperator::Add | BinaryOperator::Subtract => {
                let (mut pieces, mut other) = (self.pieces(left)?, self.pieces(right)?);
                if operator == BinaryOperator::Subtract {
                    other.iter_mut().for_each(|p| *p.factor() *= -1.0);
                }
                pieces.append(&mut other);
                pieces
            }
            BinaryOperator::Multiply => {
                let (form, by) = if right.is_data() || self.is_global(right) { (left, right) } else { (right, left) };
                // Data over the rows times a number is a column.
                let (form, by) = if form.is_data() { (by, form) } else { (form, by) };
                let pieces = self.pieces(form)?;
                self.multiplied(pieces, by, false)?
            }
            BinaryOperator::Divide => {
                let pieces = self.pieces(left)?;
                if !right.is_data() || left.is_data() {
                    return None;
                }
                self.multiplied(pieces, right, true)?
            }
        };
        Some(self.pend(Pending::Linear(pieces), ROWS))
    }

    /// Pieces times a number or data over the rows, or divided by them.
    fn multiplied(&mut self, mut pieces: Vec<Piece>, by: &Value, divide: bool) -> Option<Vec<Piece>> {
        let power = |x: f64| if divide { 1.0 / x } else { x };
        if let Some(number) = self.number(by).filter(|_| !by.shape.rows) {
            pieces.iter_mut().for_each(|p| *p.factor() *= power(number));
            return Some(pieces);
        }
        if by.shape == ROWS {
            let by = self.numbers(by)?;
            for piece in &mut pieces {
                match piece {
                    Piece::Columns(columns, part) => {
                        let numbers = match columns {
                            Columns::Ones => by.iter().map(|b| power(*b)).collect(),
                            Columns::Numbers(x) => {
                                x.iter().enumerate().map(|(i, x)| x * power(by[i / part.width])).collect()
                            }
                            Columns::Levels(..) => return None,
                        };
                        *columns = Columns::Numbers(Arc::new(numbers));
                    }
                    Piece::LookUp(l) => {
                        let old = l.multiplier.take();
                        let numbers =
                            by.iter().enumerate().map(|(r, b)| power(*b) * old.as_ref().map_or(1.0, |o| o[r]));
                        l.multiplier = Some(Arc::new(numbers.collect()));
                    }
                }
            }
            return Some(pieces);
        }
        if divide || by.shape != Shape::default() || !self.is_global(by) {
            return None;
        }
        for piece in &mut pieces {
            match piece {
                Piece::Columns(_, part) => part.value = self.product(&part.value, by),
                Piece::LookUp(l) => l.base = self.product(&l.base, by),
            }
        }
        Some(pieces)
    }

    /// −η of a linear predictor.
    pub(super) fn linear_negative(&mut self, value: &Value) -> Option<Value> {
        let Source::Latent(b) = value.source else { return None };
        let Some(Pending::Linear(pieces)) = self.pending.get(&b) else { return None };
        let mut pieces = pieces.clone();
        pieces.iter_mut().for_each(|p| *p.factor() *= -1.0);
        Some(self.pend(Pending::Linear(pieces), ROWS))
    }

    /// x·β of a design matrix and a vector.
    pub(super) fn linear_product(&mut self, x: &Value, beta: &Value, width: usize) -> Option<Value> {
        let numbers = self.numbers(x).filter(|_| !self.eager && self.is_global(beta))?;
        let part = Coefficients { value: beta.clone(), width, factor: 1.0 };
        Some(self.pend(Pending::Linear(vec![Piece::Columns(Columns::Numbers(numbers), part)]), ROWS))
    }

    /// An element of a vector for each row.
    pub(super) fn linear_look_up(&mut self, base: &Value, codes: &Arc<Vec<u32>>) -> Option<Value> {
        if self.eager || base.shape.rows || base.shape.axes.len() != 1 || !self.is_global(base) {
            return None;
        }
        let look_up = LookUp { base: base.clone(), codes: Arc::clone(codes), multiplier: None, factor: 1.0 };
        Some(self.pend(Pending::Linear(vec![Piece::LookUp(look_up)]), ROWS))
    }

    /// A density over the rows whose arguments vary by row or are global numbers.
    pub(super) fn row_density(&mut self, kernel: Kernel, arguments: &[&Value], skip_missing: bool) -> Option<Value> {
        let fits = |v: &&Value| v.shape == ROWS || v.shape == Shape::default() && (v.is_data() || self.is_global(v));
        let latent = arguments.iter().any(|a| !a.is_data());
        if self.eager || !arguments.iter().all(fits) || !latent || !arguments.iter().any(|a| a.shape.rows) {
            return None;
        }
        let arguments = arguments.iter().map(|a| (*a).clone()).collect();
        Some(self.pend(Pending::Density { kernel, arguments, skip_missing }, ROWS))
    }

    /// Adds a pending density to a term; whether `input` was one.
    pub(super) fn density_term(
        &mut self,
        input: &Value,
        term: usize,
        weights: Option<&Arc<Vec<f64>>>,
        multiplicity: f64,
    ) -> bool {
        let Source::Latent(buffer) = input.source else { return false };
        let Some(Pending::Density { kernel, arguments, skip_missing }) = self.pending.get(&buffer).cloned() else {
            return false;
        };
        if input.shape != ROWS {
            let keep = if self.in_batches { ROWS } else { Shape::default() };
            let Some(total) = self.sum_by_statistics(input, &keep, weights) else { return false };
            let weights = if self.in_batches { weights.cloned() } else { None };
            self.accumulate(&total, term, weights, multiplicity);
            return true;
        }
        let total = self.collapsed(kernel, &arguments, skip_missing, weights);
        let total = total.or_else(|| self.sum_by_statistics(input, &Shape::default(), weights));
        if let Some(total) = total.or_else(|| self.merged(kernel, &arguments, skip_missing, weights)) {
            self.accumulate(&total, term, None, multiplicity);
            return true;
        }
        arguments.iter().for_each(|a| self.settle(a));
        let partials = std::array::from_fn(|i| {
            arguments.get(i).filter(|a| !a.is_data()).map(|a| self.buffer(&a.shape, false, true))
        });
        let is_complete = self.numbers(&arguments[0]).is_some_and(|x| x.iter().all(|x| !x.is_nan()));
        let operation = DensitySum {
            kernel,
            arguments: five(&arguments),
            skip_missing,
            is_complete,
            partials,
            weights: weights.cloned(),
            multiplicity,
            term,
        };
        self.push(Box::new(operation), true);
        true
    }

    /// The pieces of a linear predictor that nothing has read yet.
    pub(super) fn linear(&self, value: &Value) -> Option<&[Piece]> {
        let Source::Latent(b) = value.source else { return None };
        match self.pending.get(&b) {
            Some(Pending::Linear(pieces)) => Some(pieces),
            _ => None,
        }
    }
}

impl Piece {
    fn factor(&mut self) -> &mut f64 {
        match self {
            Self::Columns(_, part) => &mut part.factor,
            Self::LookUp(look_up) => &mut look_up.factor,
        }
    }
}

/// Up to five arguments; unused places repeat the first.
fn five(arguments: &[Value]) -> [Value; 5] {
    std::array::from_fn(|i| arguments.get(i).unwrap_or(&arguments[0]).clone())
}

/// One column of some data.
pub(super) struct Place<'a> {
    columns: &'a Columns,
    width: usize,
    offset: usize,
}

impl Place<'_> {
    /// The number in a row.
    pub(super) fn at(&self, row: usize) -> f64 {
        match self.columns {
            Columns::Ones => 1.0,
            Columns::Numbers(x) => x[row * self.width + self.offset],
            Columns::Levels(codes, _) if codes[row] as usize != self.offset => 0.0,
            Columns::Levels(_, multiplier) => multiplier.as_ref().map_or(1.0, |m| m[row]),
        }
    }
}

/// Every column, in order.
pub(super) fn places(parts: &[(Columns, Coefficients)]) -> Vec<Place<'_>> {
    parts
        .iter()
        .flat_map(|(columns, part)| (0..part.width).map(move |offset| Place { columns, width: part.width, offset }))
        .collect()
}
