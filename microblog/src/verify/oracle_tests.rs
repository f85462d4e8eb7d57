//! Given events, then lists.

use model::entities::{Entities, Mention};
use model::events::{Follow, Like, Post, PostContent, ReplyTo, Repost, User};
use model::values::Handle;

use super::super::compare::{Comparison, Fault};
use super::super::sight::Sight;
use super::*;

#[path = "oracle_tests/filters.rs"]
mod filters;
#[path = "oracle_tests/lists.rs"]
mod lists;
#[path = "oracle_tests/notifications.rs"]
mod notifications;
#[path = "oracle_tests/tags.rs"]
mod tags;

/// Ids and times in the order of their numbers.
fn uuid(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn user_id(n: u128) -> UserId {
    UserId::from_uuid(uuid(n))
}

fn post_id(n: u128) -> PostId {
    PostId::from_uuid(uuid(n))
}

fn at(n: u128) -> DateTime<Utc> {
    DateTime::from_timestamp(i64::try_from(n).unwrap(), 0).unwrap()
}

fn user(n: u128, deleted: bool) -> User {
    let name = (!deleted).then(|| format!("User {n}"));
    User {
        id: user_id(n),
        handle: Handle::parse(&format!("u{n}")).unwrap(),
        display_name: name.clone(),
        bio: name,
        fields: Vec::new(),
        created_at: at(n),
        suspended: None,
        deleted,
        protected: false,
    }
}

#[derive(Default)]
struct Given {
    facts: Facts,
    events: u128,
}

impl Given {
    fn event(&mut self, version: i64, event: &Event) {
        self.events += 1;
        self.facts.apply(EventId::from_uuid(uuid(self.events)), version, event);
    }

    fn user(&mut self, n: u128, version: i64, deleted: bool) {
        let user = user(n, deleted);
        self.event(version, &Event::UserRegistered(user));
    }

    fn protect(&mut self, n: u128, version: i64) {
        let protected = true;
        let user = user(n, false);
        self.event(version, &Event::UserProtected(User { protected, ..user }));
    }

    fn post(&mut self, n: u128, author: u128, version: i64, deleted: bool) {
        self.write(n, author, version, deleted, Visibility::Public, None);
    }

    fn write(
        &mut self,
        n: u128,
        author: u128,
        version: i64,
        deleted: bool,
        visibility: Visibility,
        parent: Option<u128>,
    ) {
        let content = PostContent {
            text: format!("post {n} version {version}"),
            ..PostContent::default()
        };
        self.event(
            version,
            &Event::PostCreated(Post {
                id: post_id(n),
                author: user_id(author),
                content: (!deleted).then_some(content),
                in_reply_to: parent.map(|parent| ReplyTo {
                    post: post_id(parent),
                    author: user_id(1),
                }),
                visibility,
                created_at: at(n),
                edited_at: None,
                quote_of: None,
                hidden: None,
                deleted,
            }),
        );
    }

    /// A post that mentions one user.
    fn mention(&mut self, n: u128, author: u128, version: i64, visibility: Visibility, mentioned: u128) {
        let mention = Mention {
            handle: format!("u{mentioned}"),
            start: 0,
            end: 2,
            user: Some(user_id(mentioned)),
        };
        let entities = Entities {
            mentions: vec![mention],
            ..Entities::default()
        };
        self.event(
            version,
            &Event::PostEdited(Post {
                id: post_id(n),
                author: user_id(author),
                content: Some(PostContent {
                    entities,
                    ..PostContent::default()
                }),
                in_reply_to: None,
                visibility,
                created_at: at(n),
                edited_at: None,
                quote_of: None,
                hidden: None,
                deleted: false,
            }),
        );
    }

    fn follow(&mut self, follower: u128, followee: u128, version: i64, active: bool) {
        let (follower, followee) = (user_id(follower), user_id(followee));
        self.event(
            version,
            &Event::Followed(Follow {
                follower,
                followee,
                active,
                requested: false,
            }),
        );
    }

    fn repost(&mut self, n: u128, user: u128, post: u128, version: i64, active: bool) {
        self.event(
            version,
            &Event::PostReposted(Repost {
                id: post_id(n),
                user: user_id(user),
                post: post_id(post),
                post_author: user_id(1),
                created_at: at(n),
                active,
            }),
        );
    }

    fn oracle(self) -> Oracle {
        self.facts.into_oracle()
    }
}

impl Given {
    fn like(&mut self, user: u128, post: u128, version: i64, active: bool) {
        let like = Like {
            user: user_id(user),
            post: post_id(post),
            post_author: user_id(1),
            active,
        };
        self.event(version, &Event::PostLiked(like));
    }
}

/// What a list of posts shows to this viewer. `None` is a viewer without an account.
fn seen_by(oracle: &Oracle, viewer: Option<u128>, list: impl Fn(&Sight) -> Vec<PostId>) -> Vec<u128> {
    let viewer = viewer.map(|viewer| oracle.find_user(user_id(viewer)).unwrap());
    let posts = list(&oracle.sight(viewer, at(0)));
    posts.into_iter().map(|id| id.as_uuid().as_u128()).collect()
}

/// The differences between the served and the expected list, both newest first.
fn differences(expected: &[u128], served: &[u128]) -> Vec<String> {
    let mut comparison = Comparison::new(expected.iter().map(|&id| (id, id)));
    let mut faults: Vec<_> = served.iter().flat_map(|&id| comparison.served(id, id).faults).collect();
    faults.extend(comparison.end());
    let words = |fault: Fault<u128>| {
        let (how, id) = fault.words();
        format!("{how} {id}")
    };
    faults.into_iter().map(words).collect()
}

fn home(oracle: &Oracle, user: u128) -> Vec<u128> {
    let user = oracle.find_user(user_id(user)).unwrap();
    oracle
        .home_timeline(&oracle.sight(Some(user), at(0)))
        .map(|(_, entry)| entry.id.as_uuid().as_u128())
        .collect()
}

fn users(oracle: &Oracle, list: &[(EventId, UserIndex)]) -> Vec<u128> {
    list.iter()
        .map(|&(_, user)| oracle.user(user).0.as_uuid().as_u128())
        .collect()
}

fn three_users() -> Given {
    let mut given = Given::default();
    for n in 1..=3 {
        given.user(n, 1, false);
    }
    given
}

#[test]
fn one_sees_ones_own_and_what_is_followed_newest_first() {
    let mut given = three_users();
    given.post(10, 1, 1, false);
    given.post(11, 2, 1, false);
    given.post(12, 3, 1, false);
    given.post(13, 2, 1, false);
    given.follow(1, 2, 1, true);
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [13, 11, 10]);
    assert_eq!(home(&oracle, 2), [13, 11]);
}

#[test]
fn the_highest_version_counts_in_whatever_order_it_comes() {
    let mut given = three_users();
    given.post(10, 2, 3, true);
    given.post(10, 2, 1, false);
    given.post(11, 2, 2, false);
    given.post(11, 2, 1, false);
    given.follow(1, 2, 3, true);
    given.follow(1, 2, 2, false);
    given.follow(3, 2, 1, true);
    given.follow(3, 2, 2, false);
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [11]);
    assert_eq!(home(&oracle, 3), []);
    assert_eq!(
        oracle.post(post_id(11)).unwrap().said,
        Said::of("post 11 version 2", None, None)
    );
}

#[test]
fn a_repost_is_an_entry_of_its_own_until_it_or_its_original_is_gone() {
    let mut given = three_users();
    given.follow(1, 2, 1, true);
    given.follow(1, 3, 1, true);
    for original in [10, 11, 12] {
        given.post(original, 3, 1, false);
    }
    given.repost(20, 2, 10, 1, true);
    given.repost(21, 2, 11, 1, true);
    given.repost(21, 2, 11, 2, false);
    given.repost(22, 2, 12, 1, true);
    given.post(12, 3, 2, true);
    // Undone and done again: the repost has a new id.
    given.repost(23, 2, 11, 3, true);
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [23, 20, 11, 10]);
    assert_eq!(
        oracle.post_counts(post_id(10)),
        PostCounts {
            reposts: 1,
            ..PostCounts::default()
        }
    );
    // The count of posts does not include reposts.
    assert_eq!(oracle.counts(oracle.find_user(user_id(2)).unwrap()).posts, 0);
}

#[test]
fn a_deleted_user_takes_all_that_is_theirs_out_of_sight() {
    let mut given = three_users();
    given.follow(1, 2, 1, true);
    given.follow(1, 3, 1, true);
    given.post(10, 3, 1, false);
    given.post(11, 2, 1, false);
    given.repost(20, 2, 10, 1, true);
    given.user(3, 2, true);
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [11]);
    let one = oracle.find_user(user_id(1)).unwrap();
    assert_eq!(users(&oracle, oracle.following(one)), [2]);
    // The deletion sweep's own events correct the counts, not the tombstone.
    assert_eq!(oracle.counts(one).following, 2);
    assert_eq!(oracle.public_timeline(&Sight::default()).len(), 1);
}

#[test]
fn lists_of_people_are_newest_first_and_a_new_follow_is_new() {
    let mut given = three_users();
    given.follow(2, 1, 1, true);
    given.follow(3, 1, 1, true);
    given.follow(2, 1, 2, false);
    given.follow(2, 1, 3, true);
    let oracle = given.oracle();
    let one = oracle.find_user(user_id(1)).unwrap();
    assert_eq!(users(&oracle, oracle.followers(one)), [2, 3]);
}

#[test]
fn followers_only_posts_are_in_home_timelines_but_not_in_the_public_one() {
    let mut given = three_users();
    given.follow(1, 2, 1, true);
    given.write(10, 2, 1, false, Visibility::Followers, None);
    given.write(11, 2, 1, false, Visibility::Public, Some(10));
    let oracle = given.oracle();
    assert_eq!(home(&oracle, 1), [11, 10]);
    let public: Vec<u128> = oracle
        .public_timeline(&Sight::default())
        .iter()
        .map(|(_, entry)| entry.id.as_uuid().as_u128())
        .collect();
    assert_eq!(public, [11]);
    assert_eq!(oracle.post_counts(post_id(10)).replies, 1);
}

#[test]
fn likes_are_counted_while_they_last() {
    let mut given = three_users();
    given.post(10, 1, 1, false);
    let like = |user, active| Like {
        user: user_id(user),
        post: post_id(10),
        post_author: user_id(1),
        active,
    };
    given.event(1, &Event::PostLiked(like(2, true)));
    given.event(1, &Event::PostLiked(like(3, true)));
    given.event(2, &Event::PostUnliked(like(3, false)));
    assert_eq!(given.oracle().post_counts(post_id(10)).likes, 1);
}

/// Ann's posts, as every viewer sees them. If a service forgot to check the follow, its answer would be a difference.
#[test]
fn posts_for_followers_are_expected_by_those_alone_who_follow_now() {
    let mut given = three_users();
    given.user(4, 1, false);
    given.follow(2, 1, 1, true);
    given.follow(3, 1, 1, true);
    given.follow(3, 1, 2, false);
    given.post(10, 1, 1, false);
    given.write(11, 1, 1, false, Visibility::Followers, None);
    given.post(20, 2, 1, false);
    given.repost(12, 1, 20, 1, true);
    let oracle = given.oracle();
    let ann = oracle.find_user(user_id(1)).unwrap();
    let of_ann = |viewer| {
        seen_by(&oracle, viewer, |sight| {
            oracle.posts_of(ann, sight).map(|(_, entry)| entry.id).collect()
        })
    };
    let everything = [12, 11, 10];
    for (viewer, expected) in [
        (Some(1), &everything[..]),
        (Some(2), &everything),
        (Some(3), &[12, 10]),
        (Some(4), &[12, 10]),
        (None, &[12, 10]),
    ] {
        assert_eq!(of_ann(viewer), expected, "{viewer:?}");
        let leak = differences(expected, &everything);
        assert_eq!(leak.is_empty(), expected == everything, "{viewer:?}: {leak:?}");
        assert_eq!(
            differences(expected, &expected[1..]),
            [format!("missing {}", expected[0])]
        );
    }
    assert_eq!(differences(&of_ann(None), &everything), ["unexpected 11"]);
    assert_eq!(oracle.former_follower(ann), oracle.find_user(user_id(3)));
}

/// Ann's posts of each visibility, which mention Cat and then another. Bob follows Ann.
#[test]
fn each_visibility_is_expected_by_its_viewers_alone() {
    use Visibility::{Followers, Mentioned, Public, Unlisted};
    let mut given = three_users();
    given.user(4, 1, false);
    given.follow(2, 1, 1, true);
    for (n, visibility) in [(10, Public), (11, Unlisted), (12, Followers), (13, Mentioned)] {
        given.mention(n, 1, 1, visibility, 3);
    }
    // Edited out, and Dan and Bob edited in.
    given.mention(14, 1, 1, Mentioned, 3);
    given.mention(14, 1, 2, Mentioned, 4);
    given.mention(15, 1, 1, Mentioned, 2);
    // Nobody can make such a repost. It would be shown to nobody.
    given.repost(20, 2, 12, 1, true);
    given.repost(21, 2, 11, 1, true);
    let oracle = given.oracle();
    let ann = oracle.find_user(user_id(1)).unwrap();
    for (viewer, expected) in [
        (Some(1), &[15, 14, 13, 12, 11, 10][..]),
        (Some(2), &[15, 12, 11, 10]),
        (Some(3), &[13, 12, 11, 10]),
        (Some(4), &[14, 11, 10]),
        (None, &[11, 10]),
    ] {
        let shown = seen_by(&oracle, viewer, |sight| {
            let posts = oracle.posts_of(ann, sight);
            posts.map(|(_, entry)| entry.id).collect()
        });
        assert_eq!(shown, expected, "{viewer:?}");
    }
    assert_eq!(home(&oracle, 1), [15, 14, 13, 12, 11, 10]);
    assert_eq!(home(&oracle, 2), [21, 15, 12, 11, 10]);
    assert_eq!(home(&oracle, 3), []);
    let public = oracle.public_timeline(&Sight::default());
    assert_eq!(
        public.iter().map(|(_, entry)| entry.id).collect::<Vec<_>>(),
        [post_id(10)]
    );
    let index = |n| oracle.find_user(user_id(n));
    assert_eq!(
        (oracle.mentioned(post_id(13)), oracle.mentioned(post_id(11))),
        (index(3), None)
    );
    assert_eq!(oracle.mentioned_by(ann), index(3), "who does not follow comes first");
}

#[test]
fn a_former_follower_who_follows_again_or_is_gone_is_none() {
    let mut given = three_users();
    for (follower, again) in [(2, true), (3, false)] {
        given.follow(follower, 1, 1, true);
        given.follow(follower, 1, 2, false);
        if again {
            given.follow(follower, 1, 3, true);
        }
    }
    given.user(3, 2, true);
    let oracle = given.oracle();
    assert_eq!(oracle.former_follower(oracle.find_user(user_id(1)).unwrap()), None);
}

/// 10 ← 11 (for Bob's followers) ← 12 ← 13. Beside it, 14 replies to 12, for followers, and 15 is deleted.
#[test]
fn a_thread_ends_where_the_viewer_may_not_look() {
    let mut given = three_users();
    given.follow(3, 2, 1, true);
    given.post(10, 1, 1, false);
    given.write(11, 2, 1, false, Visibility::Followers, Some(10));
    given.write(12, 1, 1, false, Visibility::Public, Some(11));
    given.write(13, 1, 1, false, Visibility::Public, Some(12));
    given.write(14, 2, 1, false, Visibility::Followers, Some(12));
    given.write(15, 2, 2, true, Visibility::Public, Some(12));
    let oracle = given.oracle();
    let ancestors = |viewer, most| {
        seen_by(&oracle, viewer, |sight| {
            let ancestors = oracle.ancestors(post_id(13), sight, most);
            ancestors.into_iter().map(|(_, entry)| entry.id).collect()
        })
    };
    let replies = |viewer| {
        seen_by(&oracle, viewer, |sight| {
            oracle.replies(post_id(12), sight).map(|(_, entry)| entry.id).collect()
        })
    };
    assert_eq!(
        (ancestors(Some(3), 50), replies(Some(3))),
        (vec![10, 11, 12], vec![14, 13])
    );
    assert_eq!((ancestors(None, 50), replies(None)), (vec![12], vec![13]));
    assert_eq!(ancestors(Some(3), 2), [11, 12], "the nearest ones");
    assert_eq!(differences(&replies(None), &replies(Some(3))), ["unexpected 14"]);
    assert_eq!(differences(&replies(Some(3)), &[15, 14, 13]), ["unexpected 15"]);
    let nobody = Sight::default();
    assert!(!oracle.shows(post_id(11), &nobody) && !oracle.shows(post_id(15), &nobody));
    assert!(!oracle.shows(post_id(99), &nobody), "it never was");
}

#[test]
fn who_likes_or_reposted_a_post_comes_newest_first_as_long_as_it_lasts() {
    let mut given = three_users();
    given.user(4, 1, false);
    given.post(10, 1, 1, false);
    for user in 1..=4 {
        given.like(user, 10, 1, true);
        given.repost(20 + user, user, 10, 1, true);
    }
    // One user likes it again, one unlikes it, and one is deleted.
    given.like(1, 10, 2, false);
    given.like(1, 10, 3, true);
    given.like(2, 10, 2, false);
    given.repost(22, 2, 10, 2, false);
    given.user(4, 2, true);
    let oracle = given.oracle();
    let people = oracle.people_of(&[post_id(10), post_id(11)]);
    let PostPeople { likers, reposters } = &people[&post_id(10)];
    assert_eq!(users(&oracle, likers), [1, 3]);
    assert_eq!(users(&oracle, reposters), [3, 1]);
    assert!(people[&post_id(11)].likers.is_empty());
}
