//! The order in which people expect names: without regard to case, and with numbers by their value.

use std::cmp::Ordering;

/// Compares two names: `GPU 2` precedes `gpu 10`.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let (Some(a), Some(b)) = (left.chars().next(), right.chars().next()) else {
            return left.len().cmp(&right.len());
        };
        let order = if a.is_ascii_digit() && b.is_ascii_digit() {
            let (first, second) = (split_number(&mut left), split_number(&mut right));
            // Without leading zeros, the longer number is the larger one.
            first.len().cmp(&second.len()).then_with(|| first.cmp(second))
        } else {
            left = &left[a.len_utf8()..];
            right = &right[b.len_utf8()..];
            a.to_lowercase().cmp(b.to_lowercase())
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Removes the digits at the start of `text` and returns them without leading zeros.
fn split_number<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_by_numbers_and_without_case() {
        let mut names = ["gpu 10", "GPU 2", "Émile", "alpha", "Beta", "gpu 2b", "gpu", "gpu 002a", "10", "9"];
        names.sort_by(|one, other| compare(one, other));
        assert_eq!(names, ["9", "10", "alpha", "Beta", "gpu", "GPU 2", "gpu 002a", "gpu 2b", "gpu 10", "Émile"]);
    }

    #[test]
    fn equal_names_are_equal() {
        assert_eq!(compare("Cluster 07", "cluster 7"), Ordering::Equal);
        assert_eq!(compare("", ""), Ordering::Equal);
        assert_eq!(compare("", "a"), Ordering::Less);
    }
}
