//! What users are told, and what of it is shown.

use model::events::{Block, EndedFollows, Mute, NotificationDismissed, NotificationsRead, QuoteOf};
use model::values::NotificationKind as Kind;

use super::*;

fn event_id(n: u128) -> EventId {
    EventId::from_uuid(uuid(n))
}

/// The number of the event, the kind and the actor of each notification that is shown.
fn told(oracle: &Oracle, owner: u128) -> Vec<(u128, Kind, u128)> {
    let owner = oracle.find_user(user_id(owner)).unwrap();
    let sight = oracle.sight(Some(owner), at(0));
    let told = oracle.notifications(&sight);
    told.map(|(id, told)| (id.as_uuid().as_u128(), told.kind, told.user.as_uuid().as_u128()))
        .collect()
}

#[test]
fn the_last_state_tells_and_the_first_event_says_where() {
    let mut given = three_users();
    given.post(10, 1, 1, false);
    given.like(2, 10, 1, true);
    given.like(3, 10, 1, true);
    given.like(2, 10, 2, false);
    given.like(3, 10, 2, false);
    // A late version counts for the place and restores nothing.
    given.like(2, 10, 3, true);
    given.mention(11, 3, 2, Visibility::Public, 2);
    given.mention(11, 3, 1, Visibility::Public, 1);
    given.follow(2, 1, 1, true);
    let accepted = Follow {
        follower: user_id(3),
        followee: user_id(1),
        active: true,
        requested: false,
    };
    given.event(2, &Event::FollowAccepted(accepted));
    // What users do themselves tells them nothing, and moves no group.
    given.like(1, 10, 1, true);
    let first = given.events - 10;
    let oracle = given.oracle();
    assert_eq!(
        told(&oracle, 1),
        [
            (first + 9, Kind::Follow, 3),
            (first + 8, Kind::Follow, 2),
            (first + 1, Kind::Like, 2)
        ]
    );
    assert_eq!(told(&oracle, 2), [(first + 6, Kind::Mention, 3)]);
    assert_eq!(told(&oracle, 3), [(first + 9, Kind::Accepted, 1)]);
    let sight = oracle.sight(oracle.find_user(user_id(1)), at(0));
    let groups = oracle.notification_groups(&sight);
    let groups: Vec<_> = groups.iter().map(|((kind, _), told)| (*kind, told.len())).collect();
    assert_eq!(groups, [(Kind::Follow, 2), (Kind::Like, 1)]);
}

#[test]
fn a_quote_that_is_detached_is_a_mention_if_it_is_one() {
    let mut given = three_users();
    given.post(10, 1, 1, false);
    let quote = |post: u128, detached: bool, mentions: bool| {
        let user = Some(user_id(1));
        let mention = Mention {
            handle: "u1".to_owned(),
            start: 0,
            end: 2,
            user,
        };
        let entities = Entities {
            mentions: mentions.then_some(mention).into_iter().collect(),
            ..Entities::default()
        };
        Event::PostCreated(Post {
            id: post_id(post),
            author: user_id(2),
            content: Some(PostContent {
                entities,
                ..PostContent::default()
            }),
            in_reply_to: None,
            visibility: Visibility::Public,
            created_at: at(post),
            edited_at: None,
            quote_of: Some(QuoteOf {
                post: post_id(10),
                author: user_id(1),
                detached,
            }),
            hidden: None,
            deleted: false,
        })
    };
    for (post, mentions) in [(11, true), (12, false)] {
        given.event(1, &quote(post, false, mentions));
        given.event(2, &quote(post, true, mentions));
    }
    given.event(1, &quote(13, false, true));
    let kinds: Vec<_> = told(&given.oracle(), 1).into_iter().map(|(_, kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Quote, Kind::Mention]);
}

#[test]
fn who_reposts_is_told_of_the_first_edit_after_that() {
    let mut given = three_users();
    given.post(10, 1, 1, false);
    let edit = |given: &mut Given, version: i64, seconds: i64| {
        let at = PostId::from_uuid(model::ids::uuid_v7(at(1_000))).time() + chrono::TimeDelta::seconds(seconds);
        let content = Some(PostContent::default());
        given.event(
            version,
            &Event::PostEdited(Post {
                id: post_id(10),
                author: user_id(1),
                content,
                in_reply_to: None,
                visibility: Visibility::Public,
                created_at: at,
                edited_at: Some(at),
                quote_of: None,
                hidden: None,
                deleted: false,
            }),
        );
        EventId::of_edit(post_id(10), at)
    };
    let repost = |given: &mut Given, user: u128, version: i64, active: bool| {
        let repost = Repost {
            id: PostId::from_uuid(model::ids::uuid_v7(at(1_000))),
            user: user_id(user),
            post: post_id(10),
            post_author: user_id(1),
            created_at: at(1_000),
            active,
        };
        given.event(version, &Event::PostReposted(repost));
    };
    edit(&mut given, 4, 20);
    let first = edit(&mut given, 3, 10);
    edit(&mut given, 2, -10);
    repost(&mut given, 1, 1, true);
    repost(&mut given, 2, 1, true);
    repost(&mut given, 3, 2, false);
    repost(&mut given, 3, 1, true);
    let oracle = given.oracle();
    assert_eq!(told(&oracle, 2), [(first.as_uuid().as_u128(), Kind::Edit, 1)]);
    assert_eq!(told(&oracle, 3), []);
}

#[test]
fn whom_one_blocks_or_mutes_and_what_one_dismisses_is_not_shown() {
    let given = || {
        let mut given = three_users();
        given.post(10, 1, 1, false);
        given.like(2, 10, 1, true);
        given
    };
    let like = given().events;
    let shown = |event: Event| {
        let mut given = given();
        given.event(1, &event);
        !told(&given.oracle(), 1).is_empty()
    };
    let block = |blocker, blocked, active| {
        let (blocker, blocked) = (user_id(blocker), user_id(blocked));
        Event::UserBlocked(Block {
            blocker,
            blocked,
            active,
            ends: EndedFollows::default(),
        })
    };
    let mute = |until, notifications| {
        let (muter, muted) = (user_id(1), user_id(2));
        Event::UserMuted(Mute {
            muter,
            muted,
            active: true,
            until,
            notifications,
        })
    };
    let dismissed = |notification| {
        Event::NotificationDismissed(NotificationDismissed {
            user: user_id(1),
            notification,
        })
    };
    for (event, is_shown) in [
        (block(1, 2, true), false),
        (block(2, 1, true), false),
        (block(2, 1, false), true),
        (mute(None, false), false),
        (mute(None, true), true),
        (mute(Some(at(0)), false), true),
        (dismissed(event_id(like)), false),
        (dismissed(event_id(like + 1)), true),
    ] {
        let words = format!("{event:?}");
        assert_eq!(shown(event), is_shown, "{words}");
    }
    let mut given = given();
    given.event(2, &Event::UserDeleted(user(2, true)));
    for up_to in [7, 9, 8] {
        let up_to = event_id(up_to);
        given.event(
            1,
            &Event::NotificationsRead(NotificationsRead {
                user: user_id(1),
                up_to,
            }),
        );
    }
    let oracle = given.oracle();
    let sight = oracle.sight(oracle.find_user(user_id(1)), at(0));
    assert_eq!(oracle.read_up_to(&sight), Some(event_id(9)), "a marker only rises");
    assert_eq!(told(&oracle, 1), [], "who is deleted did nothing");
}
