//! The viewers whose lists are compared. A leak is visible only to viewers who should not see an item.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::check::Checker;
use super::oracle::UserIndex;

/// How many accounts are tried to find a stranger. If nearly everybody follows the author, there may be none.
const TRIES: u32 = 32;

/// A viewer.
#[derive(Debug, Clone)]
pub(super) struct Eyes {
    /// None: without an account.
    pub(super) viewer: Option<UserIndex>,
    /// Whom the viewer follows.
    pub(super) followees: HashSet<UserIndex>,
    pub(super) access_token: Option<String>,
    /// Empty if the place already says whose view it is.
    whose: String,
}

impl Eyes {
    pub(super) fn see(&self, place: String) -> String {
        if self.whose.is_empty() {
            place
        } else {
            format!("{place}, seen by {}", self.whose)
        }
    }
}

impl Checker<'_> {
    pub(super) fn eyes(&self, viewer: Option<UserIndex>, whose: &str) -> anyhow::Result<Eyes> {
        let account = viewer.map(|viewer| self.name_of(self.oracle.user(viewer).0));
        Ok(Eyes {
            viewer,
            followees: self.oracle.followees(viewer),
            access_token: viewer.map(|viewer| self.access_token(viewer)).transpose()?,
            whose: match account {
                Some(account) if !whose.is_empty() => format!("{whose} {account}"),
                _ => whose.to_owned(),
            },
        })
    }

    /// The viewers to whom something by an author is shown or not: a visitor without an account, a follower, a former follower, somebody
    /// whom a post of the author mentions, and a stranger who has nothing to do with the author. A kind of viewer that does not exist is
    /// left out.
    pub(super) fn others(&self, author: UserIndex) -> anyhow::Result<Vec<Eyes>> {
        let followers = self.oracle.followers(author);
        let follower = chosen(self.seed, author, followers.len()).map(|index| followers[index].1);
        let mut others = vec![self.eyes(None, "a visitor without an account")?];
        for (viewer, whose) in [
            (follower, "the follower"),
            (self.oracle.former_follower(author), "the former follower"),
            (self.oracle.mentioned_by(author), "the mentioned user"),
            (self.stranger_to(author), "the stranger"),
        ] {
            if viewer.is_some() {
                others.push(self.eyes(viewer, whose)?);
            }
        }
        Ok(others)
    }

    fn stranger_to(&self, author: UserIndex) -> Option<UserIndex> {
        let follows = |index: UserIndex| {
            self.oracle
                .following(index)
                .iter()
                .any(|&(_, followee)| followee == author)
        };
        self.accounts(author).find(|&index| index != author && !follows(index))
    }

    /// Some account.
    pub(super) fn anybody(&self) -> anyhow::Result<Option<Eyes>> {
        let account = self.accounts(0).next();
        account.map(|index| self.eyes(Some(index), "the account")).transpose()
    }

    /// Random accounts.
    fn accounts(&self, salt: UserIndex) -> impl Iterator<Item = UserIndex> {
        let count = self.oracle.users().len();
        (0..TRIES)
            .filter_map(move |attempt| chosen(self.seed, (salt, attempt), count))
            .filter_map(|index| UserIndex::try_from(index).ok())
            .filter(|&index| self.oracle.user(index).1.live)
    }
}

/// A random number that depends only on the seed and on what it is for.
pub(super) fn chance(seed: u64, what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, what).hash(&mut hasher);
    hasher.finish()
}

/// A random index below `count`.
fn chosen(seed: u64, what: impl Hash, count: usize) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|&count| count > 0)?;
    usize::try_from(chance(seed, what) % count).ok()
}
