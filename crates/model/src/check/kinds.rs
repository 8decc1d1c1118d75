//! Values of another kind than their key asks for.

use crate::diagnostic::Diagnostic;
use crate::registry::{Key, KeyKind, nearest};
use crate::spec::{Entry, Value, ValueKind};

/// Checks that a value is of the kind that its key asks for.
pub(crate) fn check(entry: &Entry, key: &Key, section: &str) -> Result<(), Diagnostic> {
    let value = &entry.value;
    let number = value.number();
    let good = match key.kind {
        KeyKind::Text | KeyKind::Column => value.text().is_some(),
        KeyKind::OneOf(names) => {
            if let Some(text) = value.text()
                && !names.contains(&text)
            {
                return Err(not_one_of(entry, text, names, section));
            }
            value.text().is_some()
        }
        KeyKind::Boolean => matches!(value.kind, ValueKind::Boolean(_)),
        KeyKind::Integer(least) => whole(value).is_some_and(|i| i >= least),
        KeyKind::PositiveNumber => number.is_some_and(|x| x.is_finite() && x > 0.0),
        KeyKind::NonNegativeNumber => number.is_some_and(|x| x.is_finite() && x >= 0.0),
        KeyKind::UnitNumber => number.is_some_and(|x| (0.0..=1.0).contains(&x)),
        KeyKind::Texts => value.texts().is_some(),
        KeyKind::PositiveIntegers => {
            value.array().is_some_and(|items| items.iter().all(|i| whole(i).is_some_and(|i| i > 0)))
        }
        KeyKind::TextLists => value.array().is_some_and(|items| items.iter().all(|i| i.texts().is_some())),
        KeyKind::Parameter => number.is_some() || value.array().is_some() || value.text().is_some(),
        KeyKind::Numbers => number.is_some() || value.array().is_some() || value.text().is_some(),
        KeyKind::Axis => whole(value).is_some_and(|i| i > 0) || value.text().is_some(),
        KeyKind::Observed => number.is_some() || value.array().is_some() || value.text().is_some(),
        KeyKind::Names => value.table().is_some(),
    };
    if good {
        return Ok(());
    }
    let expected = expected(key.kind);
    let found = found(value);
    Err(Diagnostic::new("wrong-kind", format!("`{}` in {section} must be {expected}, not {found}", entry.key))
        .at(value.span.clone(), format!("expected {expected}"))
        .help(key.summary))
}

/// An integer, also when written as `10.0` or `1e4`.
pub(crate) fn whole(value: &Value) -> Option<i64> {
    match value.kind {
        ValueKind::Integer(i) => Some(i),
        ValueKind::Float(x) if x.fract() == 0.0 && x.abs() < 9e15 => Some(x as i64),
        _ => None,
    }
}

fn not_one_of(entry: &Entry, text: &str, names: &[&str], section: &str) -> Diagnostic {
    let hint =
        nearest(text, names.iter().copied()).map(|name| format!(": did you mean \"{name}\"?")).unwrap_or_default();
    Diagnostic::new("unknown-option", format!("`{}` in {section} cannot be \"{text}\"{hint}", entry.key))
        .at(entry.value.span.clone(), "not one of the options")
        .help(format!("one of: {}", names.join(", ")))
}

fn found(value: &Value) -> String {
    match &value.kind {
        ValueKind::Integer(i) => i.to_string(),
        ValueKind::Float(x) => x.to_string(),
        ValueKind::Boolean(b) => b.to_string(),
        ValueKind::Text(text) => format!("the string \"{text}\""),
        _ => value.describe().to_string(),
    }
}

fn expected(kind: KeyKind) -> String {
    match kind {
        KeyKind::Text => "a string".into(),
        KeyKind::OneOf(names) => format!("one of {}", names.join(", ")),
        KeyKind::Boolean => "true or false".into(),
        KeyKind::Integer(least) => format!("an integer, at least {least}"),
        KeyKind::PositiveNumber => "a finite number greater than 0".into(),
        KeyKind::NonNegativeNumber => "a finite number, 0 or greater".into(),
        KeyKind::UnitNumber => "a number from 0 to 1".into(),
        KeyKind::Texts => "an array of strings".into(),
        KeyKind::PositiveIntegers => "an array of positive integers".into(),
        KeyKind::TextLists => "an array of arrays of strings".into(),
        KeyKind::Parameter => "a number, an array of numbers or an expression in a string".into(),
        KeyKind::Numbers => "a number, an array of numbers or the name of a constant".into(),
        KeyKind::Column => "the name of a column".into(),
        KeyKind::Axis => "a positive integer, or the name of a plate or block".into(),
        KeyKind::Observed => "a column, a block, a list of columns, or an expression of data".into(),
        KeyKind::Names => "a table".into(),
    }
}
