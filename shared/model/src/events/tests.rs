//! Given a state, then the schema that a program must know to read it.

use chrono::{DateTime, Utc};

use super::*;
use crate::entities::Entities;
use crate::entities::Mention;
use crate::ids::PostId;
use crate::values::PostText;
use crate::values::{Handle, ProfileField, Visibility};

fn at() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH
}

fn content() -> PostContent {
    PostContent {
        text: "Hello".to_owned(),
        entities: Entities::default(),
        warning: None,
        language: None,
    }
}

fn post(visibility: Visibility, content: Option<PostContent>) -> Event {
    Event::PostCreated(Post {
        id: PostId::new(at()),
        author: UserId::new(at()),
        content,
        in_reply_to: None,
        quote_of: None,
        visibility,
        created_at: at(),
        edited_at: None,
        deleted: false,
        hidden: None,
    })
}

fn user(fields: Vec<ProfileField>) -> Event {
    Event::UserProfileChanged(User {
        id: UserId::new(at()),
        handle: Handle::parse("ada").unwrap(),
        display_name: Some("Ada".to_owned()),
        bio: Some(String::new()),
        fields,
        created_at: at(),
        deleted: false,
        protected: false,
        suspended: None,
    })
}

fn field() -> ProfileField {
    ProfileField {
        name: "Web".to_owned(),
        value: "https://example.org".to_owned(),
    }
}

#[test]
fn a_post_that_every_program_understands_keeps_the_first_schema() {
    let mut entities = Entities::of(&PostText::parse("Hi @bob").unwrap());
    entities.mentions[0].user = Some(UserId::new(at()));
    for visibility in [Visibility::Public, Visibility::Followers] {
        assert_eq!(post(visibility, Some(content())).schema(), FIRST_SCHEMA);
        let mentions = PostContent {
            entities: entities.clone(),
            ..content()
        };
        assert_eq!(post(visibility, Some(mentions)).schema(), FIRST_SCHEMA);
    }
}

#[test]
fn what_an_earlier_program_would_lose_raises_the_schema() {
    let (warning, language) = (Some("spoilers".to_owned()), Some("en".to_owned()));
    assert_eq!(
        post(Visibility::Public, Some(PostContent { warning, ..content() })).schema(),
        2
    );
    let speaks = PostContent { language, ..content() };
    assert_eq!(post(Visibility::Followers, Some(speaks)).schema(), 2);
    for visibility in [Visibility::Unlisted, Visibility::Mentioned] {
        assert_eq!(post(visibility, Some(content())).schema(), 2);
        // The tombstone too: an earlier program does not know the visibility.
        assert_eq!(post(visibility, None).schema(), 2);
    }
    assert_eq!(user(Vec::new()).schema(), FIRST_SCHEMA);
    assert_eq!(user(vec![field()]).schema(), 2);
}

#[test]
fn quotes_and_what_moderators_do_raise_the_schema_to_the_third() {
    let by = UserId::new(at());
    let quote = |detached| QuoteOf {
        post: PostId::new(at()),
        author: by,
        detached,
    };
    let changed = |change: &dyn Fn(&mut Post)| match post(Visibility::Public, Some(content())) {
        Event::PostCreated(mut post) => {
            change(&mut post);
            Event::PostCreated(post)
        }
        other => other,
    };
    for flag in [false, true] {
        // Also a quote that was detached, and an act that was taken back: an earlier program would lose that.
        assert_eq!(changed(&|post| post.quote_of = Some(quote(flag))).schema(), 3);
        let moderation = Moderation { by, active: flag };
        assert_eq!(changed(&|post| post.hidden = Some(moderation)).schema(), 3);
        let Event::UserProfileChanged(mut user) = user(Vec::new()) else {
            panic!("it is a user")
        };
        user.suspended = Some(moderation);
        assert_eq!(Event::UserProfileChanged(user).schema(), 3);
    }
}

/// An existing store stays readable, and events without new fields are stored as before, except for who is mentioned.
#[test]
fn events_of_the_first_version_are_read_and_written_as_they_were() {
    let written = |event: &Event| bson::Document::try_from(event.encode().unwrap()).unwrap();
    assert!(!written(&user(Vec::new())).contains_key("fields"));
    let event = post(Visibility::Public, Some(content()));
    let stored = written(&event);
    let stored_content = stored.get_document("content").unwrap();
    assert_eq!(stored_content.keys().collect::<Vec<_>>(), ["text", "entities"]);
    let decoded = Event::decode("post.created", 1, &event.encode().unwrap()).unwrap();
    assert_eq!(decoded, event);

    let before = bson::rawdoc! { "handle": "bob", "start": 0, "end": 4 };
    let mention: Mention = bson::deserialize_from_slice(before.as_bytes()).unwrap();
    assert_eq!(mention.user, None);
}

#[test]
fn what_is_new_is_read_as_it_was_written() {
    let mut entities = Entities::of(&PostText::parse("Hi @bob").unwrap());
    let bob = UserId::new(at());
    entities.mentions[0].user = Some(bob);
    let event = post(
        Visibility::Mentioned,
        Some(PostContent {
            entities,
            warning: Some("spoilers".to_owned()),
            language: Some("en".to_owned()),
            ..content()
        }),
    );
    let decoded = Event::decode("post.created", 2, &event.encode().unwrap()).unwrap();
    assert_eq!(decoded, event);
    let State::Post(post) = decoded.state() else {
        panic!("it is a post")
    };
    assert!(post.mentions(bob) && !post.mentions(post.author));
    let event = user(vec![field()]);
    assert_eq!(
        Event::decode("user.profile_changed", 2, &event.encode().unwrap()).unwrap(),
        event
    );
}
