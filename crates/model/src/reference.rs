//! The reference documentation of the language, generated from the registry.

use std::fmt::Write as _;

use crate::registry::{
    CONSTANT, DATA, DISTRIBUTIONS, DimensionRule, DistributionEntry, Domain, FUNCTIONS, INFERENCE, INFERENCE_OPTIONS,
    Key, KeyKind, NETWORK, PLATE, TOP, VARIABLE,
};

/// The text around the tables.
const TEMPLATE: &str = include_str!("reference.md");

/// The reference as Markdown: how the language works, and every section, key, distribution, parameter and function.
pub fn reference_markdown() -> String {
    let mut text = TEMPLATE.to_string();
    for (name, section) in [
        ("top", &TOP),
        ("data", &DATA),
        ("constant", &CONSTANT),
        ("plate", &PLATE),
        ("variable", &VARIABLE),
        ("network", &NETWORK),
        ("inference", &INFERENCE),
        ("options", &INFERENCE_OPTIONS),
    ] {
        text = text.replace(&format!("{{{name}}}\n"), &keys(section.keys));
    }
    let distributions: Vec<String> = DISTRIBUTIONS.iter().map(distribution).collect();
    text = text.replace("{distributions}\n", &distributions.join("\n"));
    let mut functions = String::from("| function | value |\n|---|---|\n");
    for (name, value) in FUNCTIONS {
        line(&mut functions, &format!("| `{name}` | {} |", escaped(value)));
    }
    text.replace("{functions}\n", &functions)
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn escaped(words: &str) -> String {
    words.replace('|', "\\|")
}

fn keys(keys: &[Key]) -> String {
    let mut text = String::from("| key | value | meaning |\n|---|---|---|\n");
    for key in keys {
        line(&mut text, &format!("| `{}` | {} | {} |", key.name, kind(key.kind), escaped(key.summary)));
    }
    text
}

fn distribution(entry: &DistributionEntry) -> String {
    let mut text = String::new();
    let engine = if entry.sgvi_only { " (sgvi)" } else { "" };
    line(&mut text, &format!("### `{}`{engine}\n", entry.name));
    let mut about = format!("Value: {}.", entry.value);
    match entry.dimension {
        DimensionRule::Required => about.push_str(" Needs `dimension`."),
        DimensionRule::Optional => about.push_str(" May have `dimension`."),
        DimensionRule::Range => {
            about.push_str(" `dimension` may name the axis that it ranges over, where the parameters do not tell.")
        }
        DimensionRule::Never => {}
    }
    if entry.truncatable {
        about.push_str(" As a scalar it takes `lower` and `upper`.");
    }
    let forms: Vec<String> = entry
        .forms
        .iter()
        .map(|form| {
            let groups: Vec<String> = form
                .iter()
                .map(|group| {
                    let names: Vec<String> = group.iter().map(|n| format!("`{n}`")).collect();
                    if names.len() == 1 { names[0].clone() } else { format!("one of {}", names.join(", ")) }
                })
                .collect();
            groups.join("; ")
        })
        .filter(|form| !form.is_empty())
        .collect();
    if !forms.is_empty() {
        let _ = write!(about, " Parameters: {}.", forms.join("; or "));
    }
    line(&mut text, &format!("{about}\n"));
    if entry.parameters.is_empty() {
        return text;
    }
    line(&mut text, "| parameter | values | meaning |\n|---|---|---|");
    for parameter in entry.parameters {
        let optional = if entry.optional.contains(&parameter.name) { ", may be left out" } else { "" };
        let values = format!("{}{optional}", domain(parameter.domain));
        line(&mut text, &format!("| `{}` | {values} | {} |", parameter.name, escaped(parameter.summary)));
    }
    text
}

fn domain(domain: Domain) -> &'static str {
    match domain {
        Domain::Real => "real",
        Domain::Positive => "positive",
        Domain::PositiveDefinite => "positive definite matrix",
        Domain::Unit => "from 0 to 1",
        Domain::Simplex => "0 or greater, sum 1",
        Domain::Count => "whole, 0 or greater",
        Domain::DegreesOfFreedom => "greater than dimension − 1",
        Domain::Name => "a name",
    }
}

fn kind(kind: KeyKind) -> String {
    match kind {
        KeyKind::Text => "text".into(),
        KeyKind::OneOf(options) => {
            let quoted: Vec<String> = options.iter().map(|o| format!("`\"{o}\"`")).collect();
            quoted.join(", ")
        }
        KeyKind::Boolean => "`true` or `false`".into(),
        KeyKind::Integer(least) => format!("integer, at least {least}"),
        KeyKind::PositiveNumber => "number greater than 0".into(),
        KeyKind::NonNegativeNumber => "number, 0 or greater".into(),
        KeyKind::UnitNumber => "number from 0 to 1".into(),
        KeyKind::Texts => "list of names".into(),
        KeyKind::PositiveIntegers => "list of positive integers".into(),
        KeyKind::TextLists => "list of lists of names".into(),
        KeyKind::Parameter => "number, array or expression".into(),
        KeyKind::Numbers => "number, array or name of a constant".into(),
        KeyKind::Column => "column".into(),
        KeyKind::Axis => "integer, plate or block".into(),
        KeyKind::Observed => "column, block, list of columns, or expression of data".into(),
        KeyKind::Names => "table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_everything_in_the_registry() {
        let text = reference_markdown();
        for entry in DISTRIBUTIONS {
            assert!(text.contains(&format!("### `{}`", entry.name)), "{}", entry.name);
        }
        let sections = [TOP, DATA, CONSTANT, PLATE, VARIABLE, NETWORK, INFERENCE, INFERENCE_OPTIONS];
        for key in sections.iter().flat_map(|s| s.keys) {
            assert!(text.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        }
    }
}
