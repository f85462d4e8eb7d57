//! What an import does, and in which order. Only the files and the options decide it, so that a later run finds the same items under the
//! same numbers.

use std::path::{Path, PathBuf};

use event_log::crypto::sha256;

use super::Arguments;
use super::accounts::{AccountIndex, Accounts};
use super::edges::{Given, Shape};
use super::input::InputError;
use super::names::handle_of;
use super::posts::{Columns, Rows};

/// Which files are read, and how.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) follows: Option<(PathBuf, Shape)>,
    pub(super) posts: Option<(PathBuf, Columns)>,
    /// A line `a b` means only that a follows b.
    pub(super) directed: bool,
    /// Every `spread`-th post is written by a user of the follow graph. 0 leaves all posts to their authors.
    pub(super) spread: u64,
}

/// What the files contain. They are read once for it before anything is sent.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) accounts: Accounts,
    /// How many accounts are of the follow graph. They come first.
    pub(super) graph_users: AccountIndex,
    pub(super) follows: u64,
    pub(super) posts: u64,
}

/// One thing to do once the users are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Follow {
        line: u64,
        follower: AccountIndex,
        followee: AccountIndex,
    },
    Post {
        line: u64,
        author: AccountIndex,
        text: String,
        key: String,
    },
}

impl Source {
    /// Detects the formats of the files.
    pub(super) fn look_at(arguments: &Arguments) -> Result<Self, InputError> {
        let given = Given {
            separator: arguments.separator,
            header: arguments.header,
        };
        let follows = arguments.follows.as_ref();
        let follows = follows.map(|path| Ok((path.clone(), Shape::of(path, given)?)));
        let posts = arguments.posts.as_ref();
        let posts = posts.map(|path| Ok((path.clone(), Rows::open(path)?.columns)));
        Ok(Self {
            follows: follows.transpose()?,
            posts: posts.transpose()?,
            directed: arguments.directed,
            spread: arguments.spread,
        })
    }

    /// How the files are read, in words for a person.
    pub(super) fn taken_for(&self) -> Vec<String> {
        let follows = self.follows.iter().map(|(_, shape)| shape.to_string());
        let posts = self.posts.iter().map(|(_, columns)| columns.to_string());
        follows.chain(posts).collect()
    }

    /// Reads both files completely. Only the users are kept.
    pub(super) fn survey(&self) -> Result<Survey, InputError> {
        let mut accounts = Accounts::default();
        let (mut follows, mut posts) = (0, 0);
        if let Some((path, shape)) = &self.follows {
            for edge in shape.edges(path)? {
                let edge = edge?;
                for name in [&edge.from, &edge.to] {
                    accounts.add(handle_of(name), name);
                }
                follows += if self.directed { 1 } else { 2 };
            }
        }
        let graph_users = AccountIndex::try_from(accounts.len()).expect("accounts are numbered by this type");
        if let Some((path, _)) = &self.posts {
            for row in Rows::open(path)? {
                let row = row?;
                accounts.add(handle_of(&row.author), &row.author);
                posts += 1;
            }
        }
        Ok(Survey {
            accounts,
            graph_users,
            follows,
            posts,
        })
    }

    /// All items to send, with follows and posts mixed so that both end together.
    pub(super) fn items<'a>(
        &self,
        survey: &'a Survey,
    ) -> Result<impl Iterator<Item = Result<Item, InputError>> + Send + use<'a>, InputError> {
        let follows = match &self.follows {
            Some((path, shape)) => Some(self.follow_items(path, shape, &survey.accounts)?),
            None => None,
        };
        let posts = match &self.posts {
            Some((path, _)) => Some(self.post_items(path, survey)?),
            None => None,
        };
        Ok(Mixed {
            follows: follows.into_iter().flatten(),
            posts: posts.into_iter().flatten(),
            totals: [survey.follows, survey.posts],
            taken: [0, 0],
        })
    }

    fn follow_items<'a>(
        &self,
        path: &Path,
        shape: &Shape,
        accounts: &'a Accounts,
    ) -> Result<impl Iterator<Item = Result<Item, InputError>> + Send + use<'a>, InputError> {
        let directions = if self.directed { 1 } else { 2 };
        let index = |name: &str| accounts.find(&handle_of(name)).expect("the survey has seen every name");
        Ok(shape.edges(path)?.flat_map(move |edge| {
            let both = edge.map(|edge| {
                let (from, to) = (index(&edge.from), index(&edge.to));
                [(from, to), (to, from)].map(|(follower, followee)| Item::Follow {
                    line: edge.line,
                    follower,
                    followee,
                })
            });
            let (items, error) = match both {
                Ok(items) => (Some(items), None),
                Err(error) => (None, Some(Err(error))),
            };
            items.into_iter().flatten().take(directions).map(Ok).chain(error)
        }))
    }

    fn post_items<'a>(
        &self,
        path: &Path,
        survey: &'a Survey,
    ) -> Result<impl Iterator<Item = Result<Item, InputError>> + Send + use<'a>, InputError> {
        let (spread, graph_users) = (self.spread, survey.graph_users);
        Ok(Rows::open(path)?.zip(0_u64..).map(move |(row, number)| {
            let row = row?;
            let author = spread_author(number, spread, graph_users).unwrap_or_else(|| {
                survey
                    .accounts
                    .find(&handle_of(&row.author))
                    .expect("the survey has seen every author")
            });
            let key = idempotency_key(number, &row.author, &row.text);
            Ok(Item::Post {
                line: row.line,
                author,
                text: row.text,
                key,
            })
        }))
    }
}

/// The user of the follow graph who writes this row, if one does. They take turns, in the order in which the edge list names them.
fn spread_author(number: u64, spread: u64, graph_users: AccountIndex) -> Option<AccountIndex> {
    if graph_users == 0 || number.checked_rem(spread)? != spread - 1 {
        return None;
    }
    let turn = (number / spread) % u64::from(graph_users);
    Some(AccountIndex::try_from(turn).expect("the remainder is below the number of graph users"))
}

/// A key that is the same for a row in every run, and differs between rows, even between rows with the same text.
fn idempotency_key(number: u64, author: &str, text: &str) -> String {
    let hash = sha256(format!("{number}\n{author}\n{text}").as_bytes());
    hash[..16]
        .iter()
        .fold("import-".to_owned(), |key, byte| key + &format!("{byte:02x}"))
}

/// Takes items from two streams in proportion to their totals.
#[derive(Debug)]
struct Mixed<F, P> {
    follows: F,
    posts: P,
    totals: [u64; 2],
    taken: [u64; 2],
}

impl<T, F: Iterator<Item = T>, P: Iterator<Item = T>> Iterator for Mixed<F, P> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let [follows, posts] = self.taken.map(u128::from);
        let [all_follows, all_posts] = self.totals.map(u128::from);
        // A post is due if the finished part of the posts is smaller than the finished part of the follows.
        let post_is_due = posts * all_follows < follows * all_posts;
        let item = if post_is_due {
            self.posts
                .next()
                .map(|item| (item, 1))
                .or_else(|| self.follows.next().map(|item| (item, 0)))
        } else {
            self.follows
                .next()
                .map(|item| (item, 0))
                .or_else(|| self.posts.next().map(|item| (item, 1)))
        };
        let (item, which) = item?;
        self.taken[which] += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn source(directed: bool, spread: u64) -> (Source, [tempfile::NamedTempFile; 2]) {
        let mut files = [
            tempfile::NamedTempFile::new().unwrap(),
            tempfile::NamedTempFile::new().unwrap(),
        ];
        files[0].write_all(b"0 1\n1 2\n").unwrap();
        files[1]
            .write_all(b"author,text\nann,one\nBob,two\nann,three\nann,one\n")
            .unwrap();
        let [follows, posts] = files.each_ref().map(tempfile::NamedTempFile::path);
        let source = Source {
            follows: Some((follows.to_owned(), Shape::of(follows, Given::default()).unwrap())),
            posts: Some((posts.to_owned(), Rows::open(posts).unwrap().columns)),
            directed,
            spread,
        };
        (source, files)
    }

    fn plan(source: &Source) -> (Survey, Vec<Item>) {
        let survey = source.survey().unwrap();
        let items = source.items(&survey).unwrap().map(Result::unwrap).collect();
        (survey, items)
    }

    fn authors(survey: &Survey, items: &[Item]) -> Vec<String> {
        let author = |item: &Item| match item {
            Item::Post { author, .. } => Some(survey.accounts.get(*author).handle.to_string()),
            Item::Follow { .. } => None,
        };
        items.iter().filter_map(author).collect()
    }

    #[test]
    fn each_line_is_two_follows_unless_directed() {
        for (directed, expected) in [
            (false, vec![(0, 1), (1, 0), (1, 2), (2, 1)]),
            (true, vec![(0, 1), (1, 2)]),
        ] {
            let (source, _files) = source(directed, 0);
            let (survey, items) = plan(&source);
            let follows: Vec<_> = items
                .iter()
                .filter_map(|item| match item {
                    Item::Follow { follower, followee, .. } => Some((*follower, *followee)),
                    Item::Post { .. } => None,
                })
                .collect();
            assert_eq!(follows, expected);
            assert_eq!((survey.follows as usize, survey.posts), (expected.len(), 4));
            assert_eq!((survey.graph_users, survey.accounts.len()), (3, 5));
        }
    }

    #[test]
    fn every_second_post_goes_round_the_graph() {
        for (spread, expected) in [
            (0, ["ann", "bob", "ann", "ann"]),
            (1, ["user_0", "user_1", "user_2", "user_0"]),
            (2, ["ann", "user_0", "ann", "user_1"]),
        ] {
            let (source, _files) = source(false, spread);
            let (survey, items) = plan(&source);
            assert_eq!(authors(&survey, &items), expected);
        }
    }

    #[test]
    fn a_second_reading_plans_the_same_and_equal_rows_have_keys_of_their_own() {
        let (source, _files) = source(false, 2);
        let (_, items) = plan(&source);
        assert_eq!(plan(&source).1, items);
        let mut keys: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Item::Post { key, .. } => Some(key),
                Item::Follow { .. } => None,
            })
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn follows_and_posts_are_mixed_in_proportion() {
        let mixed = Mixed {
            follows: [0; 6].into_iter(),
            posts: [1; 2].into_iter(),
            totals: [6, 2],
            taken: [0, 0],
        };
        assert_eq!(mixed.collect::<Vec<_>>(), [0, 1, 0, 0, 0, 1, 0, 0]);
        let only_posts = Mixed {
            follows: [].into_iter(),
            posts: [1; 2].into_iter(),
            totals: [0, 2],
            taken: [0, 0],
        };
        assert_eq!(only_posts.collect::<Vec<_>>(), [1, 1]);
    }
}
