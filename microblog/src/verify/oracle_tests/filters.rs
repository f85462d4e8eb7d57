//! What filters leave out and mark.

use model::events::{Filter, FilterContent};
use model::ids::FilterId;
use model::values::FilterAction;

use super::*;

impl Given {
    fn filter(&mut self, n: u128, owner: u128, version: i64, phrase: &str, content: impl FnOnce(&mut FilterContent)) {
        let mut filter = FilterContent {
            phrases: vec![phrase.to_owned(), "absent".to_owned()],
            whole_word: false,
            contexts: [FilterContext::Home, FilterContext::Thread].into(),
            action: FilterAction::Hide,
            expires_at: None,
        };
        content(&mut filter);
        self.event(
            version,
            &Event::FilterChanged(Filter {
                id: FilterId::from_uuid(uuid(n)),
                owner: user_id(owner),
                content: Some(filter),
                deleted: false,
            }),
        );
    }

    fn delete_filter(&mut self, n: u128, owner: u128, version: i64) {
        self.event(
            version,
            &Event::FilterDeleted(Filter {
                id: FilterId::from_uuid(uuid(n)),
                owner: user_id(owner),
                content: None,
                deleted: true,
            }),
        );
    }
}

/// User 1 follows 2, who has written `post 10 version 1`. User 1 has written `post 11 version 1`, and 2 has reposted it as 20.
fn given() -> Given {
    let mut given = Given {
        facts: Facts::new(true),
        ..Given::default()
    };
    for n in 1..=3 {
        given.user(n, 1, false);
    }
    given.follow(1, 2, 1, true);
    given.post(10, 2, 1, false);
    given.post(11, 1, 1, false);
    given.repost(20, 2, 11, 1, true);
    given
}

type Changes = fn(&mut FilterContent);

#[test]
fn a_filter_hides_what_others_wrote_where_it_looks_until_it_is_over() {
    let all = [20, 11, 10];
    let hidden = [20, 11];
    let cases: [(&str, Changes, &[u128]); 8] = [
        ("POST 10", |_| {}, &hidden),
        ("version", |_| {}, &hidden),
        ("post 1", |filter| filter.whole_word = true, &all),
        ("ost 10", |filter| filter.whole_word = true, &all),
        ("10 VERSION 1", |filter| filter.whole_word = true, &hidden),
        ("post", |filter| filter.contexts = [FilterContext::Public].into(), &all),
        ("post", |filter| filter.action = FilterAction::Warn, &all),
        ("post", |filter| filter.expires_at = Some(at(0)), &all),
    ];
    for (phrase, content, expected) in cases {
        let mut given = given();
        given.filter(50, 1, 1, phrase, content);
        given.filter(51, 3, 1, "post", |_| {});
        assert_eq!(home(&given.oracle(), 1), expected, "{phrase}");
    }
}

#[test]
fn the_highest_version_of_a_filter_counts() {
    let mut given = given();
    given.filter(50, 1, 2, "absent", |_| {});
    given.filter(50, 1, 1, "post 10", |_| {});
    given.delete_filter(51, 1, 3);
    given.filter(51, 1, 2, "post 10", |_| {});
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [20, 11, 10]);
    assert_eq!(oracle.filters_of(oracle.find_user(user_id(1)).unwrap()).len(), 1);
}

#[test]
fn a_list_names_what_warns() {
    let mut given = given();
    given.filter(50, 1, 1, "post", |filter| filter.action = FilterAction::Warn);
    given.repost(21, 3, 10, 1, true);
    let oracle = given.oracle();
    let index = |n| oracle.find_user(user_id(n)).unwrap();
    let sight = oracle.sight(Some(index(1)), at(0));
    let phrases = |author, id, original: Option<u128>| {
        let entry = Entry {
            id: post_id(id),
            original: original.map(post_id),
        };
        let found = oracle.filtered(FilterContext::Home, index(author), entry, &sight);
        found.into_iter().flat_map(|found| found.phrases).collect::<Vec<_>>()
    };
    assert_eq!(phrases(2, 10, None), ["post"]);
    assert_eq!(phrases(3, 21, Some(10)), ["post"]);
    assert_eq!(phrases(1, 11, None), [""; 0]);
    assert_eq!(phrases(2, 20, Some(11)), [""; 0]);
}
