//! Models back as text: expressions, distributions and a table of the variables.

use crate::expression::is_plain_name;
use crate::graph::{
    AxisId, AxisKind, BinaryOperator, Distribution, Function, Graph, IndexSource, NodeId, NodeKind, Observation,
    PrecisionOrSd, Probability, RateOrScale, Spread, VariableId, WishartScale,
};

/// Longest constant that is written out.
const LONGEST_CONSTANT: usize = 40;

impl Distribution {
    /// Its name in the model language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Normal { .. } | Self::NormalJoint { .. } => "normal",
            Self::NormalGamma { .. } => "normal-gamma",
            Self::NormalWishart { .. } => "normal-wishart",
            Self::Gamma { .. } => "gamma",
            Self::InverseGamma { .. } => "inverse-gamma",
            Self::Wishart { .. } => "wishart",
            Self::Beta { .. } => "beta",
            Self::Dirichlet { .. } => "dirichlet",
            Self::StickBreaking { .. } => "stick-breaking",
            Self::Bernoulli { .. } => "bernoulli",
            Self::Binomial { .. } => "binomial",
            Self::Categorical { .. } => "categorical",
            Self::Multinomial { .. } => "multinomial",
            Self::Poisson { .. } => "poisson",
            Self::Exponential { .. } => "exponential",
            Self::StudentT { .. } => "student-t",
            Self::MarkovChain { .. } => "markov-chain",
            Self::GaussianMarkovChain { .. } => "gaussian-markov-chain",
            Self::HalfNormal { .. } => "half-normal",
            Self::HalfCauchy { .. } => "half-cauchy",
            Self::HalfStudentT { .. } => "half-student-t",
            Self::Cauchy { .. } => "cauchy",
            Self::Laplace { .. } => "laplace",
            Self::LogNormal { .. } => "log-normal",
            Self::Logistic { .. } => "logistic",
            Self::Uniform { .. } => "uniform",
            Self::NegativeBinomial { .. } => "negative-binomial",
            Self::Flat => "flat",
        }
    }

    /// Its parameters with their keys in the model language, in the order of the reference.
    pub fn parameters(&self) -> Vec<(&'static str, NodeId)> {
        let of_scale = |scale: &WishartScale| match scale {
            WishartScale::Scale(n) => ("scale", *n),
            WishartScale::InverseScale(n) => ("inverse_scale", *n),
        };
        let of_probability = |p: &Probability| match p {
            Probability::Probability(n) => ("probability", *n),
            Probability::Logit(n) => ("logit", *n),
            Probability::Probit(n) => ("probit", *n),
        };
        match self {
            Self::Normal { mean, spread, .. } => {
                let spread = match spread {
                    Spread::Precision(n) => ("precision", *n),
                    Spread::Variance(n) => ("variance", *n),
                    Spread::StandardDeviation(n) => ("sd", *n),
                    Spread::Covariance(n) => ("covariance", *n),
                };
                vec![("mean", *mean), spread]
            }
            Self::NormalJoint { parameters } => vec![("parameters", *parameters)],
            Self::NormalGamma { mean, mean_precision, shape, rate } => {
                vec![("mean", *mean), ("mean_precision", *mean_precision), ("shape", *shape), ("rate", *rate)]
            }
            Self::NormalWishart { mean, mean_precision, degrees_of_freedom, scale } => vec![
                ("mean", *mean),
                ("mean_precision", *mean_precision),
                ("degrees_of_freedom", *degrees_of_freedom),
                of_scale(scale),
            ],
            Self::Gamma { shape, rate } => vec![
                ("shape", *shape),
                match rate {
                    RateOrScale::Rate(n) => ("rate", *n),
                    RateOrScale::Scale(n) => ("scale", *n),
                },
            ],
            Self::InverseGamma { shape, scale } => vec![("shape", *shape), ("scale", *scale)],
            Self::Wishart { degrees_of_freedom, scale } => {
                vec![("degrees_of_freedom", *degrees_of_freedom), of_scale(scale)]
            }
            Self::Beta { alpha, beta } => vec![("alpha", *alpha), ("beta", *beta)],
            Self::Dirichlet { concentration } | Self::StickBreaking { concentration } => {
                vec![("concentration", *concentration)]
            }
            Self::Bernoulli { probability } => vec![of_probability(probability)],
            Self::Binomial { trials, probability } => vec![("trials", *trials), of_probability(probability)],
            Self::Categorical { probabilities, logits, .. } => {
                vec![(if *logits { "logits" } else { "probabilities" }, *probabilities)]
            }
            Self::Multinomial { probabilities, .. } => vec![("probabilities", *probabilities)],
            Self::Poisson { rate, log } => vec![(if *log { "log_rate" } else { "rate" }, *rate)],
            Self::Exponential { rate } => vec![("rate", *rate)],
            Self::StudentT { degrees_of_freedom, mean, spread } => vec![
                ("degrees_of_freedom", *degrees_of_freedom),
                ("mean", *mean),
                match spread {
                    PrecisionOrSd::Precision(n) => ("precision", *n),
                    PrecisionOrSd::StandardDeviation(n) => ("sd", *n),
                },
            ],
            Self::MarkovChain { initial, transition, .. } => vec![("initial", *initial), ("transition", *transition)],
            Self::GaussianMarkovChain {
                initial_mean,
                initial_precision,
                transition,
                innovation_precision,
                offset,
                ..
            } => {
                let mut parameters = vec![
                    ("initial_mean", *initial_mean),
                    ("initial_precision", *initial_precision),
                    ("transition", *transition),
                    ("innovation_precision", *innovation_precision),
                ];
                parameters.extend(offset.map(|node| ("offset", node)));
                parameters
            }
            Self::HalfNormal { sd } => vec![("sd", *sd)],
            Self::HalfCauchy { scale } => vec![("scale", *scale)],
            Self::HalfStudentT { degrees_of_freedom, scale } => {
                vec![("degrees_of_freedom", *degrees_of_freedom), ("scale", *scale)]
            }
            Self::Cauchy { location, scale }
            | Self::Laplace { location, scale }
            | Self::Logistic { location, scale } => {
                vec![("location", *location), ("scale", *scale)]
            }
            Self::LogNormal { mean, sd } => vec![("mean", *mean), ("sd", *sd)],
            Self::Uniform { lower, upper } => vec![("lower", *lower), ("upper", *upper)],
            Self::NegativeBinomial { mean, dispersion } => vec![("mean", *mean), ("dispersion", *dispersion)],
            Self::Flat => Vec::new(),
        }
    }
}

impl Function {
    /// Its name in the model language.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
            Self::Square => "square",
            Self::Logistic => "logistic",
            Self::Softplus => "softplus",
        }
    }
}

/// How tightly an operation binds: sums 1, products 2, signs 3, everything else 4.
fn binding(kind: &NodeKind) -> u8 {
    match kind {
        NodeKind::Binary(BinaryOperator::Add | BinaryOperator::Subtract, ..) => 1,
        NodeKind::Binary(BinaryOperator::Multiply | BinaryOperator::Divide, ..) => 2,
        NodeKind::Negate(_) => 3,
        NodeKind::Number(x) if *x < 0.0 => 3,
        _ => 4,
    }
}

impl Graph {
    /// An expression node as the text of an expression; named expressions below it stand by their names.
    pub fn expression_text(&self, node: NodeId) -> String {
        self.write_node(node, true)
    }

    fn write_operand(&self, node: NodeId, least: u8) -> String {
        let text = self.write_node(node, false);
        let named = self.expressions.iter().any(|e| e.node == node);
        if named || binding(&self.node(node).kind) >= least { text } else { format!("({text})") }
    }

    fn write_node(&self, id: NodeId, root: bool) -> String {
        let node = self.node(id);
        if !root && let Some(expression) = self.expressions.iter().find(|e| e.node == id) {
            return expression.name.clone();
        }
        match &node.kind {
            NodeKind::Number(x) => x.to_string(),
            NodeKind::Constant(tensor) => {
                let written = self.source.text.get(node.span.clone()).unwrap_or_default();
                if !written.is_empty() && written.len() <= LONGEST_CONSTANT && !written.contains('\n') {
                    return written.to_string();
                }
                let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
                format!("constant of {}", shape.join(" × "))
            }
            NodeKind::Column(column) => quoted(&self.data.column(*column).name),
            NodeKind::Block(block) => quoted(&self.data.block(*block).name),
            NodeKind::Variable(id) => quoted(&self.variable(*id).name),
            NodeKind::Negate(a) => format!("-{}", self.write_operand(*a, 3)),
            NodeKind::Binary(operator, a, b) => {
                let (symbol, left, right) = match operator {
                    BinaryOperator::Add => ("+", 1, 1),
                    BinaryOperator::Subtract => ("-", 1, 2),
                    BinaryOperator::Multiply => ("*", 2, 2),
                    BinaryOperator::Divide => ("/", 2, 3),
                };
                format!("{} {symbol} {}", self.write_operand(*a, left), self.write_operand(*b, right))
            }
            NodeKind::Dot { left, right, .. } => {
                format!("dot({}, {})", self.write_node(*left, false), self.write_node(*right, false))
            }
            NodeKind::Index { base, index, .. } => {
                let index = match index {
                    IndexSource::Column(column) => quoted(&self.data.column(*column).name),
                    IndexSource::Gate(gate) => self.write_node(*gate, false),
                };
                let base = self.write_operand(*base, 4);
                // a[b][c] is written a[b, c].
                match base.strip_suffix(']') {
                    Some(open) if matches!(self.node(id).kind, NodeKind::Index { base, .. } if self.is_index(base)) => {
                        format!("{open}, {index}]")
                    }
                    _ => format!("{base}[{index}]"),
                }
            }
            NodeKind::Function(function, a) => format!("{}({})", function.name(), self.write_node(*a, false)),
            NodeKind::Network { network, arguments, .. } => {
                let arguments: Vec<String> = arguments.iter().map(|a| self.write_node(*a, false)).collect();
                format!("{}({})", self.networks[network.0].name, arguments.join(", "))
            }
        }
    }

    fn is_index(&self, node: NodeId) -> bool {
        matches!(self.node(node).kind, NodeKind::Index { .. }) && !self.expressions.iter().any(|e| e.node == node)
    }

    /// A variable's distribution with its parameters, such as `normal(mean = mu, precision = tau)`.
    pub fn distribution_text(&self, id: VariableId) -> String {
        let distribution = &self.variable(id).distribution;
        let parameters: Vec<String> = distribution
            .parameters()
            .into_iter()
            .map(|(key, node)| format!("{key} = {}", self.expression_text(node)))
            .collect();
        format!("{}({})", distribution.name(), parameters.join(", "))
    }

    /// An axis with its number of elements, such as `component 6`.
    pub fn axis_text(&self, id: AxisId) -> String {
        let axis = self.axis(id);
        match axis.kind {
            AxisKind::Anonymous => axis.size.to_string(),
            _ => format!("{} {}", axis.name, axis.size),
        }
    }

    /// What is observed of a variable, as text.
    pub fn observation_text(&self, id: VariableId) -> Option<String> {
        self.variable(id).observed.map(|observed| match observed {
            Observation::Numeric(node) => self.expression_text(node),
            Observation::Levels { column, .. } => self.data.column(column).name.clone(),
            Observation::LevelsBlock { block, .. } => self.data.block(block).name.clone(),
        })
    }

    /// A table of the variables, one line each: name, plates, dimension, what becomes of it, distribution.
    pub fn variables_table(&self) -> String {
        let mut rows: Vec<[String; 5]> =
            vec![["variable", "plates", "dimension", "value", "distribution"].map(String::from)];
        for (index, variable) in self.variables.iter().enumerate() {
            let id = VariableId(index);
            let plates: Vec<String> = variable.plates.iter().map(|a| self.axis_text(*a)).collect();
            let value = match (self.observation_text(id), variable.point, variable.amortized) {
                (Some(data), ..) => format!("observed: {data}"),
                (None, true, _) => "point".into(),
                (None, false, Some(network)) => format!("amortized: {}", self.expression_text(network)),
                (None, false, None) => "latent".into(),
            };
            rows.push([
                variable.name.clone(),
                plates.join(", "),
                variable.dimension.map_or(String::new(), |a| self.axis_text(a)),
                value,
                self.distribution_text(id),
            ]);
        }
        aligned(&rows)
    }

    /// A table of the named axes: name, number of elements, where it comes from.
    pub fn axes_table(&self) -> String {
        let mut rows: Vec<[String; 3]> = vec![["axis", "size", "elements"].map(String::from)];
        for axis in &self.axes {
            let elements = match &axis.kind {
                AxisKind::Rows => "data rows".to_string(),
                AxisKind::Fixed => "numbered from 0".to_string(),
                AxisKind::Levels { column, levels } => {
                    let shown: Vec<&str> = levels.iter().take(4).map(String::as_str).collect();
                    let more = if levels.len() > 4 { ", …" } else { "" };
                    format!("levels of {}: {}{more}", self.data.column(*column).name, shown.join(", "))
                }
                AxisKind::Block(block) => format!("columns of {}", self.data.block(*block).name),
                AxisKind::Anonymous => "coordinates".to_string(),
            };
            rows.push([axis.name.clone(), axis.size.to_string(), elements]);
        }
        aligned(&rows)
    }
}

/// A name as it is written in an expression.
fn quoted(name: &str) -> String {
    if is_plain_name(name) { name.to_string() } else { format!("`{name}`") }
}

/// Cells padded to the width of their column, two spaces between columns.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
