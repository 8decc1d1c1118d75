//! Row-level Gaussians whose means are affine in the row's data: all sums over the rows follow from the data's own moments.
//!
//! Where the precision of q(z_n) is the same in every row and its linear natural parameter is a fixed linear map of data
//! features u_n plus a constant, so is its mean:
//!
//! ```text
//! m_n = Bᵀ(u_n − ū) + c        Σ_n w_n m_n = N c        Σ_n w_n (u_n − ū) m_nᵀ = S B        Σ_n w_n m_n m_nᵀ = BᵀSB + N ccᵀ
//! ```
//!
//! with N = Σ w_n, ū = Σ w_n u_n / N and S = Σ w_n (u_n − ū)(u_n − ū)ᵀ. One pass over the rows gives N, ū and S; then an
//! iteration costs the same for any number of rows. Factors that meet in products of their means are updated in turn and
//! stay affine.

use crate::factor::Family;
use crate::kernel::nest::Nest;
use crate::program::{AxisIndex, FactorId, Label, Operand, Program, ROWS, Source, Step};

use super::access::contraction;
use super::matrix::plain_labels;
use super::{RowGroup, labels_in};

/// Most features: beyond that their moments cost more than the rows.
const MOST_FEATURES: usize = 1024;
/// Rows for each feature at least.
const ROWS_PER_FEATURE: usize = 4;

/// A product of row-level data that messages are linear in.
#[derive(Debug, Clone)]
pub(crate) struct Feature {
    /// The data operands (ids).
    pub(crate) inputs: Vec<usize>,
    /// Their product, from the operands to `[rows, size]`.
    pub(crate) product: Nest,
    /// First of its columns among all features.
    pub(crate) start: usize,
    /// Number of its columns.
    pub(crate) size: usize,
    /// The operands with labels numbered by appearance, which tell features apart.
    key: Vec<(usize, Vec<Label>)>,
}

/// How a group enters.
#[derive(Debug, Clone)]
pub(crate) enum AffineRole {
    /// A mean against data: between an array `[feature, statistic]` and the coefficient or summary.
    Linear {
        /// Index of the feature.
        feature: usize,
        /// From the coefficient to the array.
        message: Box<Nest>,
        /// From the array to the summary.
        summary: Box<Nest>,
    },
    /// A statistic by itself: the group's own loops, over one row.
    Single,
    /// The means of two factors: the group's own loops, over the features and the constant.
    Pair,
}

/// A group of affine factors.
#[derive(Debug, Clone)]
pub(crate) struct AffineGroup {
    /// The group.
    pub(crate) group: usize,
    /// How it enters.
    pub(crate) role: AffineRole,
}

/// The row-level factors that need no pass over the rows.
#[derive(Debug, Clone)]
pub(crate) struct Affine {
    /// The factors, in the order of their update.
    pub(crate) factors: Vec<FactorId>,
    /// What their means are linear in.
    pub(crate) features: Vec<Feature>,
    /// Columns of all features together.
    pub(crate) num_features: usize,
    /// The groups that they are in.
    pub(crate) groups: Vec<AffineGroup>,
    /// Whether some of them depend on each other, so that their means are kept between iterations.
    pub(crate) cyclic: bool,
}

/// Why the mean of a row-level Gaussian is formed in each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ByRow {
    /// The schedule takes the rows in batches.
    Schedule,
    /// Its precision changes from row to row.
    Precision,
    /// A look-up of the row chooses what it meets.
    LookUp,
    /// It meets a factor that is not of this kind.
    Neighbour(FactorId),
    /// Its own elements meet, or more than two means stand in one product.
    Product,
    /// More features than the rows or the memory are worth.
    Features(usize),
}

impl Affine {
    /// The affine ones among the row-level factors `order`, and why the other Gaussians are not.
    pub(crate) fn find(
        program: &Program,
        groups: &[RowGroup],
        order: &[FactorId],
        cyclic: &[FactorId],
        batch: bool,
    ) -> (Option<Self>, Vec<(FactorId, ByRow)>) {
        let gaussian = |f: FactorId| {
            matches!(program.factors[f].family, Family::Normal | Family::NormalVector(_))
                && program.factors[f].conditional_on.is_empty()
        };
        let mut reasons: Vec<Option<ByRow>> = vec![None; program.factors.len()];
        for &f in order {
            if !gaussian(f) {
                reasons[f] = Some(ByRow::Neighbour(f));
            } else if !batch {
                reasons[f] = Some(ByRow::Schedule);
            }
        }
        let members: Vec<Vec<(FactorId, usize)>> = groups.iter().map(|g| statistics(&g.operands)).collect();
        for (group, members) in groups.iter().zip(&members) {
            if let Err(reason) = check(group, members) {
                for &(f, _) in members {
                    reasons[f].get_or_insert_with(|| reason.clone());
                }
            }
        }
        // What meets a factor that is formed by rows is formed by rows.
        loop {
            let mut changed = false;
            for members in &members {
                let Some(&(by_row, _)) = members.iter().find(|(f, _)| reasons[*f].is_some()) else { continue };
                for &(f, _) in members {
                    if reasons[f].is_none() {
                        reasons[f] = Some(ByRow::Neighbour(by_row));
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let mut affine = Self {
            factors: order.iter().copied().filter(|f| reasons[*f].is_none()).collect(),
            features: Vec::new(),
            num_features: 0,
            groups: Vec::new(),
            cyclic: false,
        };
        for (g, (group, members)) in groups.iter().zip(&members).enumerate() {
            if members.iter().any(|(f, _)| affine.factors.contains(f)) {
                let role = affine.role(program, g, group, members);
                affine.groups.push(AffineGroup { group: g, role });
            }
        }
        if affine.num_features > MOST_FEATURES || affine.num_features * ROWS_PER_FEATURE > program.num_rows {
            affine.factors.iter().for_each(|f| reasons[*f] = Some(ByRow::Features(affine.num_features)));
            affine.factors.clear();
        }
        affine.cyclic = affine.factors.iter().any(|f| cyclic.contains(f));
        let by_row = order.iter().filter(|f| gaussian(**f)).filter_map(|f| Some((*f, reasons[*f].clone()?))).collect();
        ((!affine.factors.is_empty()).then_some(affine), by_row)
    }

    fn role(&mut self, program: &Program, g: usize, group: &RowGroup, members: &[(FactorId, usize)]) -> AffineRole {
        let data: Vec<&Operand> = group.operands.iter().filter(|o| matches!(o.source, Source::Data(_))).collect();
        if data.is_empty() {
            return if members.len() == 1 { AffineRole::Single } else { AffineRole::Pair };
        }
        let labels: Vec<Label> = data_labels(&data);
        let feature = self.feature(program, &data, &labels);
        let statistic = group.operands.iter().find(|o| matches!(o.source, Source::Statistic { .. }));
        // [feature, statistic], without the row.
        let mut index: Vec<AxisIndex> = labels.iter().copied().map(AxisIndex::label).collect();
        let mut shape: Vec<usize> = labels.iter().map(|l| program.labels[*l].size).collect();
        if let Some(statistic) = statistic {
            index.extend(statistic.index[1..].iter().cloned());
            shape.extend(program.shape(statistic.source));
        }
        let array = Operand { source: Source::Summary(usize::MAX), index };
        let coefficient = Operand { source: Source::Summary(g), index: group.index.clone() };
        let shapes = |o: &Operand| if *o == array { shape.clone() } else { group.shape.clone() };
        let message = contraction(program, &[&coefficient], Some(&array), None, &shapes, &|_| false);
        let summary = contraction(program, &[&array], Some(&coefficient), None, &shapes, &|_| false);
        AffineRole::Linear { feature, message: Box::new(message), summary: Box::new(summary) }
    }

    /// The position of a product of data among the features.
    fn feature(&mut self, program: &Program, data: &[&Operand], labels: &[Label]) -> usize {
        let inputs: Vec<usize> =
            data.iter().filter_map(|o| if let Source::Data(i) = o.source { Some(i) } else { None }).collect();
        let number = |l: &Label| labels.iter().position(|x| x == l).unwrap_or(labels.len());
        let key: Vec<(usize, Vec<Label>)> = inputs
            .iter()
            .zip(data)
            .map(|(i, o)| (*i, plain_labels(o).unwrap_or_default().iter().map(number).collect()))
            .collect();
        if let Some(found) = self.features.iter().position(|f| f.key == key) {
            return found;
        }
        let shape: Vec<usize> = labels.iter().map(|l| program.labels[*l].size).collect();
        let output = Operand {
            source: Source::Summary(usize::MAX),
            index: std::iter::once(ROWS).chain(labels.iter().copied()).map(AxisIndex::label).collect(),
        };
        let shapes = |o: &Operand| if *o == output { shape.clone() } else { program.shape(o.source) };
        let product = contraction(program, data, Some(&output), Some(ROWS), &shapes, &|_| true);
        let size = shape.iter().product();
        self.features.push(Feature { inputs, product, start: self.num_features, size, key });
        self.num_features += size;
        self.features.len() - 1
    }
}

/// The row-level statistics of a product, as (factor, statistic).
fn statistics(operands: &[Operand]) -> Vec<(FactorId, usize)> {
    operands
        .iter()
        .filter_map(|o| match o.source {
            Source::Statistic { factor, statistic } => Some((factor, statistic)),
            _ => None,
        })
        .collect()
}

/// Labels of data operands but for the row, in order of first appearance.
fn data_labels(data: &[&Operand]) -> Vec<Label> {
    let owned: Vec<Operand> = data.iter().map(|o| (*o).clone()).collect();
    labels_in(&owned).into_iter().filter(|l| *l != ROWS).collect()
}

/// Whether a group keeps the means of its factors affine.
fn check(group: &RowGroup, members: &[(FactorId, usize)]) -> Result<(), ByRow> {
    let steps = |axes: &[AxisIndex]| -> Vec<Step> { axes.iter().flat_map(|a| &a.parts).map(|p| p.0).collect() };
    let looked_up = |axes: &[AxisIndex]| steps(axes).iter().any(|s| matches!(s, Step::Codes(_)));
    if looked_up(&group.index) || group.operands.iter().any(|o| looked_up(&o.index)) {
        return Err(ByRow::LookUp);
    }
    for operand in &group.operands {
        let plain = match operand.source {
            Source::Data(_) => plain_labels(operand).is_some(),
            _ => {
                operand.index.first() == Some(&AxisIndex::label(ROWS))
                    && !steps(&operand.index[1..]).contains(&Step::Label(ROWS))
            }
        };
        if !plain {
            return Err(ByRow::LookUp);
        }
    }
    let has_data = group.operands.len() > members.len();
    match (members, has_data) {
        ([] | [(_, 0)], _) | ([(_, 1)], false) => Ok(()),
        ([(_, 1)], true) => Err(ByRow::Precision),
        ([(a, 0), (b, 0)], false) if a != b => Ok(()),
        ([(a, 0), (b, 0)], true) if a != b => Err(ByRow::Precision),
        ([(a, _), (b, _)], _) if a != b => Err(ByRow::Precision),
        _ => Err(ByRow::Product),
    }
}
