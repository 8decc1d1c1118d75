//! The nearest known word to a misspelt one.

/// The member of `known` that is nearest to `written` by edit distance, if any is near.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (written.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|k| (edit_distance(&written.to_lowercase(), &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= limit && *distance < k.chars().count().max(written.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Number of insertions, deletions, substitutions and swaps of neighbours between two words
/// (optimal string alignment distance; Damerau 1964).
pub fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for (j, cell) in table.iter_mut().take(width).enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        table[i * width] = i;
        for j in 1..=b.len() {
            let substitution = table[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(table[(i - 1) * width + j] + 1).min(table[i * width + j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[(i - 2) * width + j - 2] + 1);
            }
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distances_of_known_pairs() {
        for (a, b, d) in [
            ("precison", "precision", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 1),
            ("", "abc", 3),
            ("mena", "mean", 1),
        ] {
            assert_eq!(edit_distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn nearest_is_silent_when_nothing_is_near() {
        assert_eq!(nearest("precison", ["mean", "precision", "sd"]), Some("precision"));
        assert_eq!(nearest("zebra", ["mean", "precision", "sd"]), None);
        // Names without a letter in common.
        assert_eq!(nearest("y", ["m", "sd"]), None);
        assert_eq!(nearest("y", ["m", "yy"]), Some("yy"));
    }
}
