//! Variables whose keys do not fit their distribution.

use crate::check::{keys, kinds};
use crate::diagnostic::Diagnostic;
use crate::registry::{self, DimensionRule, DistributionEntry, Key, KeyKind, nearest};
use crate::spec::{Value, VariableSpec};

/// Whether the variable's `covariance` is that of its amortised factor.
pub(crate) fn amortized_covariance(spec: &VariableSpec) -> Option<&Value> {
    spec.get("amortized")?;
    spec.get("covariance").filter(|value| matches!(value.text(), Some("diagonal" | "full")))
}

/// Reports unknown keys, wrong kinds, missing and surplus parameters of one variable.
pub(crate) fn check(spec: &VariableSpec, mistakes: &mut Vec<Diagnostic>) {
    let section = format!("variable `{}`", spec.name);
    let common = registry::VARIABLE.keys;
    let Some(distribution) = spec.get("distribution") else {
        let all: Vec<Key> = common.iter().copied().chain(all_parameters()).collect();
        keys::check(&spec.keys, &[&all], &section, mistakes);
        mistakes.push(
            Diagnostic::new("missing-key", format!("{section} has no `distribution`"))
                .at(spec.span.clone(), "this variable")
                .help(format!("add distribution = \"…\", one of: {}", names().join(", "))),
        );
        return;
    };
    let Some(entry) = distribution.text().and_then(registry::distribution) else {
        mistakes.push(unknown_distribution(&section, distribution));
        return;
    };
    let allowed: Vec<&str> = common
        .iter()
        .map(|k| k.name)
        .filter(|name| match *name {
            "dimension" => entry.dimension != DimensionRule::Never,
            "lower" | "upper" => entry.truncatable,
            "amortized" => entry.is_amortizable(),
            _ => true,
        })
        .chain(entry.parameters.iter().map(|p| p.name))
        .chain(amortized_covariance(spec).map(|_| "covariance"))
        .collect();
    for field in &spec.keys {
        if allowed.contains(&field.key.as_str()) {
            let key = common
                .iter()
                .find(|k| k.name == field.key && entry.parameter(k.name).is_none())
                .copied()
                .unwrap_or(parameter_key(field.key.as_str(), entry));
            if let Err(mistake) = kinds::check(field, &key, &section) {
                mistakes.push(mistake);
            }
            continue;
        }
        mistakes.push(match field.key.as_str() {
            "dimension" => Diagnostic::new(
                "dimension-not-allowed",
                format!("{section} has a `dimension`, but `{}` is a scalar distribution", entry.name),
            )
            .at(field.key_span.clone(), "not for this distribution")
            .help("replicate it along `plates` instead"),
            "lower" | "upper" => Diagnostic::new(
                "not-truncatable",
                format!("{section} has `{}`, but `{}` cannot be truncated", field.key, entry.name),
            )
            .at(field.key_span.clone(), "not for this distribution")
            .help("only continuous distributions of single numbers take `lower` and `upper`"),
            "amortized" => Diagnostic::new(
                "not-amortizable",
                format!("{section} has `amortized`, but the factor of a `{}` is no network", entry.name),
            )
            .at(field.key_span.clone(), "not for this distribution")
            .help(
                "amortised variables are continuous ones of single numbers, normal vectors, or a `dirichlet`; discrete ones are summed out \
                 exactly without it",
            ),
            _ => keys::unknown(field, &allowed, &format!("{section} (`{}`)", entry.name)),
        });
    }
    if entry.dimension == DimensionRule::Required && spec.get("dimension").is_none() {
        mistakes.push(
            Diagnostic::new("missing-key", format!("{section} has no `dimension`, which `{}` needs", entry.name))
                .at(spec.span.clone(), "this variable")
                .help("add dimension = an integer, a plate's name or a block's name"),
        );
    }
    groups(spec, entry, &section, mistakes);
    truncation(spec, entry, &section, mistakes);
}

fn parameter_key(name: &str, entry: &DistributionEntry) -> Key {
    let parameter = entry.parameter(name);
    Key {
        name: parameter.map_or("", |p| p.name),
        kind: match name {
            "sequence" => KeyKind::Column,
            "parameters" => KeyKind::Text,
            _ => KeyKind::Parameter,
        },
        summary: parameter.map_or("", |p| p.summary),
    }
}

fn names() -> Vec<&'static str> {
    registry::DISTRIBUTIONS.iter().map(|d| d.name).collect()
}

fn all_parameters() -> impl Iterator<Item = Key> {
    registry::DISTRIBUTIONS
        .iter()
        .flat_map(|d| d.parameters.iter().map(|p| Key { name: p.name, kind: KeyKind::Parameter, summary: p.summary }))
}

fn unknown_distribution(section: &str, value: &Value) -> Diagnostic {
    let written = value.text().unwrap_or(value.describe());
    let known = names();
    let aliases = [
        ("gaussian", "normal"),
        ("mvnormal", "normal"),
        ("multivariate-normal", "normal"),
        ("dp", "stick-breaking"),
        ("hmm", "markov-chain"),
        ("discrete", "categorical"),
        ("lognormal", "log-normal"),
        ("t", "student-t"),
    ];
    let guess = aliases
        .iter()
        .find(|(alias, _)| *alias == written)
        .map(|(_, name)| *name)
        .or_else(|| nearest(written, known.iter().copied()));
    let message = match guess {
        Some(guess) => format!("unknown distribution `{written}` of {section}: did you mean `{guess}`?"),
        None => format!("unknown distribution `{written}` of {section}"),
    };
    Diagnostic::new("unknown-distribution", message)
        .at(value.span.clone(), "not a distribution")
        .help(format!("one of: {}", known.join(", ")))
}

/// Exactly one parameter of each group of the form that was begun.
fn groups(spec: &VariableSpec, entry: &DistributionEntry, section: &str, mistakes: &mut Vec<Diagnostic>) {
    let factor_covariance = amortized_covariance(spec).is_some();
    let given = |name: &str| spec.get(name).is_some() && !(name == "covariance" && factor_covariance);
    let Some(form) = entry
        .forms
        .iter()
        .find(|form| entry.forms.len() > 1 && form.len() == 1 && form[0].iter().any(|n| given(n)))
        .or(entry.forms.first())
    else {
        return;
    };
    for group in *form {
        let written: Vec<&str> = group.iter().copied().filter(|n| given(n)).collect();
        match written.as_slice() {
            [_] => {}
            [] => {
                let wanted = group.join("`, `");
                let others: Vec<&str> = entry
                    .forms
                    .iter()
                    .filter(|f| f != &form)
                    .flat_map(|f| f.iter())
                    .flat_map(|g| g.iter())
                    .copied()
                    .collect();
                let mut help = if group.len() == 1 {
                    format!("add {} = a number, an array or an expression", group[0])
                } else {
                    format!("add one of `{wanted}`")
                };
                if !others.is_empty() {
                    help.push_str(&format!("; or `{}` alone", others.join("`, `")));
                }
                mistakes.push(
                    Diagnostic::new(
                        "missing-parameter",
                        format!("{section} lacks `{}`, which `{}` needs", group.join("` or `"), entry.name),
                    )
                    .at(spec.span.clone(), "this variable")
                    .help(help),
                );
            }
            [first, second, ..] => mistakes.push(two_at_once(spec, section, first, second)),
        }
    }
    for parameter in entry.parameters.iter().filter(|p| given(p.name)) {
        let in_form = form.iter().any(|group| group.contains(&parameter.name));
        if !in_form
            && !entry.optional.contains(&parameter.name)
            && let Some(chosen) = form.first().and_then(|g| g.first())
        {
            mistakes.push(two_at_once(spec, section, chosen, parameter.name));
        }
    }
}

fn two_at_once(spec: &VariableSpec, section: &str, first: &str, second: &str) -> Diagnostic {
    let mut mistake = Diagnostic::new("surplus-parameter", format!("{section} has both `{first}` and `{second}`"));
    for name in [first, second] {
        if let Some(field) = spec.keys.iter().find(|e| e.key == name) {
            mistake = mistake.at(field.key_span.clone(), "one too many");
        }
    }
    mistake.help(format!("they say the same thing twice: keep one of `{first}`, `{second}`"))
}

fn truncation(spec: &VariableSpec, entry: &DistributionEntry, section: &str, mistakes: &mut Vec<Diagnostic>) {
    let bounds = ["lower", "upper"].map(|name| spec.get(name).and_then(Value::number));
    if let [Some(lower), Some(upper)] = bounds
        && lower >= upper
        && let Some(value) = spec.get("lower")
    {
        mistakes.push(
            Diagnostic::new(
                "empty-interval",
                format!("{section} has lower = {lower}, which is not below upper = {upper}"),
            )
            .at(value.span.clone(), "not below `upper`")
            .help("exchange the two"),
        );
    }
    if entry.dimension == DimensionRule::Optional
        && spec.get("dimension").is_some()
        && let Some(field) = spec.keys.iter().find(|e| e.key == "lower" || e.key == "upper")
    {
        mistakes.push(
            Diagnostic::new(
                "not-truncatable",
                format!("{section} has `{}` and `dimension`: only scalar distributions can be truncated", field.key),
            )
            .at(field.key_span.clone(), "not with `dimension`")
            .help("replicate it along `plates` instead of `dimension`"),
        );
    }
}
