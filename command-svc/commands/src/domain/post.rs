//! A post or a reply: created, edited by its author, deleted for good. Whom it quotes can take the quoted post out.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use model::entities::Entities;
use model::events::{Event, Moderation, Post, PostContent, QuoteOf, ReplyTo};
use model::ids::{PostId, UserId};
use model::values::{Language, PostText, Visibility, Warning};

/// A text, and what it refers to.
#[derive(Debug, Clone)]
pub struct Text {
    text: PostText,
    entities: Entities,
}

impl Text {
    /// Without the users whom it mentions: see [`Text::resolved`].
    pub fn of(text: PostText) -> Self {
        let entities = Entities::of(&text);
        Self { text, entities }
    }

    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    /// The handles that it mentions, each one once.
    pub fn handles(&self) -> BTreeSet<&str> {
        let mentions = self.entities.mentions.iter();
        mentions.map(|mention| mention.handle.as_str()).collect()
    }

    /// The same text, with the users who have these handles.
    pub fn resolved(mut self, users: &HashMap<String, UserId>) -> Self {
        for mention in &mut self.entities.mentions {
            mention.user = users.get(&mention.handle).copied();
        }
        self
    }
}

/// What an author writes.
#[derive(Debug, Clone)]
pub struct Written {
    pub text: Text,
    pub warning: Option<Warning>,
    pub language: Option<Language>,
}

impl From<Written> for PostContent {
    fn from(written: Written) -> Self {
        Self {
            text: written.text.text.into_string(),
            entities: written.text.entities,
            warning: written.warning.map(Warning::into_string),
            language: written.language.map(Language::into_string),
        }
    }
}

/// What an author changes. `None` leaves it as it is, and `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub text: Option<Text>,
    pub warning: Option<Option<Warning>>,
    pub language: Option<Option<Language>>,
}

impl Changes {
    /// The same text again mentions whom it mentioned before, whoever has those handles now.
    fn of(self, now: &PostContent) -> PostContent {
        let mut content = now.clone();
        if let Some(Text { text, entities }) = self.text
            && text.as_str() != now.text
        {
            (content.text, content.entities) = (text.into_string(), entities);
        }
        if let Some(warning) = self.warning {
            content.warning = warning.map(Warning::into_string);
        }
        if let Some(language) = self.language {
            content.language = language.map(Language::into_string);
        }
        content
    }
}

#[derive(Debug, Clone)]
pub enum Command {
    Create {
        id: PostId,
        author: UserId,
        written: Written,
        in_reply_to: Option<ReplyTo>,
        quote_of: Option<QuoteOf>,
        visibility: Visibility,
        at: DateTime<Utc>,
    },
    Edit {
        by: UserId,
        changes: Changes,
        at: DateTime<Utc>,
    },
    Delete {
        by: UserId,
    },
    /// Takes this post of the user out of the post that quotes it.
    Detach {
        by: UserId,
        quoted: PostId,
    },
    /// A moderator hides the post from everybody but its author.
    Hide {
        by: UserId,
    },
    Unhide {
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
    #[error("the post does not quote that post of the user")]
    NotQuoted,
}

pub fn evolve(event: Event) -> Option<Post> {
    match event {
        Event::PostCreated(post)
        | Event::PostEdited(post)
        | Event::PostQuoteDetached(post)
        | Event::PostHidden(post)
        | Event::PostUnhidden(post)
        | Event::PostDeleted(post) => Some(post),
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
                written,
                in_reply_to,
                quote_of,
                visibility,
                at,
            },
        ) => Ok(Some(Event::PostCreated(Post {
            id,
            author,
            content: Some(written.into()),
            in_reply_to,
            visibility,
            created_at: at,
            edited_at: None,
            quote_of,
            hidden: None,
            deleted: false,
        }))),
        (Some(_), Command::Create { .. }) => Err(Refusal::AlreadyCreated),
        (None, _) => Err(Refusal::Gone),
        (Some(post), _) if post.deleted => Err(Refusal::Gone),
        (Some(post), Command::Edit { by, .. } | Command::Delete { by }) if post.author != by => {
            Err(Refusal::NotTheAuthor)
        }
        (Some(post), Command::Edit { changes, at, .. }) => {
            let now = post.content.as_ref().ok_or(Refusal::Gone)?;
            let content = changes.of(now);
            if content == *now {
                return Ok(None);
            }
            Ok(Some(Event::PostEdited(Post {
                content: Some(content),
                edited_at: Some(at),
                ..post.clone()
            })))
        }
        (Some(post), Command::Detach { by, quoted }) => {
            let quote = post.quote_of.filter(|quote| (quote.post, quote.author) == (quoted, by));
            let quote = quote.ok_or(Refusal::NotQuoted)?;
            Ok((!quote.detached).then(|| {
                Event::PostQuoteDetached(Post {
                    quote_of: Some(QuoteOf {
                        detached: true,
                        ..quote
                    }),
                    ..post.clone()
                })
            }))
        }
        (Some(post), Command::Delete { .. }) => Ok(Some(Event::PostDeleted(Post {
            content: None,
            deleted: true,
            ..post.clone()
        }))),
        (Some(post), Command::Hide { by }) => {
            Ok((!post.is_hidden()).then(|| Event::PostHidden(moderated(post, by, true))))
        }
        (Some(post), Command::Unhide { by }) => Ok(post
            .is_hidden()
            .then(|| Event::PostUnhidden(moderated(post, by, false)))),
    }
}

fn moderated(post: &Post, by: UserId, active: bool) -> Post {
    Post {
        hidden: Some(Moderation { by, active }),
        ..post.clone()
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
            written: Written {
                text: Text::of(text(raw)),
                warning: None,
                language: None,
            },
            in_reply_to: None,
            quote_of: None,
            visibility: Visibility::Public,
            at: time(0),
        }
    }

    fn edit(by: u8, raw: &str) -> Command {
        let text = Some(Text::of(text(raw)));
        changed(
            by,
            Changes {
                text,
                ..Changes::default()
            },
        )
    }

    fn changed(by: u8, changes: Changes) -> Command {
        Command::Edit {
            by: user_id(by),
            changes,
            at: time(5),
        }
    }

    fn warning(raw: &str) -> Option<Warning> {
        Some(Warning::parse(raw).unwrap())
    }

    fn language(raw: &str) -> Option<Language> {
        Some(Language::parse(raw).unwrap())
    }

    /// Who is mentioned after an edit.
    fn mentioned(event: Result<Option<Event>, Refusal>) -> Vec<UserId> {
        let post = event.unwrap().and_then(evolve).unwrap();
        post.content.unwrap().entities.mentioned().collect()
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
    fn given_handles_when_a_text_is_resolved_then_it_names_their_users() {
        let text = Text::of(text("@bob @eve @bob"));
        assert_eq!(text.handles().into_iter().collect::<Vec<_>>(), ["bob", "eve"]);
        let users = HashMap::from([("bob".to_owned(), user_id(2)), ("zoe".to_owned(), user_id(3))]);
        let text = text.resolved(&users);
        let users: Vec<_> = text.entities.mentions.iter().map(|mention| mention.user).collect();
        assert_eq!(users, [Some(user_id(2)), None, Some(user_id(2))]);
    }

    #[test]
    fn given_a_mention_when_edited_out_or_in_then_others_are_mentioned() {
        let users = HashMap::from([("bob".to_owned(), user_id(2)), ("eve".to_owned(), user_id(3))]);
        let to = |raw: &str| Changes {
            text: Some(Text::of(text(raw)).resolved(&users)),
            ..Changes::default()
        };
        let before = decide(Some(&post(9, 1)), changed(1, to("@bob"))).unwrap();
        let before = before.and_then(evolve).unwrap();
        assert_eq!(mentioned(decide(Some(&before), changed(1, to("@eve")))), [user_id(3)]);
        assert_eq!(mentioned(decide(Some(&before), changed(1, to("nobody")))), []);
        // Nobody has the handle now. The text is the same, and so is the user whom it means.
        assert_eq!(decide(Some(&before), edit(1, "@bob")), Ok(None));
        let warned = Changes {
            text: Some(Text::of(text("@bob"))),
            warning: Some(warning("spoilers")),
            ..Changes::default()
        };
        assert_eq!(mentioned(decide(Some(&before), changed(1, warned))), [user_id(2)]);
    }

    #[test]
    fn given_a_post_when_warning_and_language_change_then_what_is_not_given_stays() {
        let both = Changes {
            warning: Some(warning("spoilers")),
            language: Some(language("EN")),
            ..Changes::default()
        };
        let content = |event: Result<Option<Event>, Refusal>| event.unwrap().and_then(evolve).unwrap().content.unwrap();
        let first = Post {
            content: Some(content(decide(Some(&post(9, 1)), changed(1, both.clone())))),
            ..post(9, 1)
        };
        let (warning, language) = (Some("spoilers".to_owned()), Some("en".to_owned()));
        let expected = PostContent {
            warning: warning.clone(),
            language: language.clone(),
            ..post(9, 1).content.unwrap()
        };
        assert_eq!(first.content, Some(expected));
        assert_eq!(decide(Some(&first), changed(1, both)), Ok(None));
        assert_eq!(decide(Some(&first), changed(1, Changes::default())), Ok(None));
        let edited = content(decide(Some(&first), edit(1, "Other")));
        assert_eq!((edited.warning, edited.language), (warning, language.clone()));
        let removed = Changes {
            warning: Some(None),
            ..Changes::default()
        };
        let removed = content(decide(Some(&first), changed(1, removed)));
        assert_eq!((removed.warning, removed.language), (None, language));
        assert_eq!(removed.text, "Hello");
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
    fn given_a_quote_when_the_quoted_author_detaches_it_then_only_the_quote_goes() {
        let quote_of = |detached| QuoteOf {
            post: post_id(8),
            author: user_id(2),
            detached,
        };
        let quoting = |detached| Post {
            quote_of: Some(quote_of(detached)),
            ..post(9, 1)
        };
        let detach = |by, quoted| Command::Detach {
            by: user_id(by),
            quoted: post_id(quoted),
        };
        let detached = decide(Some(&quoting(false)), detach(2, 8));
        assert_eq!(detached, Ok(Some(Event::PostQuoteDetached(quoting(true)))));
        assert_eq!(decide(Some(&quoting(true)), detach(2, 8)), Ok(None));
        for (by, quoted) in [(1, 8), (3, 8), (2, 7)] {
            assert_eq!(
                decide(Some(&quoting(false)), detach(by, quoted)),
                Err(Refusal::NotQuoted)
            );
        }
        assert_eq!(decide(Some(&post(9, 1)), detach(2, 8)), Err(Refusal::NotQuoted));
        let edited = decide(Some(&quoting(true)), edit(1, "Hello again"))
            .unwrap()
            .and_then(evolve);
        assert_eq!(edited.unwrap().quote_of, Some(quote_of(true)));
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

    fn hidden(by: u8, active: bool) -> Post {
        Post {
            hidden: Some(Moderation {
                by: user_id(by),
                active,
            }),
            ..post(9, 1)
        }
    }

    #[test]
    fn given_a_post_when_hidden_and_unhidden_then_each_names_the_moderator_and_happens_once() {
        let hide = |by| Command::Hide { by: user_id(by) };
        let unhide = |by| Command::Unhide { by: user_id(by) };
        for before in [post(9, 1), hidden(7, false)] {
            let event = decide(Some(&before), hide(8));
            assert_eq!(event, Ok(Some(Event::PostHidden(hidden(8, true)))));
            assert_eq!(decide(Some(&before), unhide(8)), Ok(None));
        }
        assert_eq!(decide(Some(&hidden(7, true)), hide(8)), Ok(None));
        let event = decide(Some(&hidden(7, true)), unhide(8));
        assert_eq!(event, Ok(Some(Event::PostUnhidden(hidden(8, false)))));
        assert_eq!(decide(None, hide(8)), Err(Refusal::Gone));
    }

    #[test]
    fn given_a_hidden_post_when_edited_or_deleted_then_hidden_still() {
        for command in [edit(1, "Other"), Command::Delete { by: user_id(1) }] {
            let event = decide(Some(&hidden(7, true)), command).unwrap();
            assert!(event.and_then(evolve).unwrap().is_hidden());
        }
    }
}
