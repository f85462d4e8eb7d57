//! Walks two lists side by side, newest first: the expected one and the served one.

use std::cmp::Ordering;
use std::iter::Peekable;

/// One place where a served list is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault<T> {
    Missing(T),
    Unexpected(T),
    /// It was served before, or older ones were served before it.
    Misordered(T),
}

impl<T> Fault<T> {
    pub(super) fn words(self) -> (&'static str, T) {
        match self {
            Fault::Missing(entry) => ("missing", entry),
            Fault::Unexpected(entry) => ("unexpected", entry),
            Fault::Misordered(entry) => ("out of order or repeated", entry),
        }
    }
}

/// The result for one served entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<T> {
    pub(super) faults: Vec<Fault<T>>,
    /// The expected entry, if it belongs here.
    pub(super) matched: Option<T>,
}

/// Takes the served keys one after the other.
pub(super) struct Comparison<I: Iterator, K> {
    expected: Peekable<I>,
    last: Option<K>,
}

impl<T: Copy, K: Ord + Copy, I: Iterator<Item = (K, T)>> Comparison<I, K> {
    /// `expected` has strictly falling keys.
    pub(super) fn new(expected: I) -> Self {
        Self {
            expected: expected.peekable(),
            last: None,
        }
    }

    /// The next served entry.
    pub(super) fn served(&mut self, key: K, entry: T) -> Step<T> {
        if self.last.is_some_and(|last| key >= last) {
            return Step {
                faults: vec![Fault::Misordered(entry)],
                matched: None,
            };
        }
        self.last = Some(key);
        let mut faults = Vec::new();
        loop {
            match self.expected.peek().map(|(expected, _)| expected.cmp(&key)) {
                // The expected entry should have come before the served one.
                Some(Ordering::Greater) => faults.extend(self.expected.next().map(|(_, entry)| Fault::Missing(entry))),
                Some(Ordering::Equal) => {
                    return Step {
                        faults,
                        matched: self.expected.next().map(|(_, entry)| entry),
                    };
                }
                Some(Ordering::Less) | None => {
                    faults.push(Fault::Unexpected(entry));
                    return Step { faults, matched: None };
                }
            }
        }
    }

    /// Ends the comparison: nothing more was served.
    pub(super) fn end(self) -> impl Iterator<Item = Fault<T>> {
        self.expected.map(|(_, entry)| Fault::Missing(entry))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(expected: &[u32], served: &[u32]) -> Vec<Fault<u32>> {
        let mut comparison = Comparison::new(expected.iter().map(|&key| (key, key)));
        let mut faults: Vec<_> = served
            .iter()
            .flat_map(|&key| comparison.served(key, key).faults)
            .collect();
        faults.extend(comparison.end());
        faults
    }

    #[test]
    fn each_kind_of_fault_is_told() {
        assert_eq!(faults(&[9, 7, 5], &[9, 7, 5]), []);
        assert_eq!(faults(&[9, 7, 5], &[9, 5]), [Fault::Missing(7)]);
        assert_eq!(faults(&[9, 7, 5], &[]), [9, 7, 5].map(Fault::Missing));
        assert_eq!(faults(&[9, 5], &[9, 7, 5, 1]), [7, 1].map(Fault::Unexpected));
        assert_eq!(faults(&[9, 7], &[9, 9, 7]), [Fault::Misordered(9)]);
        assert_eq!(
            faults(&[9, 7, 5], &[9, 5, 7]),
            [Fault::Missing(7), Fault::Misordered(7)]
        );
    }

    #[test]
    fn a_match_hands_out_what_was_expected() {
        let mut comparison = Comparison::new([(3, "three")].into_iter());
        assert_eq!(
            comparison.served(3, "3"),
            Step {
                faults: vec![],
                matched: Some("three")
            }
        );
    }

    proptest! {
        #[test]
        fn lists_that_differ_never_pass(
            expected in proptest::collection::btree_set(0_u32..50, 0..30),
            served in proptest::collection::vec(0_u32..50, 0..30),
        ) {
            let expected: Vec<u32> = expected.into_iter().rev().collect();
            prop_assert_eq!(faults(&expected, &served).is_empty(), expected == served);
        }

        #[test]
        fn of_ordered_lists_exactly_the_differences_are_told(
            expected in proptest::collection::btree_set(0_u32..50, 0..30),
            served in proptest::collection::btree_set(0_u32..50, 0..30),
        ) {
            let found = faults(
                &expected.iter().rev().copied().collect::<Vec<_>>(),
                &served.iter().rev().copied().collect::<Vec<_>>(),
            );
            let missing = expected.difference(&served).count();
            prop_assert_eq!(found.len(), missing + served.difference(&expected).count());
            prop_assert_eq!(found.iter().filter(|fault| matches!(fault, Fault::Missing(_))).count(), missing);
        }
    }
}
