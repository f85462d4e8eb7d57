//! Checks lists as a polling client sees them: from the oldest item upwards, with the cursor that each page gives for the next.
//!
//! Items may come more than once. None may be missing, and none may come that should not be there.

use std::collections::HashSet;
use std::hash::Hash;

use model::api;
use model::ids::{PostId, UserId};

use super::check::{Checker, Difference, Findings, PeopleList, PostList};
use super::compare::Fault;
use super::oracle::UserIndex;
use super::served::{Paged, ReadError};
use super::timeline::Entry;
use super::viewers::Eyes;

impl Checker<'_> {
    pub(super) async fn posts_upwards<P: Paged<Item = api::Post>>(
        &self,
        list: &PostList<'_>,
        expected: impl Iterator<Item = (UserIndex, Entry)>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let expected: Vec<(UserId, Entry)> = expected
            .map(|(author, entry)| (self.oracle.user(author).0, entry))
            .collect();
        let polled = Polled::new(expected, |&(_, entry)| entry.id);
        let entry = |post: &api::Post| {
            let original = post.repost_of.as_ref().map(|original| original.id);
            (post.author.id, Entry { id: post.id, original })
        };
        let newest_first = |items: &[(UserId, Entry)]| items.is_sorted_by(|one, other| one.1.id > other.1.id);
        let faults = self
            .poll::<P, _, PostId>(list.eyes, list.path, polled, entry, newest_first, findings)
            .await?;
        let upwards = PostList {
            place: upwards(&list.place),
            depends_on: list.depends_on.clone(),
            pinned: Vec::new(),
            ..*list
        };
        findings.differences.extend(faults.map_or_else(
            |what| vec![failed(&upwards.place, what, &upwards.depends_on)],
            |faults| {
                faults
                    .into_iter()
                    .map(|fault| self.post_fault(&upwards, fault))
                    .collect()
            },
        ));
        Ok(())
    }

    pub(super) async fn people_upwards(
        &self,
        eyes: &Eyes,
        list: &PeopleList<'_>,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let expected = list
            .expected
            .iter()
            .map(|&(_, user)| self.oracle.user(user).0)
            .collect();
        let polled = Polled::new(expected, |&user| user);
        // The order is that of the events, which a page does not show. It is checked when the list is read downwards.
        let faults = self
            .poll::<api::Page<api::User>, _, UserId>(eyes, &list.path, polled, |user| user.id, |_| true, findings)
            .await?;
        let upwards = PeopleList {
            place: upwards(&list.place),
            ..list.clone()
        };
        findings.differences.extend(faults.map_or_else(
            |what| vec![failed(&upwards.place, what, &upwards.depends_on)],
            |faults| {
                faults
                    .into_iter()
                    .map(|fault| self.person_fault(&upwards, fault))
                    .collect()
            },
        ));
        Ok(())
    }

    /// The differences, or as the inner error why the list could not be read.
    pub(super) async fn poll<P: Paged, T: Copy, K: Hash + Eq>(
        &self,
        eyes: &Eyes,
        path: &str,
        mut polled: Polled<T, K>,
        item: impl Fn(&P::Item) -> T,
        in_order: impl Fn(&[T]) -> bool,
        findings: &mut Findings,
    ) -> anyhow::Result<Result<Vec<Fault<T>>, String>> {
        let reader = self.reader(eyes);
        let read = async {
            let Some((oldest, cursor)) = reader.bottom::<P>(path).await? else {
                return Ok(0);
            };
            polled.begin(item(&oldest));
            let take = |page: Vec<P::Item>| {
                findings.items += page.len() as u64;
                let page: Vec<T> = page.iter().map(&item).collect();
                polled.page(&page, &in_order)
            };
            reader.poll::<P>(path, cursor, take).await
        };
        match read.await {
            Ok(pages) => {
                findings.pages += pages;
                Ok(Ok(polled.end()))
            }
            Err(ReadError::Call(error)) => Err(error.into()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }
}

fn upwards(place: &str) -> String {
    format!("{place}, polled upwards")
}

fn failed(place: &str, what: String, depends_on: &[super::history::Dependency]) -> Difference {
    Difference {
        place: place.to_owned(),
        what,
        depends_on: depends_on.to_vec(),
    }
}

/// What a polling client should see, and what it has seen.
pub(super) struct Polled<T, K> {
    expected: Vec<T>,
    key: fn(&T) -> K,
    missing: HashSet<K>,
    /// What was served and is expected.
    seen: HashSet<K>,
    faults: Vec<Fault<T>>,
}

impl<T: Copy, K: Hash + Eq> Polled<T, K> {
    pub(super) fn new(expected: Vec<T>, key: fn(&T) -> K) -> Self {
        Self {
            missing: expected.iter().map(key).collect(),
            expected,
            key,
            seen: HashSet::new(),
            faults: Vec::new(),
        }
    }

    /// The client has seen the oldest item, and polls from there.
    fn begin(&mut self, oldest: T) {
        self.take(oldest);
    }

    /// Whether the page brought anything new, and whether everything has come.
    fn page(&mut self, items: &[T], in_order: impl Fn(&[T]) -> bool) -> (bool, bool) {
        if !in_order(items) {
            self.faults.extend(items.first().copied().map(Fault::Misordered));
        }
        let mut new = false;
        for &item in items {
            new |= self.take(item);
        }
        (new, self.missing.is_empty())
    }

    /// Whether the item is new.
    fn take(&mut self, item: T) -> bool {
        let expected = self.missing.remove(&(self.key)(&item));
        let new = self.seen.insert((self.key)(&item));
        if new && !expected {
            self.faults.push(Fault::Unexpected(item));
        }
        new
    }

    fn end(self) -> Vec<Fault<T>> {
        let missing = self
            .expected
            .iter()
            .filter(|item| self.missing.contains(&(self.key)(item)));
        let missing = missing.copied().map(Fault::Missing);
        missing.chain(self.faults).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of these pages, newest first, for a client that has seen 1, if 4, 3, 2 and 1 are right.
    fn faults(pages: &[&[u32]]) -> Vec<Fault<u32>> {
        let mut polled = Polled::new(vec![4, 3, 2, 1], |&n| n);
        polled.begin(1);
        for page in pages {
            polled.page(page, |items| items.is_sorted_by(|one, other| one > other));
        }
        polled.end()
    }

    #[test]
    fn items_may_come_again_and_none_may_be_missing() {
        assert_eq!(faults(&[&[3, 2], &[4]]), []);
        assert_eq!(faults(&[&[3, 2], &[], &[4, 3, 2], &[4]]), []);
        assert_eq!(faults(&[&[3, 2], &[3, 2]]), [Fault::Missing(4)]);
        assert_eq!(faults(&[&[4, 2]]), [Fault::Missing(3)]);
        assert_eq!(faults(&[&[4, 3, 2], &[5], &[5]]), [Fault::Unexpected(5)]);
        assert_eq!(faults(&[&[2, 3], &[4]]), [Fault::Misordered(2)]);
    }

    #[test]
    fn a_page_tells_whether_it_is_new_and_whether_it_was_all() {
        let mut polled = Polled::new(vec![3, 2, 1], |&n| n);
        polled.begin(1);
        let mut page = |items: &[u32]| polled.page(items, |_| true);
        assert_eq!(page(&[2, 1]), (true, false));
        assert_eq!(page(&[2]), (false, false));
        assert_eq!(page(&[3]), (true, true));
    }
}
