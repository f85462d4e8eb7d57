//! Ids, times and texts for the given/when/then tests of the decisions.

use chrono::{DateTime, TimeDelta, Utc};
use model::entities::Entities;
use model::events::{Post, PostContent, User};
use model::ids::{PostId, UserId};
use model::values::{Handle, PostText, Visibility};

pub(crate) fn time(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

pub(crate) const fn user_id(n: u8) -> UserId {
    UserId::from_bytes([n; 16])
}

pub(crate) fn post_id(n: u8) -> PostId {
    PostId::from_bytes([n; 16])
}

pub(crate) fn text(raw: &str) -> PostText {
    PostText::parse(raw).unwrap()
}

pub(crate) fn user(n: u8) -> User {
    User {
        id: user_id(n),
        handle: Handle::parse(&format!("user{n}")).unwrap(),
        display_name: Some("A Name".to_owned()),
        bio: Some("A life.".to_owned()),
        fields: Vec::new(),
        created_at: time(0),
        suspended: None,
        deleted: false,
        protected: false,
    }
}

pub(crate) fn post(n: u8, author: u8) -> Post {
    Post {
        id: post_id(n),
        author: user_id(author),
        content: Some(PostContent {
            text: "Hello".to_owned(),
            entities: Entities::default(),
            warning: None,
            language: None,
        }),
        in_reply_to: None,
        visibility: Visibility::Public,
        created_at: time(0),
        edited_at: None,
        quote_of: None,
        hidden: None,
        deleted: false,
    }
}
