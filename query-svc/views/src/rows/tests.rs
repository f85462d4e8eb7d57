//! Given rows and events, when they are decided, then these writes follow.

use chrono::{DateTime, Utc};
use model::entities::Entities;
use model::events::{Event, Moderation, PostContent, ReplyTo};
use model::ids::EventId;
use model::values::PostText;

use super::*;
use crate::profiles::Audience;

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_750_000_000_000).unwrap()
}

fn post(id: PostId, text: Option<&str>) -> Post {
    Post {
        id,
        author: UserId::new(at()),
        content: text.map(|text| PostContent {
            text: text.to_owned(),
            entities: Entities::default(),
            warning: None,
            language: None,
        }),
        in_reply_to: None,
        visibility: Visibility::Public,
        created_at: at(),
        edited_at: None,
        quote_of: None,
        hidden: None,
        deleted: text.is_none(),
    }
}

fn recorded(version: i64, event: Event) -> Recorded {
    Recorded {
        id: EventId::new(at()),
        version,
        position: None,
        event,
    }
}

fn there(version: i64, live: bool) -> RowState {
    RowState {
        exists: true,
        version,
        live,
    }
}

fn decide(known: Known, events: &[Recorded]) -> Changes {
    Changes::decide(known, events.iter()).unwrap()
}

#[test]
fn a_batch_writes_a_row_once_and_keeps_every_version() {
    let id = PostId::new(at());
    let created = post(id, Some("one"));
    let edited = Post {
        content: post(id, Some("two")).content,
        ..created.clone()
    };
    let events = [
        recorded(1, Event::PostCreated(created)),
        recorded(2, Event::PostEdited(edited)),
    ];
    let writes = decide(Known::default(), &events).into_writes();
    assert_eq!((writes.posts.inserts.len(), writes.posts.updates.len()), (1, 0));
    assert_eq!(writes.posts.inserts[0].get_str("text").unwrap(), "two");
    assert_eq!(writes.history.inserts.len(), 2);
    assert_eq!(writes.profiles.updates.len(), 1);
}

#[test]
fn what_a_moderator_does_is_in_the_row_and_in_no_history() {
    let by = UserId::new(at());
    let created = post(PostId::new(at()), Some("one"));
    let moderated = |active| Post {
        hidden: Some(Moderation { by, active }),
        ..created.clone()
    };
    let events = [
        recorded(1, Event::PostCreated(created.clone())),
        recorded(2, Event::PostHidden(moderated(true))),
        recorded(3, Event::PostUnhidden(moderated(false))),
    ];
    for (upto, hidden) in [(1, false), (2, true), (3, false)] {
        let writes = decide(Known::default(), &events[..upto]).into_writes();
        assert_eq!(writes.posts.inserts[0].contains_key("hidden"), hidden, "{upto}");
        assert_eq!(writes.history.inserts.len(), 1, "{upto}");
    }
}

#[test]
fn a_row_lists_whom_a_post_mentions_that_not_everybody_sees() {
    let (bob, eve) = (UserId::new(at()), UserId::new(at()));
    let mut content = post(PostId::new(at()), Some("@eve @bob @zoe @bob")).content.unwrap();
    content.entities = Entities::of(&PostText::parse(&content.text).unwrap());
    for (mention, user) in content
        .entities
        .mentions
        .iter_mut()
        .zip([Some(eve), Some(bob), None, Some(bob)])
    {
        mention.user = user;
    }
    let row = |visibility| {
        let written = Post {
            visibility,
            content: Some(content.clone()),
            ..post(PostId::new(at()), Some(""))
        };
        let events = [recorded(1, Event::PostCreated(written))];
        decide(Known::default(), &events).into_writes().posts.inserts.remove(0)
    };
    let both: BTreeSet<UserId> = BTreeSet::from([bob, eve]);
    let both: Vec<Bson> = both.into_iter().map(Bson::from).collect();
    for (visibility, name, public, lists) in [
        (Visibility::Public, "public", true, false),
        (Visibility::Unlisted, "unlisted", false, false),
        (Visibility::Followers, "followers", false, true),
        (Visibility::Mentioned, "mentioned", false, true),
    ] {
        let row = row(visibility);
        assert_eq!(row.get_str("visibility").unwrap(), name);
        assert_eq!(
            (row.contains_key("public"), row.contains_key(MENTIONED)),
            (public, lists)
        );
        if lists {
            assert_eq!(row.get_array(MENTIONED).unwrap(), &both);
        }
        // As the driver writes it, a reader finds the same.
        let mut row = row;
        row.insert("_id", PostId::new(at()));
        let bytes = bson::serialize_to_vec(&row).unwrap();
        let read: crate::Post = bson::deserialize_from_slice(&bytes).unwrap();
        assert_eq!((read.visibility, &read.entities), (visibility, &content.entities));
    }
}

#[test]
fn a_warning_and_a_language_that_are_taken_back_leave_the_row() {
    let id = PostId::new(at());
    let created = post(id, Some("one"));
    let warned = PostContent {
        warning: Some("spoilers".to_owned()),
        language: Some("en".to_owned()),
        ..created.content.clone().unwrap()
    };
    let warned = Post {
        content: Some(warned),
        ..created.clone()
    };
    let writes = decide(Known::default(), &[recorded(1, Event::PostCreated(warned))]).into_writes();
    for row in [&writes.posts.inserts[0], &writes.history.inserts[0]] {
        let said = ["warning", "language"].map(|field| row.get_str(field).unwrap());
        assert_eq!(said, ["spoilers", "en"]);
    }
    let known = Known {
        posts: HashMap::from([(id, there(1, true))]),
        ..Known::default()
    };
    let writes = decide(known, &[recorded(2, Event::PostEdited(created))]).into_writes();
    let (_, update) = writes.posts.updates[0].parts();
    let unset = update.get_document("$unset").unwrap();
    assert!(unset.contains_key("warning") && unset.contains_key("language"));
    assert!(!writes.history.inserts[0].contains_key("warning"));
}

#[test]
fn a_deletion_in_the_same_batch_leaves_no_text() {
    let id = PostId::new(at());
    let created = post(id, Some("secret"));
    let author = created.author;
    let deleted = Post {
        content: None,
        deleted: true,
        ..created.clone()
    };
    let events = [
        recorded(1, Event::PostCreated(created)),
        recorded(2, Event::PostDeleted(deleted)),
    ];
    let changes = decide(Known::default(), &events);
    // One more and one less: the count does not change. What is left says only that there was a post, and whom its deletion concerns.
    assert_eq!(changes.profiles[&author].counts.values().sum::<i64>(), 0);
    assert!(changes.reaches()[&author].posted);
    let writes = changes.into_writes();
    assert_eq!(
        writes.posts.inserts,
        [doc! { "_id": id, "version": 2_i64, "live": false, "was": { "author": author, "public": true } }]
    );
    assert_eq!(writes.history.inserts, []);
}

#[test]
fn an_older_version_of_a_live_post_is_history_and_of_a_deleted_one_is_nothing() {
    let id = PostId::new(at());
    let late = [recorded(1, Event::PostCreated(post(id, Some("one"))))];
    let known = |state| Known {
        posts: HashMap::from([(id, state)]),
        ..Known::default()
    };
    let changes = decide(known(there(2, true)), &late);
    assert_eq!((changes.refused, late_history(&changes)), (1, HashSet::from([(id, 1)])));
    let changes = decide(known(there(2, false)), &late);
    assert!(changes.refused == 1 && changes.history.is_empty());
    // A stub is not a tombstone.
    let changes = decide(known(there(0, false)), &late);
    assert!(changes.refused == 0 && changes.history.len() == 1 && late_history(&changes).is_empty());
}

#[test]
fn only_a_row_that_changes_sides_counts() {
    let (follower, followee) = (UserId::new(at()), UserId::new(at()));
    let id = RelationId::follow(follower, followee);
    let follow = |active| Follow {
        follower,
        followee,
        active,
        requested: false,
    };
    let counted = |state, version, active| {
        let known = Known {
            relations: HashMap::from([(id, state)]),
            ..Known::default()
        };
        let event = if active {
            Event::Followed(follow(active))
        } else {
            Event::Unfollowed(follow(active))
        };
        let changes = decide(known, &[recorded(version, event)]);
        changes
            .profiles
            .get(&followee)
            .and_then(|change| change.counts.get("counts.followers").copied())
    };
    assert_eq!(counted(RowState::default(), 1, true), Some(1));
    assert_eq!(counted(there(1, true), 2, false), Some(-1));
    assert_eq!(counted(there(1, true), 3, true), None);
    assert_eq!(counted(there(2, false), 1, true), None);
    assert_eq!(counted(RowState::default(), 2, false), None);
}

#[test]
fn a_reply_counts_for_its_author_and_its_parent() {
    let parent = ReplyTo {
        post: PostId::new(at()),
        author: UserId::new(at()),
    };
    let reply = Post {
        in_reply_to: Some(parent),
        ..post(PostId::new(at()), Some("indeed"))
    };
    let changes = decide(Known::default(), &[recorded(1, Event::PostCreated(reply.clone()))]);
    assert_eq!(
        changes.posts[&parent.post].counts,
        BTreeMap::from([("counts.replies", 1)])
    );
    assert_eq!(
        changes.profiles[&reply.author].counts,
        BTreeMap::from([("counts.posts", 1)])
    );
    assert!(changes.posts[&parent.post].content.is_none());
}

#[test]
fn how_an_account_reaches_its_followers_includes_what_the_batch_adds() {
    let followee = UserId::new(at());
    let followed = |active| {
        let follow = Follow {
            follower: UserId::new(at()),
            followee,
            active,
            requested: false,
        };
        recorded(1, Event::Followed(follow))
    };
    let seen = Reach {
        followers: 2,
        audience: Some(Audience::Crossing),
        posted: false,
    };
    let known = Known {
        reaches: HashMap::from([(followee, seen)]),
        ..Known::default()
    };
    let changes = decide(known, &[followed(true), followed(true)]);
    assert_eq!(changes.reaches()[&followee], Reach { followers: 4, ..seen });
    // The transaction has found no profile yet.
    let changes = decide(Known::default(), &[followed(true)]);
    assert_eq!(changes.reaches()[&followee].followers, 1);
}
