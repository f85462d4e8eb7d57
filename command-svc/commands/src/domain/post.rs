//! A post or a reply: created, edited by its author, deleted for good.

use chrono::{DateTime, Utc};
use model::entities::Entities;
use model::events::{Event, Post, PostContent, ReplyTo};
use model::ids::{PostId, UserId};
use model::values::{PostText, Visibility};

#[derive(Debug, Clone)]
pub enum Command {
    Create {
        id: PostId,
        author: UserId,
        text: PostText,
        in_reply_to: Option<ReplyTo>,
        visibility: Visibility,
        at: DateTime<Utc>,
    },
    Edit {
        by: UserId,
        text: PostText,
        at: DateTime<Utc>,
    },
    Delete {
        by: UserId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the post exists already")]
    AlreadyCreated,
    #[error("there is no such post, or the post is deleted")]
    Gone,
    #[error("the post belongs to another user")]
    NotTheAuthor,
}

pub fn evolve(event: Event) -> Option<Post> {
    match event {
        Event::PostCreated(post) | Event::PostEdited(post) | Event::PostDeleted(post) => Some(post),
        _ => None,
    }
}

pub fn decide(state: Option<&Post>, command: Command) -> Result<Option<Event>, Refusal> {
    match (state, command) {
        (
            None,
            Command::Create {
                id,
                author,
                text,
                in_reply_to,
                visibility,
                at,
            },
        ) => Ok(Some(Event::PostCreated(Post {
            id,
            author,
            content: Some(content(text)),
            in_reply_to,
            visibility,
            created_at: at,
            edited_at: None,
            deleted: false,
        }))),
        (Some(_), Command::Create { .. }) => Err(Refusal::AlreadyCreated),
        (None, _) => Err(Refusal::Gone),
        (Some(post), _) if post.deleted => Err(Refusal::Gone),
        (Some(post), Command::Edit { by, .. } | Command::Delete { by }) if post.author != by => {
            Err(Refusal::NotTheAuthor)
        }
        (Some(post), Command::Edit { text, at, .. }) => {
            if post
                .content
                .as_ref()
                .is_some_and(|content| content.text == text.as_str())
            {
                return Ok(None);
            }
            Ok(Some(Event::PostEdited(Post {
                content: Some(content(text)),
                edited_at: Some(at),
                ..post.clone()
            })))
        }
        (Some(post), Command::Delete { .. }) => Ok(Some(Event::PostDeleted(Post {
            content: None,
            deleted: true,
            ..post.clone()
        }))),
    }
}

fn content(text: PostText) -> PostContent {
    let entities = Entities::of(&text);
    PostContent {
        text: text.into_string(),
        entities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::example::{post, post_id, text, time, user_id};

    fn create(raw: &str) -> Command {
        Command::Create {
            id: post_id(9),
            author: user_id(1),
            text: text(raw),
            in_reply_to: None,
            visibility: Visibility::Public,
            at: time(0),
        }
    }

    fn edit(by: u8, raw: &str) -> Command {
        Command::Edit {
            by: user_id(by),
            text: text(raw),
            at: time(5),
        }
    }

    fn deleted() -> Post {
        Post {
            content: None,
            deleted: true,
            ..post(9, 1)
        }
    }

    #[test]
    fn given_nothing_when_created_then_there_with_its_entities() {
        assert_eq!(decide(None, create("Hello")), Ok(Some(Event::PostCreated(post(9, 1)))));
        let created = decide(None, create("Hi @ada #rust")).unwrap().and_then(evolve).unwrap();
        let entities = created.content.unwrap().entities;
        assert_eq!(entities.mentions[0].handle, "ada");
        assert_eq!(entities.hashtags[0].tag, "rust");
    }

    #[test]
    fn given_a_post_when_its_author_edits_then_text_and_time_change() {
        let edited = decide(Some(&post(9, 1)), edit(1, "Hello #again"))
            .unwrap()
            .and_then(evolve)
            .unwrap();
        let content = edited.content.clone().unwrap();
        assert_eq!(content.text, "Hello #again");
        assert_eq!(content.entities.hashtags[0].tag, "again");
        assert_eq!(
            edited,
            Post {
                content: Some(content),
                edited_at: Some(time(5)),
                ..post(9, 1)
            }
        );
    }

    #[test]
    fn given_a_post_when_edited_to_the_same_text_then_nothing_happens() {
        assert_eq!(decide(Some(&post(9, 1)), edit(1, "Hello")), Ok(None));
    }

    #[test]
    fn given_a_post_when_another_edits_or_deletes_then_refused() {
        assert_eq!(
            decide(Some(&post(9, 1)), edit(2, "Mine now")),
            Err(Refusal::NotTheAuthor)
        );
        assert_eq!(
            decide(Some(&post(9, 1)), Command::Delete { by: user_id(2) }),
            Err(Refusal::NotTheAuthor)
        );
    }

    #[test]
    fn given_a_post_when_deleted_then_a_tombstone_without_text() {
        let event = decide(Some(&post(9, 1)), Command::Delete { by: user_id(1) });
        assert_eq!(event, Ok(Some(Event::PostDeleted(deleted()))));
    }

    #[test]
    fn given_a_deleted_post_when_anything_then_gone_for_everybody() {
        assert_eq!(decide(Some(&deleted()), edit(1, "Back")), Err(Refusal::Gone));
        assert_eq!(decide(Some(&deleted()), edit(2, "Mine now")), Err(Refusal::Gone));
        assert_eq!(
            decide(Some(&deleted()), Command::Delete { by: user_id(1) }),
            Err(Refusal::Gone)
        );
        assert_eq!(decide(None, edit(1, "Nothing")), Err(Refusal::Gone));
        assert_eq!(decide(Some(&deleted()), create("Again")), Err(Refusal::AlreadyCreated));
    }
}
