//! Profiles: what the rows say of a person, a document, a level, as sparse points that can be clustered.
//!
//! A unit is a level of a look-up (or a row). Its coordinates are the observed numbers of its rows, each at the place of the
//! other look-ups in the same product (the tie with another person, the answer to an item), or, where products
//! hold no number, how often each observed category occurs in its rows, as the square root of its share, so that
//! distances are those of Hellinger.

use std::collections::{BTreeSet, HashMap};

use super::Engine;
use super::centres::Points;
use super::rows::ChunkData;
use crate::error::CaviError;
use crate::kernel::nest::MISSING;
use crate::program::{FactorId, Operand, RowData, Source, Step, Transform};

/// Rows read at a time.
const CHUNK: usize = 1024;
/// Most observations that are collected (they take 24 bytes each).
const MOST_OBSERVATIONS: usize = 1 << 24;

/// An observation beside a gate: a number, a category or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sighting {
    /// The look-up of the gate itself, for a gate that is not of the rows.
    pub(super) own: Option<usize>,
    /// The row-level data array.
    pub(super) data: Option<usize>,
    /// The other look-ups in the product, sorted.
    pub(super) others: Vec<usize>,
}

/// A data array and the levels of the other look-ups by their axes: where the coordinates of an observation begin.
type Place = (Option<usize>, Vec<(usize, u32)>);

/// What a profile is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Row,
    Level(usize),
    /// The elements of the gate itself.
    Own,
}

/// Look-ups along the axes of an operand.
fn codes_of(operand: &Operand) -> Vec<usize> {
    let steps = operand.index.iter().flat_map(|a| &a.parts);
    steps.filter_map(|(step, _)| if let Step::Codes(c) = step { Some(*c) } else { None }).collect()
}

impl Engine {
    /// The observations that stand in products with a gate outside its own prior. Where some are numbers, only these.
    pub(super) fn sightings(&self, f: FactorId) -> Vec<Sighting> {
        let program = &self.lowered.program;
        let owner = program.factors[f].owner;
        let mut found = BTreeSet::new();
        for term in program.terms.iter().filter(|t| t.owner != owner) {
            for (position, operand) in term.operands.iter().enumerate() {
                if !matches!(operand.source, Source::Statistic { factor, statistic: 0 } if factor == f) {
                    continue;
                }
                let own = codes_of(operand);
                let rest = || term.operands.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, o)| o);
                let mut others: Vec<usize> = rest().flat_map(codes_of).filter(|c| !own.contains(c)).collect();
                others.sort_unstable();
                others.dedup();
                let sighting = |data| Sighting { own: own.first().copied(), data, others: others.clone() };
                let data: Vec<usize> = rest()
                    .filter_map(|o| match o.source {
                        Source::Data(i) if self.is_observation(i) => Some(i),
                        _ => None,
                    })
                    .collect();
                if data.is_empty() && !others.is_empty() {
                    found.insert(sighting(None));
                }
                found.extend(data.into_iter().map(|i| sighting(Some(i))));
            }
        }
        let numbers = found.iter().any(|s| s.data.is_some());
        found.into_iter().filter(|s| s.data.is_some() == numbers).collect()
    }

    /// Whether a data array holds values as they were observed, not a function of them.
    fn is_observation(&self, data: usize) -> bool {
        matches!(
            self.lowered.program.data[data].data,
            RowData::Expression { transform: Transform::Identity, .. } | RowData::OneHot { .. }
        )
    }

    /// The profiles of all units; `None` where there are too many observations.
    pub(super) fn profiles(&self, sightings: &[Sighting], unit: Unit) -> Result<Option<Points>, CaviError> {
        let program = &self.lowered.program;
        let rows = program.num_rows;
        let widths: Vec<usize> = sightings.iter().map(|s| s.data.map_or(1, |i| self.reader.width(i))).collect();
        if rows.saturating_mul(widths.iter().sum()) > MOST_OBSERVATIONS {
            return Ok(None);
        }
        let mut places: HashMap<Place, u32> = HashMap::new();
        let mut width = 0_u32;
        let mut observations: Vec<(u32, u32, f64, f64)> = Vec::new();
        let mut units = 0;
        let mut chunk = ChunkData::default();
        for first in (0..rows).step_by(CHUNK) {
            let range = first..(first + CHUNK).min(rows);
            self.reader.read(range.clone(), &mut chunk)?;
            let codes = self.reader.codes(range.clone());
            let weights = self.reader.weights(&range, &chunk);
            for (r, row) in range.clone().enumerate() {
                for (sighting, &own_width) in sightings.iter().zip(&widths) {
                    let own = match unit {
                        Unit::Row => row as u32,
                        Unit::Level(c) => codes[c][r],
                        Unit::Own => sighting.own.map_or(MISSING, |c| codes[c][r]),
                    };
                    let at: Vec<(usize, u32)> =
                        sighting.others.iter().map(|&c| (program.codes[c].axis.0, codes[c][r])).collect();
                    if own == MISSING || at.iter().any(|(_, code)| *code == MISSING) {
                        continue;
                    }
                    units = units.max(own as usize + 1);
                    let place = *places.entry((sighting.data, at)).or_insert_with(|| {
                        width += own_width as u32;
                        width - own_width as u32
                    });
                    let weight = weights.map_or(1.0, |w| w[r]);
                    match sighting.data {
                        None => observations.push((own, place, weight, weight)),
                        Some(i) => {
                            let values = &self.reader.array(i, &range, &chunk)[r * own_width..(r + 1) * own_width];
                            let entries = (place..).zip(values);
                            observations.extend(entries.map(|(column, x)| (own, column, weight * x, weight)));
                        }
                    }
                }
            }
        }
        observations.sort_by_key(|o| (o.0, o.1));
        let shares = sightings.iter().all(|s| s.data.is_none());
        let mut points = Points::new(width as usize);
        let mut left = &observations[..];
        for u in 0..units as u32 {
            let (own, rest) = left.split_at(left.partition_point(|o| o.0 == u));
            left = rest;
            let total: f64 = own.iter().map(|o| o.3).sum();
            let merged = own.chunk_by(|a, b| a.1 == b.1).map(|same| {
                let (sum, count) = same.iter().fold((0.0, 0.0), |(s, c), o| (s + o.2, c + o.3));
                let whole = if shares { total } else { count };
                let value = if whole > 0.0 { sum / whole } else { 0.0 };
                (same[0].1, if shares { value.sqrt() } else { value })
            });
            points.push(merged);
        }
        Ok(Some(points))
    }
}
