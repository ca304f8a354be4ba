//! The order of versions, for the default of module files.

use std::cmp::Ordering;

/// `0.10.0` comes after `0.9.2`, and `1.0.0` after `1.0.0-rc.2`.
pub fn compare(left: &str, right: &str) -> Ordering {
    let split = |version: &str| {
        // What follows a `+` says how it was built, not which it is.
        let version = version.split('+').next().unwrap_or_default().to_owned();
        match version.split_once('-') {
            Some((release, early)) => (release.to_owned(), Some(early.to_owned())),
            None => (version, None),
        }
    };
    let ((left, left_early), (right, right_early)) = (split(left), split(right));
    parts(&left, &right).then_with(|| match (left_early, right_early) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => parts(&left, &right),
    })
}

/// Part by part between dots, as numbers where both are.
fn parts(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                _ => left.cmp(right),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_numbers() {
        let sorted = ["0.2.0-rc.2", "0.2.0-rc.10", "0.2.0", "0.9.9", "0.10.0", "1.0.0-beta", "1.0.0"];
        for (n, left) in sorted.iter().enumerate() {
            for (m, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), n.cmp(&m), "{left} {right}");
            }
        }
        assert_eq!(compare("1.0.0+mpi", "1.0.0"), Ordering::Equal);
    }
}
