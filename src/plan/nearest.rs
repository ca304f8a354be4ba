//! The known name nearest to a mistyped one.

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = name.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (distance(&plain, candidate), candidate))
        .min()
        .filter(|(edits, candidate)| *edits <= 1 + plain.len().max(candidate.len()) / 3)
        .map(|(_, candidate)| candidate)
}

/// Number of letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn a_typo_finds_its_key_and_nonsense_finds_none() {
        let keys = ["diameter", "symmetry", "tau2_fudge"];
        assert_eq!(nearest("diametre", keys.into_iter()), Some("diameter"));
        assert_eq!(nearest("Tau2-Fudge", keys.into_iter()), Some("tau2_fudge"));
        assert_eq!(nearest("xyzzy", keys.into_iter()), None);
    }
}
