//! What followed tags and the timelines of tags show.

use model::entities::Hashtag;
use model::events::{Block, EndedFollows, Mute, TagFollow};

use super::*;

impl Given {
    fn write_tagged(&mut self, n: u128, version: i64, tags: &[&str], visibility: Visibility) {
        let hashtag = |tag: &&str| Hashtag {
            tag: (*tag).to_owned(),
            start: 0,
            end: 1,
        };
        let entities = Entities {
            hashtags: tags.iter().map(hashtag).collect(),
            ..Entities::default()
        };
        self.event(
            version,
            &Event::PostCreated(Post {
                id: post_id(n),
                author: user_id(2),
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

    fn follow_tag(&mut self, user: u128, tag: &str, version: i64, active: bool) {
        let (user, tag) = (user_id(user), tag.to_owned());
        self.event(version, &Event::TagFollowed(TagFollow { user, tag, active }));
    }
}

fn tagged(oracle: &Oracle, viewer: Option<u128>, tag: &str) -> Vec<u128> {
    seen_by(oracle, viewer, |sight| {
        let posts = oracle.tag_timeline(&TagKey::of(tag), sight);
        posts.map(|(_, entry)| entry.id).collect()
    })
}

#[test]
fn a_followed_tag_brings_public_posts_that_have_it_now_and_each_once() {
    let mut given = three_users();
    given.write_tagged(10, 1, &["Rust"], Visibility::Public);
    given.write_tagged(11, 1, &["rust", "go"], Visibility::Public);
    given.write_tagged(12, 1, &["rust"], Visibility::Followers);
    given.write_tagged(13, 2, &[], Visibility::Public);
    given.write_tagged(13, 1, &["rust"], Visibility::Public);
    given.repost(20, 2, 10, 1, true);
    given.follow_tag(1, "RUST", 1, true);
    given.follow_tag(1, "Go", 1, true);
    given.follow_tag(3, "rust", 2, false);
    given.follow_tag(3, "rust", 1, true);
    given.follow_tag(2, "rust", 1, true);
    let oracle = given.oracle();
    let tagged = |tag| tagged(&oracle, None, tag);
    assert_eq!((tagged("rust"), tagged("GO")), (vec![11, 10], vec![11]));
    assert_eq!(oracle.tags(), ["go", "rust"].map(TagKey::of));
    let followed = oracle.followed_tags(oracle.find_user(user_id(1)).unwrap());
    let names: Vec<&str> = followed.iter().map(|follow| follow.name.as_str()).collect();
    assert_eq!(names, ["Go", "RUST"]);
    assert_eq!(home(&oracle, 1), [11, 10]);
    assert_eq!(home(&oracle, 2), [20, 13, 12, 11, 10], "their own, each once");
    assert_eq!(home(&oracle, 3), [0; 0]);
}

/// Ann, Bob and Cat follow the tag. Ann also follows its author, Bob mutes the author, and Cat is blocked.
#[test]
fn a_tag_shows_nothing_that_a_block_a_mute_a_protection_or_a_visibility_hides() {
    let denied = |protected: bool| {
        let mut given = Given::default();
        for n in 1..=4 {
            given.user(n, 1, false);
        }
        for (n, visibility) in [(10, Visibility::Public), (11, Visibility::Unlisted)] {
            given.write_tagged(n, 1, &["rust"], visibility);
        }
        for user in [1, 3, 4] {
            given.follow_tag(user, "rust", 1, true);
        }
        given.follow(1, 2, 1, true);
        let (muter, muted) = (user_id(3), user_id(2));
        given.event(
            1,
            &Event::UserMuted(Mute {
                muter,
                muted,
                active: true,
                until: None,
                notifications: false,
            }),
        );
        let (blocker, blocked) = (user_id(2), user_id(4));
        given.event(
            1,
            &Event::UserBlocked(Block {
                blocker,
                blocked,
                active: true,
                ends: EndedFollows::default(),
            }),
        );
        if protected {
            given.protect(2, 2);
        }
        given.oracle()
    };
    let open = denied(false);
    let viewers = [None, Some(1), Some(2), Some(3), Some(4)];
    let shown = viewers.map(|viewer| tagged(&open, viewer, "rust"));
    assert_eq!(shown, [vec![10], vec![10], vec![10], vec![], vec![]]);
    assert_eq!([1, 3, 4].map(|user| home(&open, user)), [vec![11, 10], vec![], vec![]]);
    let protected = denied(true);
    for viewer in viewers {
        assert_eq!(tagged(&protected, viewer, "rust"), [0; 0], "{viewer:?}");
        let viewer = viewer.map(|viewer| protected.find_user(user_id(viewer)).unwrap());
        assert!(protected.public_timeline(&protected.sight(viewer, at(0))).is_empty());
    }
    assert_eq!(
        [1, 3, 4].map(|user| home(&protected, user)),
        [vec![11, 10], vec![], vec![]]
    );
}
