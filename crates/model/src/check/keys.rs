//! Keys that the language does not know.

use crate::diagnostic::Diagnostic;
use crate::registry::{Key, nearest};
use crate::spec::Entry;

/// Reports every key of `section` that stands in none of the `known` lists.
pub(crate) fn check(entries: &[Entry], known: &[&[Key]], section: &str, mistakes: &mut Vec<Diagnostic>) {
    let names: Vec<&str> = known.iter().flat_map(|keys| keys.iter()).map(|k| k.name).collect();
    for entry in entries.iter().filter(|e| !names.contains(&e.key.as_str())) {
        mistakes.push(unknown(entry, &names, section));
    }
}

/// The mistake of a key that is none of `names`.
pub(crate) fn unknown(entry: &Entry, names: &[&str], section: &str) -> Diagnostic {
    let guess = nearest(&entry.key, names.iter().copied());
    let message = match guess {
        Some(guess) => format!("unknown key `{}` in {section}: did you mean `{guess}`?", entry.key),
        None => format!("unknown key `{}` in {section}", entry.key),
    };
    Diagnostic::new("unknown-key", message)
        .at(entry.key_span.clone(), "not a key here")
        .help(format!("allowed here: {}", names.join(", ")))
}
