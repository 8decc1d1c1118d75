//! Every message is the gradient of the expected log joint, every update a unit natural-gradient step: over all reference models.

use std::collections::BTreeSet;
use std::path::Path;

use super::Engine;
use super::local::{StoredPart, Workspace};
use crate::factor::{Family, update};
use crate::fit::Ascent;
use crate::program::FactorId;
use vi_run::executor::{Algorithm, Restart};

/// Most coordinates of one statistic that are tried.
const MOST: usize = 9;

/// Engines of all reference models after two iterations, with their names.
fn engines() -> Vec<(String, Engine)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let mut found = Vec::new();
    for folder in ["chains", "closed-forms", "gates", "mean-field", "points", "structures"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "toml")) {
            let mut graph = vi_model::load(&path).unwrap();
            graph.inference.initialization = Some(vi_model::inference::Initialization::Random);
            let mut ascent = Ascent::new(&graph).unwrap();
            ascent.restart(Restart { index: 1, seed: 5 }).unwrap();
            ascent.step().unwrap();
            ascent.step().unwrap();
            found.push((path.display().to_string(), ascent.engine));
        }
    }
    assert!(found.len() > 100, "{} models", found.len());
    found
}

/// Evenly spread coordinates.
fn some(length: usize) -> impl Iterator<Item = usize> {
    let step = length.div_ceil(MOST).max(1);
    (0..length).step_by(step)
}

/// The expected log joint without the entropies.
fn energy(engine: &Engine) -> f64 {
    engine.elbo() - engine.entropy.iter().sum::<f64>()
}

/// Kinds of factor that were met.
fn kind(family: Family) -> String {
    format!("{family:?}").split('(').next().unwrap_or_default().to_owned()
}

/// Differences that are too large.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn compare(&mut self, what: &str, by_differences: f64, by_message: f64, allowed: f64) {
        if (by_differences - by_message).abs() > allowed || by_differences.is_nan() {
            self.0.push(format!("{what}: {by_differences} by differences, {by_message} by the message"));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} differ:\n{}", self.0.len(), self.0[..self.0.len().min(40)].join("\n"));
    }
}

#[test]
fn messages_to_global_factors_are_gradients() {
    let (mut kinds, mut wrong) = (BTreeSet::new(), Wrong::default());
    for (name, mut engine) in engines() {
        for f in 0..engine.statistics.len() {
            let factor = engine.lowered.program.factors[f].clone();
            // A copy for each category is weighted by its indicator in the log joint, but not in its own update.
            if (factor.local && !factor.family.is_chain()) || !factor.conditional_on.is_empty() {
                continue;
            }
            engine.gather(f, false);
            let size = engine.magnitude();
            for s in 0..factor.family.num_statistics() {
                for i in some(engine.statistics[f][s].len()) {
                    let kept = engine.statistics[f][s][i];
                    let h = 1e-3 * (1.0 + kept.abs());
                    let mut at = |x: f64| {
                        engine.statistics[f][s][i] = x;
                        energy(&engine)
                    };
                    // The expected log joint is at most quadratic in one statistic: central differences are exact.
                    let slope = (at(kept + h) - at(kept - h)) / (2.0 * h);
                    at(kept);
                    let what = format!("{name}: {} statistic {s} at {i}", factor.name);
                    wrong.compare(&what, slope, engine.natural[f][s][i], 1e-9 * (1.0 + slope.abs()) + 1e-12 * size / h);
                }
            }
            kinds.insert(kind(factor.family));
        }
    }
    wrong.none();
    for wanted in [
        "Normal",
        "NormalVector",
        "Gamma",
        "InverseGamma",
        "Wishart",
        "NormalGamma",
        "NormalGammaVector",
        "NormalWishart",
        "Beta",
        "Dirichlet",
        "Categorical",
        "Bernoulli",
        "MarkovChain",
        "GaussianMarkovChain",
    ] {
        assert!(kinds.contains(wanted), "no model with {wanted}: {kinds:?}");
    }
}

#[test]
fn updates_of_global_factors_are_unit_natural_gradient_steps() {
    let mut wrong = Wrong::default();
    for (name, mut engine) in engines() {
        for f in engine.plan.global_order.clone() {
            let factor = engine.lowered.program.factors[f].clone();
            if factor.point || !factor.conditional_on.is_empty() || factor.family == Family::TruncatedNormal {
                continue;
            }
            // Between the prior and the update: η = m + (prior − m)/10, where ∇L in the expectations is m − η.
            engine.gather(f, true);
            let prior = engine.natural[f].clone();
            engine.gather(f, false);
            for (own, prior) in engine.natural[f].iter_mut().zip(&prior) {
                own.iter_mut().zip(prior).for_each(|(m, p)| *m += 0.1 * (p - *m));
            }
            let eta = engine.natural[f].clone();
            let elements = 0..factor.elements();
            if engine.update_elements(f, elements.clone()).is_err() {
                continue;
            }
            // Elements that meet in one product send messages to each other.
            engine.gather(f, false);
            let message = std::mem::replace(&mut engine.natural[f], eta.clone());
            for s in 0..eta.len() {
                for i in some(eta[s].len()).filter(|&i| eta[s][i].is_finite()) {
                    let h = 1e-5 * (1.0 + eta[s][i].abs());
                    let mut at = |x: f64| {
                        engine.natural[f][s][i] = x;
                        engine.update_elements(f, elements.clone()).unwrap();
                        (engine.elbo(), engine.statistics[f].clone())
                    };
                    let (above, upper) = at(eta[s][i] + h);
                    let (below, lower) = at(eta[s][i] - h);
                    at(eta[s][i]);
                    let slope = (above - below) / (2.0 * h);
                    // ∇_η L = (∂μ/∂η)ᵀ (m − η): the natural gradient, F⁻¹∇_η L, is m − η, and a unit step ends at m.
                    let (mut expected, mut size) = (0.0, 0.0);
                    for t in 0..eta.len() {
                        for j in 0..eta[t].len() {
                            let change = (upper[t][j] - lower[t][j]) / (2.0 * h);
                            if change != 0.0 {
                                expected += change * (message[t][j] - eta[t][j]);
                                size += (change * (message[t][j] - eta[t][j])).abs();
                            }
                        }
                    }
                    let what = format!("{name}: {} natural parameter {s} at {i}", factor.name);
                    wrong.compare(&what, slope, expected, 1e-5 * (1e-3 + size) + 1e-13 * engine.magnitude() / h);
                }
            }
            // After the unit step nothing is left to gain.
            engine.natural[f].clone_from(&message);
            engine.update_elements(f, elements).unwrap();
            let reached = engine.statistics[f].clone();
            if !factor.coupled {
                engine.update_global(f).unwrap();
                assert_eq!(engine.statistics[f], reached, "{name}: {}", factor.name);
            }
        }
    }
    wrong.none();
}

/// Σ ⟨summary, coefficient⟩ over the groups with row-level factors, from the statistics in the workspace.
fn row_energy(engine: &Engine, count: usize, codes: &[&[u32]], workspace: &Workspace) -> (f64, f64) {
    let rows = 0..count;
    let (mut total, mut size) = (0.0, 0.0);
    for (group, coefficient) in engine.plan.groups.iter().zip(&engine.coefficients).filter(|(g, _)| g.dynamic) {
        let inputs: Vec<&[f64]> =
            (0..group.operands.len()).map(|o| engine.operand(group, o, &rows, workspace)).collect();
        // Second moments of a chain whose rows share one precision are not kept; no other statistic is in their products.
        if inputs.iter().any(|i| i.is_empty()) {
            continue;
        }
        let mut summary = vec![0.0; group.size()];
        group.summary.run(count, codes, &inputs, 1.0, None, &mut summary);
        for (s, c) in summary.iter().zip(coefficient) {
            total += s * c;
            size += (s * c).abs();
        }
    }
    (total, size)
}

/// The first rows of an engine, their factors updated one after another.
fn with_workspace(engine: &mut Engine, mut check: impl FnMut(&Engine, FactorId, usize, &[&[u32]], &mut Workspace)) {
    engine.compute_coefficients();
    let engine = &*engine;
    let count = engine.lowered.program.num_rows.min(3);
    let rows = 0..count;
    let mut kept: Vec<Vec<Vec<f64>>> = (0..engine.stored.len())
        .map(|f| {
            let arrays = engine.stored[f].iter().enumerate();
            arrays.map(|(s, a)| a.get(..count * engine.row_size(f, s)).map_or_else(Vec::new, <[f64]>::to_vec)).collect()
        })
        .collect();
    let part: StoredPart<'_> = kept.iter_mut().map(|f| f.iter_mut().map(Vec::as_mut_slice).collect()).collect();
    let mut workspace = Workspace::default();
    engine.reader.read(rows.clone(), &mut workspace.data).unwrap();
    engine.load(&mut workspace, count, &rows, &part);
    engine.load_affine(&rows, &mut workspace);
    let codes = engine.reader.codes(rows.clone());
    for &f in &engine.plan.local_order {
        engine.messages(f, &rows, &codes, &mut workspace);
        if !engine.lowered.program.factors[f].family.is_chain() {
            engine.update_rows(f, &rows, None, &mut workspace).unwrap();
        }
    }
    for &f in &engine.plan.local_order {
        engine.messages(f, &rows, &codes, &mut workspace);
        check(engine, f, count, &codes, &mut workspace);
    }
}

#[test]
fn messages_to_factors_of_the_rows_are_gradients() {
    let (mut kinds, mut wrong) = (BTreeSet::new(), Wrong::default());
    for (name, mut engine) in engines() {
        with_workspace(&mut engine, |engine, f, count, codes, workspace| {
            let factor = &engine.lowered.program.factors[f];
            let categories = factor.elements();
            for s in 0..factor.family.num_statistics() {
                for i in some(workspace.statistics[f][s].len()) {
                    let kept = workspace.statistics[f][s][i];
                    let h = 1e-3 * (1.0 + kept.abs());
                    let mut at = |x: f64| {
                        workspace.statistics[f][s][i] = x;
                        row_energy(engine, count, codes, workspace)
                    };
                    let ((above, size), (below, _)) = (at(kept + h), at(kept - h));
                    at(kept);
                    let slope = (above - below) / (2.0 * h);
                    // A copy for each category is weighted by its indicator in the log joint, but not in its own update.
                    let weight = match factor.conditional_on[..] {
                        [gate] => {
                            let element = i / factor.family.statistic_size(s).max(1);
                            assert_eq!(
                                workspace.statistics[gate][0].len(),
                                count * categories,
                                "{name}: {}",
                                factor.name
                            );
                            workspace.statistics[gate][0][element]
                        }
                        _ => 1.0,
                    };
                    let message = weight * workspace.natural[f][s][i];
                    let what = format!("{name}: {} statistic {s} at {i}", factor.name);
                    wrong.compare(&what, slope, message, 1e-9 * (1.0 + slope.abs()) + 1e-12 * size / h);
                }
            }
            kinds.insert(kind(factor.family));
        });
    }
    wrong.none();
    for wanted in [
        "Normal",
        "NormalVector",
        "Gamma",
        "Categorical",
        "Beta",
        "Dirichlet",
        "Bernoulli",
        "TruncatedNormal",
        "JaakkolaJordan",
        "MarkovChain",
        "GaussianMarkovChain",
        "MarkovSteps",
        "GaussianSteps",
        "LaplaceScale",
        "PartialNormal",
        "Partial",
    ] {
        assert!(kinds.contains(wanted), "no model with {wanted}: {kinds:?}");
    }
}

#[test]
fn entropies_of_factors_of_the_rows_have_the_gradient_of_their_family() {
    let (mut kinds, mut wrong) = (BTreeSet::new(), Wrong::default());
    for (name, mut engine) in engines() {
        with_workspace(&mut engine, |engine, f, count, _, workspace| {
            let factor = &engine.lowered.program.factors[f];
            let family = factor.family;
            // The message of a side of zero, and what is observed of a vector, are no parameters to move.
            let free = match family {
                Family::TruncatedNormal => 2,
                Family::PartialNormal(_) => 0,
                Family::Partial(part) => part.whole().num_statistics(),
                _ => family.num_statistics(),
            };
            if factor.point || family.is_chain() || count == 0 {
                return;
            }
            let sizes: Vec<usize> = (0..family.num_statistics()).map(|s| family.statistic_size(s)).collect();
            let eta: Vec<Vec<f64>> = sizes.iter().zip(&workspace.natural[f]).map(|(n, a)| a[..*n].to_vec()).collect();
            let at = |s: usize, i: usize, x: f64| {
                let mut moved = eta.clone();
                moved[s][i] = x;
                let mut statistics: Vec<Vec<f64>> = sizes.iter().map(|n| vec![0.0; *n]).collect();
                let natural: Vec<&[f64]> = moved.iter().map(Vec::as_slice).collect();
                let mut expected: Vec<&mut [f64]> = statistics.iter_mut().map(Vec::as_mut_slice).collect();
                let entropy = update(family, false, &natural, &mut expected).unwrap();
                (entropy, statistics)
            };
            for s in 0..free {
                for i in some(sizes[s]).filter(|&i| eta[s][i].is_finite()) {
                    let h = 1e-5 * (1.0 + eta[s][i].abs());
                    let ((above, upper), (below, lower)) = (at(s, i, eta[s][i] + h), at(s, i, eta[s][i] - h));
                    // ∇_η H = −(∂μ/∂η)ᵀ η
                    let (mut expected, mut size) = (0.0, 0.0);
                    for t in 0..eta.len() {
                        for j in (0..sizes[t]).filter(|&j| eta[t][j].is_finite()) {
                            let part = (upper[t][j] - lower[t][j]) / (2.0 * h) * eta[t][j];
                            expected -= part;
                            size += part.abs();
                        }
                    }
                    let what = format!("{name}: entropy of {} in natural parameter {s} at {i}", factor.name);
                    wrong.compare(&what, (above - below) / (2.0 * h), expected, 1e-5 * (1e-2 + size));
                }
            }
            kinds.insert(kind(family));
        });
    }
    wrong.none();
    assert!(kinds.len() > 8, "{kinds:?}");
}
