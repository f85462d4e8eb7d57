//! What lists show, and what exclusive ones keep out of a home timeline.

use model::events::{List, ListMember, ListTag};
use model::ids::ListId;

use super::*;

impl Given {
    /// A list of user 1. Without a title, it is deleted.
    fn list(&mut self, n: u128, version: i64, title: Option<&str>, exclusive: bool) {
        let list = List {
            id: ListId::from_uuid(uuid(n)),
            owner: user_id(1),
            title: title.map(str::to_owned),
            exclusive,
            deleted: title.is_none(),
        };
        self.event(version, &Event::ListChanged(list));
    }

    fn list_member(&mut self, list: u128, user: u128, version: i64, active: bool) {
        let member = ListMember {
            list: ListId::from_uuid(uuid(list)),
            owner: user_id(1),
            user: user_id(user),
            active,
        };
        self.event(version, &Event::ListMemberAdded(member));
    }

    fn list_tag(&mut self, list: u128, tag: &str, version: i64, active: bool) {
        let tag = ListTag {
            list: ListId::from_uuid(uuid(list)),
            owner: user_id(1),
            tag: tag.to_owned(),
            active,
        };
        self.event(version, &Event::ListTagAdded(tag));
    }
}

fn titles(oracle: &Oracle, owner: u128) -> Vec<&str> {
    let owner = oracle.find_user(user_id(owner)).unwrap();
    oracle.lists_of(owner).iter().map(|list| list.title.as_str()).collect()
}

fn timeline(oracle: &Oracle, list: usize) -> Vec<u128> {
    let owner = oracle.find_user(user_id(1)).unwrap();
    seen_by(oracle, Some(1), |sight| {
        let posts = oracle.list_timeline(&oracle.lists_of(owner)[list], sight);
        posts.map(|(_, entry)| entry.id).collect()
    })
}

#[test]
fn the_highest_version_of_a_list_and_of_what_is_in_it_counts() {
    let mut given = three_users();
    given.list(1, 2, Some("first, renamed"), false);
    given.list(1, 1, Some("first"), true);
    given.list(2, 1, Some("second"), false);
    given.list(3, 2, None, true);
    given.list(3, 1, Some("deleted"), true);
    given.list_member(1, 2, 1, true);
    given.list_member(1, 3, 2, false);
    given.list_member(1, 3, 1, true);
    given.list_member(3, 3, 1, true);
    given.list_tag(1, "Rust", 1, true);
    given.list_tag(1, "go", 2, false);
    given.list_tag(1, "go", 1, true);
    given.post(10, 2, 1, false);
    let oracle = given.oracle();
    assert_eq!(titles(&oracle, 1), ["second", "first, renamed"]);
    assert_eq!(titles(&oracle, 2), [""; 0]);
    let owner = oracle.find_user(user_id(1)).unwrap();
    let list = &oracle.lists_of(owner)[1];
    assert_eq!(users(&oracle, &list.members), [2]);
    assert_eq!(list.tags.len(), 1);
    assert!(oracle.kept_out_by(owner).is_empty());
    assert_eq!((timeline(&oracle, 0), timeline(&oracle, 1)), (vec![], vec![10]));
}

#[test]
fn an_exclusive_list_keeps_out_what_its_members_post_and_what_others_repost_of_them() {
    let given = |exclusive| {
        let mut given = three_users();
        for followee in [2, 3] {
            given.follow(1, followee, 1, true);
        }
        for (n, author) in [(10, 1), (11, 2), (12, 3)] {
            given.post(n, author, 1, false);
        }
        given.repost(20, 3, 11, 1, true);
        given.repost(21, 2, 12, 1, true);
        given.repost(22, 1, 11, 1, true);
        given.list(1, 1, Some("list"), exclusive);
        for member in [1, 2] {
            given.list_member(1, member, 1, true);
        }
        given.oracle()
    };
    let all = [22, 21, 20, 12, 11, 10];
    assert_eq!(home(&given(false), 1), all);
    assert_eq!(home(&given(true), 1), [22, 12, 10]);
    assert_eq!(timeline(&given(true), 0), [22, 21, 11, 10]);
}

/// User 1 follows user 2, and user 3 is a stranger.
#[test]
fn home_without_replies_keeps_those_to_known_people() {
    let mut given = three_users();
    given.follow(1, 2, 1, true);
    for (n, author) in [(10, 1), (11, 2), (12, 3)] {
        given.post(n, author, 1, false);
    }
    for (n, author, parent) in [(20, 2, 10), (21, 2, 11), (22, 2, 12), (23, 1, 12)] {
        given.write(n, author, 1, false, Visibility::Public, Some(parent));
    }
    given.repost(30, 2, 22, 1, true);
    let oracle = given.oracle();
    let without = seen_by(&oracle, Some(1), |sight| {
        oracle.home_without_replies(sight).map(|(_, entry)| entry.id).collect()
    });
    assert_eq!(without, [30, 23, 21, 20, 11, 10]);
    assert_eq!(home(&oracle, 1), [30, 23, 22, 21, 20, 11, 10]);
}
