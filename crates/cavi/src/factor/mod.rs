//! Families of the factors of q: shapes of their statistics, and the update from natural parameters to expectations.

mod bound;
mod fisher;
mod gaussian;
mod moments;
mod partial;
mod scalar;
mod shape;
mod simplex;
mod update;

pub(crate) use fisher::{covariance_times, spread};
pub(crate) use gaussian::{NormalGammaVectorParameters, normal_gamma_parameters};
pub(crate) use moments::{moment, moment_shape};
pub(crate) use partial::Part;
pub(crate) use simplex::stick_parameters;
pub(crate) use update::{NaturalError, update};

/// The family of a factor of q.
///
/// The natural parameters of each are the coefficients of the listed statistics in log q.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// x, x²
    Normal,
    /// x `[d]`, xxᵀ `[d, d]`
    NormalVector(usize),
    /// x, log x
    Gamma,
    /// 1/x, log x
    InverseGamma,
    /// Λ `[d, d]`, log|Λ|
    Wishart(usize),
    /// τ, log τ, τμ, τμ²
    NormalGamma,
    /// τ, log τ, τμ `[d]`, τμμᵀ `[d, d]`
    NormalGammaVector(usize),
    /// Λ `[d, d]`, log|Λ|, Λμ `[d]`, μᵀΛμ
    NormalWishart(usize),
    /// log p, log(1 − p)
    Beta,
    /// log π `[k]`
    Dirichlet(usize),
    /// log π `[k]`, log v `[k − 1]`, log(1 − v) `[k − 1]` with π_k = v_k Π_{j<k}(1 − v_j)
    StickBreaking(usize),
    /// one-hot `[k]`
    Categorical(usize),
    /// x
    Bernoulli,
    /// x (its carrier measure 1/x! stands in p and q alike and cancels)
    Poisson,
    /// a, a² and the side of zero (whose message is ±1, 0 where nothing was observed)
    TruncatedNormal,
    /// x `[d]`, xxᵀ `[d, d]`, observed values `[d]`, which are present `[d]`, entropy: the missing coordinates of an observed vector
    PartialNormal(usize),
    /// The statistics of a family, then the observed value and whether it is there: a variable observed in part
    Partial(Part),
    /// x, log x, log Γ(x): a point estimate of a shape or concentration
    Shape,
    /// ψ(s), log Γ(s) − s ψ(s): the tangent of log Γ at a total concentration, which bounds it from below
    LogGammaTangent,
    /// λ(ξ), log σ(ξ) − ξ/2 + λ(ξ)ξ²: the parameter of the Jaakkola–Jordan bound
    JaakkolaJordan,
    /// 1/s, and what remains of log p(x | s) + log p(s) − log q(s): the scale s of a normal that makes a Laplace distribution
    LaplaceScale,
    /// one-hot of the rows `[k]`, pairs summed over rows `[k, k]`, first states `[k]`
    MarkovChain(usize),
    /// x `[d]`, xxᵀ `[d, d]` of the rows; sums over the rows that follow another: x xᵀ, x_prev x_prevᵀ, x x_prevᵀ; over first rows: x, xxᵀ
    GaussianMarkovChain(usize),
    /// A chain whose steps differ: one-hot of the rows `[k]`, of the row before and the row `[k, k]` (zero in first rows)
    MarkovSteps(usize),
    /// A chain whose steps differ: x `[d]`, xxᵀ `[d, d]` of the rows, and with the row before (zero in first rows) x_prev `[d]`,
    /// x_prev x_prevᵀ, x x_prevᵀ `[d, d]`
    GaussianSteps(usize),
}

impl Family {
    /// Number of statistics.
    pub(crate) fn num_statistics(self) -> usize {
        match self {
            Self::Dirichlet(_) | Self::Categorical(_) | Self::Bernoulli | Self::Poisson => 1,
            Self::StickBreaking(_) | Self::TruncatedNormal | Self::MarkovChain(_) | Self::Shape => 3,
            Self::Partial(part) => part.whole().num_statistics() + 2,
            Self::NormalGamma | Self::NormalGammaVector(_) | Self::NormalWishart(_) => 4,
            Self::PartialNormal(_) | Self::GaussianSteps(_) => 5,
            Self::GaussianMarkovChain(_) => 7,
            _ => 2,
        }
    }

    /// Shape of one element's statistic.
    pub(crate) fn statistic_shape(self, statistic: usize) -> Vec<usize> {
        match (self, statistic) {
            (Self::Partial(part), s) if s < part.whole().num_statistics() => part.whole().statistic_shape(s),
            // What is observed has the shape of the value.
            (Self::Partial(Part::Dirichlet(k)), _) => vec![k],
            (Self::NormalVector(d), 0)
            | (Self::NormalWishart(d) | Self::NormalGammaVector(d), 2)
            | (Self::PartialNormal(d), 0 | 2 | 3) => vec![d],
            (Self::NormalGammaVector(d), 3) => vec![d, d],
            (Self::PartialNormal(d), 1) => vec![d, d],
            (Self::NormalVector(d), 1) | (Self::Wishart(d) | Self::NormalWishart(d), 0) => vec![d, d],
            (Self::Dirichlet(k) | Self::StickBreaking(k) | Self::Categorical(k), 0) => vec![k],
            (Self::StickBreaking(k), _) => vec![k - 1],
            (Self::MarkovChain(k), 0 | 2) => vec![k],
            (Self::MarkovChain(k), _) => vec![k, k],
            (Self::GaussianMarkovChain(d), 0 | 5) => vec![d],
            (Self::GaussianMarkovChain(d), _) => vec![d, d],
            (Self::MarkovSteps(k), 0) => vec![k],
            (Self::MarkovSteps(k), _) => vec![k, k],
            (Self::GaussianSteps(d), 0 | 2) => vec![d],
            (Self::GaussianSteps(d), _) => vec![d, d],
            _ => vec![],
        }
    }

    /// The family of what is unknown.
    pub(crate) fn whole(self) -> Self {
        match self {
            Self::Partial(part) => part.whole(),
            family => family,
        }
    }

    /// Number of values in one element's statistic.
    pub(crate) fn statistic_size(self, statistic: usize) -> usize {
        self.statistic_shape(statistic).iter().product()
    }

    /// Whether a statistic of a chain is a sum over the rows instead of one value per row.
    pub(crate) fn is_summed(self, statistic: usize) -> bool {
        matches!(self, Self::MarkovChain(_) | Self::GaussianMarkovChain(_))
            && statistic > 0
            && !matches!((self, statistic), (Self::GaussianMarkovChain(_), 1))
    }

    /// Whether it is a joint block over the rows.
    pub(crate) fn is_chain(self) -> bool {
        matches!(
            self,
            Self::MarkovChain(_) | Self::GaussianMarkovChain(_) | Self::MarkovSteps(_) | Self::GaussianSteps(_)
        )
    }

    /// Names of the statistics, for printing with the variable's name in place of `x`.
    pub(crate) fn statistic_name(self, statistic: usize, x: &str) -> String {
        if let Self::Partial(part) = self {
            return match statistic.checked_sub(part.whole().num_statistics()) {
                None => part.whole().statistic_name(statistic, x),
                Some(0) => format!("observed({x})"),
                Some(_) => format!("present({x})"),
            };
        }
        let name: &str = match (self, statistic) {
            (Self::Normal | Self::NormalVector(_) | Self::TruncatedNormal, 0)
            | (Self::Gamma | Self::Bernoulli | Self::Poisson | Self::Wishart(_), 0) => "{x}",
            (Self::Normal | Self::TruncatedNormal, 1) => "{x}²",
            (Self::NormalVector(_), _) => "{x}{x}ᵀ",
            (Self::Gamma | Self::InverseGamma, 1) => "log {x}",
            (Self::InverseGamma, _) => "1/{x}",
            (Self::Wishart(_), _) => "log|{x}|",
            (Self::NormalGamma | Self::NormalGammaVector(_), 0) => "{x}.τ",
            (Self::NormalGamma | Self::NormalGammaVector(_), 1) => "log {x}.τ",
            (Self::NormalGamma | Self::NormalGammaVector(_), 2) => "{x}.τ{x}.μ",
            (Self::NormalGammaVector(_), _) => "{x}.τ{x}.μ{x}.μᵀ",
            (Self::NormalGamma, _) => "{x}.τ{x}.μ²",
            (Self::NormalWishart(_), 0) => "{x}.Λ",
            (Self::NormalWishart(_), 1) => "log|{x}.Λ|",
            (Self::NormalWishart(_), 2) => "{x}.Λ{x}.μ",
            (Self::NormalWishart(_), _) => "{x}.μᵀ{x}.Λ{x}.μ",
            (Self::Beta, 0) | (Self::Dirichlet(_) | Self::StickBreaking(_), 0) => "log {x}",
            (Self::Beta, _) => "log(1 − {x})",
            (Self::StickBreaking(_), 1) => "log {x}.v",
            (Self::StickBreaking(_), _) => "log(1 − {x}.v)",
            (Self::Categorical(_) | Self::MarkovChain(_) | Self::MarkovSteps(_), 0) => "[{x} = k]",
            (Self::MarkovSteps(_), _) => "[{x}′ = j][{x} = k]",
            (Self::MarkovChain(_), 1) => "Σ [{x}′ = j][{x} = k]",
            (Self::MarkovChain(_), _) => "Σ [{x}₁ = k]",
            (Self::LaplaceScale, 0) => "1/{x}",
            (Self::LaplaceScale, _) => "c({x})",
            (Self::Shape, 1) => "log {x}",
            (Self::Shape, 2) => "log Γ({x})",
            (Self::LogGammaTangent, 0) => "ψ({x})",
            (Self::LogGammaTangent, _) => "c({x})",
            (Self::JaakkolaJordan, 0) => "λ({x})",
            (Self::JaakkolaJordan, _) => "c({x})",
            (Self::TruncatedNormal, _) => "side({x})",
            (Self::GaussianMarkovChain(_) | Self::GaussianSteps(_), 0) => "{x}",
            (Self::GaussianMarkovChain(_) | Self::GaussianSteps(_), 1) => "{x}{x}ᵀ",
            (Self::GaussianSteps(_), 2) => "{x}′",
            (Self::GaussianSteps(_), 3) => "{x}′{x}′ᵀ",
            (Self::GaussianSteps(_), _) => "{x}{x}′ᵀ",
            (Self::GaussianMarkovChain(_), 2) => "Σ {x}{x}ᵀ",
            (Self::GaussianMarkovChain(_), 3) => "Σ {x}′{x}′ᵀ",
            (Self::GaussianMarkovChain(_), 4) => "Σ {x}{x}′ᵀ",
            (Self::GaussianMarkovChain(_), 5) => "Σ {x}₁",
            (Self::GaussianMarkovChain(_), _) => "Σ {x}₁{x}₁ᵀ",
            (Self::PartialNormal(_), 1) => "{x}{x}ᵀ",
            (Self::PartialNormal(_), 2) => "observed({x})",
            (Self::PartialNormal(_), 3) => "present({x})",
            (Self::PartialNormal(_), 4) => "H[{x}]",
            _ => "{x}",
        };
        name.replace("{x}", x)
    }
}
