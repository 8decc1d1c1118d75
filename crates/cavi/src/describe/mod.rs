//! A model in words: its factors of q, the update of each in mathematical notation, and the work that the plan lays out.

mod notation;
mod symbols;
mod work;

use vi_model::graph::Graph;
use vi_model::inference::Initialization;

use crate::engine::{Start, begins_apart, competing_starts};
use crate::error::CaviError;
use crate::factor::Family;
use crate::lower::{Lowered, lower};
use crate::plan::{Plan, plan};
use crate::posterior::distribution_of;
use crate::program::FactorId;
use notation::Notation;

/// What `describe` says of a model; nothing has been inferred.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Title of the model file.
    pub title: Option<String>,
    /// A table of the named axes.
    pub axes: String,
    /// A table of the variables.
    pub variables: String,
    /// The factors of q, in the order of the file.
    pub factors: Vec<FactorDescription>,
    /// Whether logits are treated by the Jaakkola–Jordan bound.
    pub is_bounded: bool,
    /// The work of an iteration.
    pub work: Work,
}

/// A factor of q and its update.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorDescription {
    /// Name of the variable, or of the block or auxiliary variable.
    pub name: String,
    /// Family of the factor, as the posterior reports it.
    pub family: String,
    /// One factor for each element of these axes (`component 6`), the rows first.
    pub plates: Vec<String>,
    /// Remarks: a point estimate, elements updated one by one, …
    pub remarks: Vec<String>,
    /// The natural parameters: what multiplies each statistic in log q.
    pub update: Vec<Coefficient>,
}

/// What multiplies one statistic in log q*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coefficient {
    /// The statistic, such as `mu²`.
    pub statistic: String,
    /// The summands, such as `Σ_observation E[tau]·y`; none means 0.
    pub terms: Vec<String>,
}

/// What an iteration does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Data rows.
    pub num_rows: usize,
    /// Rows that are worked on together.
    pub chunk_rows: usize,
    /// Tasks that may run in parallel; their results are merged in order.
    pub num_tasks: usize,
    /// Row-level factors in the order of their update.
    pub local_order: Vec<String>,
    /// Those whose means are the same affine map of data features in every row, so that no iteration goes over the rows for them.
    pub affine: Vec<String>,
    /// Columns of these features.
    pub num_affine_features: usize,
    /// The other row-level Gaussians, each with the reason why it is formed in every row.
    pub by_row: Vec<(String, String)>,
    /// The other factors in the order of their update.
    pub global_order: Vec<String>,
    /// The gates that are two matrix products.
    pub gates: Vec<Gate>,
    /// The sums over the rows.
    pub sums: Vec<RowSum>,
    /// Products that need no row.
    pub num_row_free_products: usize,
    /// Bytes of the data arrays and look-ups that stay in memory, of the look-ups alone where no iteration goes over the
    /// rows; `None` where the data are read again in each pass.
    pub data_bytes: Option<usize>,
    /// Bytes of the state of row-level factors that is kept between iterations, of its copy while an extrapolation is
    /// tried, and of the passes along chains; 0 where they are updated on the fly.
    pub row_state_bytes: usize,
    /// Bytes that each thread works in: one chunk of rows.
    pub thread_bytes: usize,
    /// Bytes of the factors and sums, each task's own, the copy and the last states of an extrapolation included, that do not
    /// grow with the rows.
    pub global_bytes: usize,
}

/// A categorical variable of the rows whose logits are one matrix product and whose statistics are another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Name of the variable.
    pub name: String,
    /// Features of a row.
    pub num_features: usize,
    /// Categories.
    pub num_categories: usize,
}

/// A sum over the rows that the updates share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSum {
    /// The product that is summed.
    pub product: String,
    /// Number of values of the sum.
    pub size: usize,
    /// How it is computed, and when.
    pub how: String,
    /// The messages to row-level factors that go with it.
    pub messages: Vec<String>,
}

/// Describes a model without inferring anything: the data are read for their look-ups only.
///
/// # Errors
///
/// As [`crate::Ascent::new`]: refuses models with a part that has no conjugate update.
pub fn describe(graph: &Graph) -> Result<Description, CaviError> {
    let mut lowered = lower(graph)?;
    let before_planning = lowered.clone();
    let plan = plan(&mut lowered)?;
    let notation = Notation::new(&before_planning);
    let factors = (0..before_planning.program.factors.len())
        .map(|f| {
            let mut description = factor(&before_planning, &notation, f);
            description.remarks.extend(start_of(&lowered, &plan, f));
            description
        })
        .collect();
    let work = work::work(&lowered, &plan, &Notation::new(&lowered));
    Ok(Description {
        title: graph.title.clone(),
        axes: graph.axes_table(),
        variables: graph.variables_table(),
        factors,
        is_bounded: lowered.bounded,
        work,
    })
}

/// How a gate begins, where its categories have to be told apart.
fn start_of(lowered: &Lowered, plan: &Plan, f: FactorId) -> Option<String> {
    if !begins_apart(&lowered.program, plan, f, &Start::default()) {
        return None;
    }
    let inference = &lowered.graph.inference;
    Some(match (inference.initialization.unwrap_or_default(), competing_starts(&lowered.program, plan, inference)) {
        (Initialization::Prior, _) => {
            "starts at its prior: categories that are alike there stay alike in every iteration; write initialization = \
             \"auto\" to tell them apart"
                .to_owned()
        }
        (Initialization::Random, _) => "starts at random weights".to_owned(),
        (Initialization::KMeansPlusPlus, _) => {
            "starts at the nearest of centres by k-means++ where there are observations to cluster, else at random weights"
                .to_owned()
        }
        (Initialization::Auto, 1) => {
            "starts at clusters of the observations, or at random weights: which, changes from restart to restart".to_owned()
        }
        (Initialization::Auto, many) => {
            format!("each restart begins at the best of {many} starts: clusters and random weights, after short runs")
        }
    })
}

fn factor(lowered: &Lowered, notation: &Notation<'_>, f: FactorId) -> FactorDescription {
    let graph = &lowered.graph;
    let factor = &lowered.program.factors[f];
    let mut plates = Vec::new();
    if factor.local && !factor.family.is_chain() {
        plates.extend(graph.rows.map(|r| graph.axis_text(r)));
    }
    plates.extend(factor.plate_axes.iter().map(|a| graph.axis_text(*a)));
    let mut remarks = Vec::new();
    if factor.point {
        remarks.push("a point estimate: the mode of what is written here".to_owned());
    }
    if factor.members.len() > 1 {
        let names: Vec<&str> =
            factor.members.iter().filter_map(|m| m.variable).map(|v| graph.variable(v).name.as_str()).collect();
        remarks.push(format!("one joint Gaussian of {}", names.join(", ")));
    }
    if factor.coupled && factor.elements() > 1 {
        remarks.push("its elements meet in one product, so they are updated one after the other".to_owned());
    }
    if factor.family.is_chain() {
        remarks.push("joint over all rows of a sequence, by a forward and a backward pass".to_owned());
    }
    if !factor.conditional_on.is_empty() {
        let names: Vec<&str> =
            factor.conditional_on.iter().map(|&g| lowered.program.factors[g].name.as_str()).collect();
        remarks.push(format!("one copy for each value of {}", names.join(", ")));
    }
    FactorDescription {
        name: factor.name.clone(),
        family: match factor.family {
            Family::JaakkolaJordan | Family::LogGammaTangent => "parameter of the bound".to_owned(),
            family => distribution_of(family, false).to_owned(),
        },
        plates,
        remarks,
        update: notation.update(f),
    }
}

impl Description {
    /// Everything as plain text for a terminal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |content: &str| {
            text.push_str(content);
            text.push('\n');
        };
        if let Some(title) = &self.title {
            line(title);
            line("");
        }
        line(self.axes.trim_end());
        line("");
        line(self.variables.trim_end());
        line("");
        line("factors of q, and what multiplies each statistic in log q*");
        for factor in &self.factors {
            line("");
            let plates = if factor.plates.is_empty() {
                String::new()
            } else {
                format!(" for each {}", factor.plates.join(" × "))
            };
            line(&format!("  q({}): {}{plates}", factor.name, factor.family));
            for remark in &factor.remarks {
                line(&format!("    ({remark})"));
            }
            let width = factor.update.iter().map(|c| c.statistic.chars().count()).max().unwrap_or(0);
            for coefficient in &factor.update {
                let pad = " ".repeat(width - coefficient.statistic.chars().count());
                let first = coefficient.terms.first().map_or("0", String::as_str);
                line(&format!("    {}{pad} : {first}", coefficient.statistic));
                for term in coefficient.terms.iter().skip(1) {
                    let term = match term.strip_prefix('−') {
                        Some(rest) => format!("− {rest}"),
                        None => format!("+ {term}"),
                    };
                    line(&format!("    {} {term}", " ".repeat(width)));
                }
            }
        }
        if self.is_bounded {
            line("");
            line("the logit is bounded (Jaakkola & Jordan 2000): the ELBO reported is a bound on the ELBO");
        }
        line("");
        line("an iteration");
        self.work.write(&mut line);
        text
    }
}
