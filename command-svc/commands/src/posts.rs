//! Commands on posts: create, edit, delete.

use chrono::{DateTime, Utc};
use event_log::event_store::{BodyHash, Companion, Idempotency};
use model::events::{Event, Post, QuoteOf, ReplyTo, Repost};
use model::ids::{PostId, UserId};
use model::values::{IdempotencyKey, Language, PostText, Visibility, Warning};
use serde_json::json;

use super::execute::{Command, Plan};
use super::read::{Named, Reader, Seen, Versioned};
use super::{Broken, CommandError, ExpectedVersions, Refusal};
use crate::domain::post::{Text, Written};
use crate::domain::{post, repost, visibility};

/// A new post, before it is written.
#[derive(Debug, Clone)]
pub struct NewPost {
    pub text: PostText,
    pub warning: Option<Warning>,
    pub language: Option<Language>,
    pub in_reply_to: Option<PostId>,
    pub quote_of: Option<PostId>,
    /// What the author asks for.
    pub visibility: Option<Visibility>,
    pub idempotency_key: Option<IdempotencyKey>,
}

impl NewPost {
    /// Requests with the same hash are the same request, no matter how their bodies were written. A request without the fields that came
    /// later has the hash that it always had.
    fn body_hash(&self) -> BodyHash {
        // The author may have protected the account since the first request, and then the default is another. It is still the same request.
        let visibility = self.visibility.unwrap_or_default();
        let (text, warning, language) = (
            self.text.as_str(),
            self.warning.as_ref().map(Warning::as_str),
            self.language.as_ref().map(Language::as_str),
        );
        let body = match (warning, language, self.quote_of) {
            (None, None, None) => json!([text, self.in_reply_to, visibility]),
            (_, _, None) => json!([text, self.in_reply_to, visibility, warning, language]),
            (_, _, quoted) => json!([text, self.in_reply_to, visibility, warning, language, quoted]),
        };
        BodyHash::of(body.to_string().as_bytes())
    }
}

/// What an author changes. `None` leaves it as it is, and `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
pub struct PostChanges {
    pub text: Option<PostText>,
    pub warning: Option<Option<Warning>>,
    pub language: Option<Option<Language>>,
}

#[derive(Debug)]
pub(super) struct CreatePost {
    id: PostId,
    author: UserId,
    written: Written,
    in_reply_to: Option<PostId>,
    quote_of: Option<PostId>,
    visibility: Option<Visibility>,
    idempotency: Option<Idempotency>,
}

impl CreatePost {
    pub(super) fn new(author: UserId, post: NewPost, now: DateTime<Utc>) -> Self {
        let body_hash = post.body_hash();
        Self {
            id: PostId::new(now),
            author,
            written: Written {
                text: Text::of(post.text),
                warning: post.warning,
                language: post.language,
            },
            in_reply_to: post.in_reply_to,
            quote_of: post.quote_of,
            visibility: post.visibility,
            idempotency: post.idempotency_key.map(|key| Idempotency { key, body_hash }),
        }
    }
}

impl Command for CreatePost {
    type Answer = Versioned<Post>;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Self::Answer>, CommandError> {
        // What it reads may be another when the request is repeated, so the key has to be looked up first.
        if let Some(idempotency) = &self.idempotency
            && let Some(earlier) = read.by_idempotency_key(self.author, &idempotency.key).await?
        {
            return Ok(Plan::Replay(earlier));
        }
        let author = match (self.in_reply_to, self.quote_of) {
            // Nobody sees what a deleted author writes, until the deletion sweep takes it back.
            (None, None) => read.unsuspended_actor(self.author).await?,
            _ => Some(read.live_actor(self.author).await?),
        };
        let protected = author.is_some_and(|author| author.state.protected);
        let visibility = visibility::of_new_post(self.visibility, protected)?;
        let in_reply_to = match self.in_reply_to {
            None => None,
            Some(answered) => {
                let answered = read.seen_by(self.author, answered).await?.post.state;
                Some(ReplyTo {
                    post: answered.id,
                    author: answered.author,
                })
            }
        };
        let quote_of = match self.quote_of {
            None => None,
            Some(quoted) => {
                let Seen { post, author } = read.seen_by(self.author, quoted).await?;
                if !visibility::may_quote(self.author, &post.state, &author) {
                    return Err(Refusal::NotPublic.into());
                }
                Some(QuoteOf {
                    post: post.state.id,
                    author: author.id,
                    detached: false,
                })
            }
        };
        let create = post::Command::Create {
            id: self.id,
            author: self.author,
            written: Written {
                text: read.resolved(&self.written.text).await?,
                ..self.written.clone()
            },
            in_reply_to,
            quote_of,
            visibility,
            at: self.id.time(),
        };
        let event = post::decide(None, create)?.ok_or(Broken::IdTaken)?;
        let answer = answer(&event, 1)?;
        Ok(Plan::append(event, 0, answer))
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        self.idempotency.as_ref()
    }

    fn replay(&self, earlier: Event) -> Result<Self::Answer, CommandError> {
        let Event::PostCreated(post) = earlier else {
            return Err(Refusal::KeyReused.into());
        };
        // A deletion also removes the text from the earlier events.
        if post.content.is_none() {
            return Err(Refusal::NoSuchPost.into());
        }
        Ok(Versioned {
            version: 1,
            state: post,
        })
    }
}

#[derive(Debug)]
pub(super) struct EditPost {
    id: PostId,
    by: UserId,
    changes: post::Changes,
    if_match: ExpectedVersions,
    at: DateTime<Utc>,
}

impl EditPost {
    pub(super) fn new(
        id: PostId,
        by: UserId,
        changes: PostChanges,
        if_match: ExpectedVersions,
        at: DateTime<Utc>,
    ) -> Self {
        let PostChanges {
            text,
            warning,
            language,
        } = changes;
        Self {
            id,
            by,
            changes: post::Changes {
                text: text.map(Text::of),
                warning,
                language,
            },
            if_match,
            at,
        }
    }

    /// The changes, with the users whom a new text mentions.
    async fn changes(&self, read: &mut Reader<'_>, post: &Post) -> Result<post::Changes, CommandError> {
        let mut changes = self.changes.clone();
        let now = post.content.as_ref().map(|content| content.text.as_str());
        if let Some(text) = &mut changes.text
            && now != Some(text.as_str())
        {
            *text = read.resolved(text).await?;
        }
        Ok(changes)
    }
}

impl Command for EditPost {
    type Answer = Versioned<Post>;

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<Self::Answer>, CommandError> {
        read.unsuspended_actor(self.by).await?;
        let post = match read.named(self.id).await? {
            Named::Post(post) => own(&mut read, *post, self.by).await?,
            Named::Repost(repost) => {
                own_repost(&mut read, &repost, self.by).await?;
                return Err(Refusal::RepostHasNoText.into());
            }
        };
        let edit = post::Command::Edit {
            by: self.by,
            changes: self.changes(&mut read, &post.state).await?,
            at: self.at,
        };
        let event = post::decide(Some(&post.state), edit)?;
        // Only the author may learn the current version.
        self.if_match.check(post.version)?;
        match event {
            Some(event) => {
                let answer = answer(&event, post.version + 1)?;
                Ok(Plan::append(event, post.version, answer))
            }
            None => Ok(Plan::Nothing {
                partition: post.state.author.partition(),
                answer: post,
            }),
        }
    }
}

#[derive(Debug)]
pub(super) struct DeletePost {
    pub(super) id: PostId,
    pub(super) by: UserId,
    pub(super) if_match: ExpectedVersions,
}

impl Command for DeletePost {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.by).await?;
        let post = match read.named(self.id).await? {
            Named::Post(post) => own(&mut read, *post, self.by).await?,
            Named::Repost(repost) => return self.retract(&mut read, &repost).await,
        };
        let event = post::decide(Some(&post.state), post::Command::Delete { by: self.by })?;
        self.if_match.check(post.version)?;
        Ok(deletion(event.ok_or(Refusal::NoSuchPost)?, post.version, ()))
    }
}

impl DeletePost {
    /// A repost appears as a post in every list. Deleting it means to retract it.
    async fn retract(&self, read: &mut Reader<'_>, repost: &Repost) -> Result<Plan<()>, CommandError> {
        own_repost(read, repost, self.by).await?;
        let repost = read
            .repost(repost.user, repost.post)
            .await?
            .ok_or(Refusal::NoSuchPost)?;
        self.if_match.check(repost.version)?;
        match repost::decide(Some(&repost.state), repost::Command::Unrepost)? {
            Some(event) => Ok(Plan::append(event, repost.version, ())),
            None => Err(Refusal::NoSuchPost.into()),
        }
    }
}

/// Takes a post of the user out of a post that quotes it.
#[derive(Debug)]
pub(super) struct DetachQuote {
    pub(super) quoted: PostId,
    pub(super) quote: PostId,
    pub(super) by: UserId,
}

impl Command for DetachQuote {
    type Answer = ();

    async fn plan(&self, mut read: Reader<'_>) -> Result<Plan<()>, CommandError> {
        read.unsuspended_actor(self.by).await?;
        let quote = read.post(self.quote).await?.ok_or(Refusal::NoSuchPost)?;
        let detach = post::Command::Detach {
            by: self.by,
            quoted: self.quoted,
        };
        let event = post::decide(Some(&quote.state), detach)?;
        Ok(Plan::of(event, quote.version, quote.state.author.partition(), ()))
    }
}

/// The tombstone. It also removes the text from the earlier events.
pub(super) fn deletion<A>(event: Event, expected_version: i64, answer: A) -> Plan<A> {
    let companions = vec![Companion::Redact { stream: event.stream() }];
    Plan::Append {
        event,
        expected_version,
        companions,
        answer,
    }
}

/// 404 comes before 403: a caller who may not see a post learns nothing about it.
async fn own(read: &mut Reader<'_>, post: Versioned<Post>, by: UserId) -> Result<Versioned<Post>, CommandError> {
    if post.state.author == by {
        Ok(post)
    } else {
        Ok(read.check_seen_by(by, post).await?.post)
    }
}

async fn own_repost(read: &mut Reader<'_>, repost: &Repost, by: UserId) -> Result<(), CommandError> {
    if repost.user == by {
        return Ok(());
    }
    read.check_repost_seen_by(by, repost).await?;
    let original = read.post(repost.post).await?.ok_or(Refusal::NoSuchPost)?;
    read.check_seen_by(by, original).await?;
    Err(Refusal::NotTheAuthor.into())
}

fn answer(event: &Event, version: i64) -> Result<Versioned<Post>, CommandError> {
    let state = post::evolve(event.clone()).ok_or_else(|| Broken::Stream(event.stream().to_string()))?;
    Ok(Versioned { version, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that an earlier program has carried out may be repeated to this one.
    #[test]
    fn a_request_without_new_fields_keeps_its_hash() {
        let parsed = |warning: Option<&str>, language: Option<&str>| NewPost {
            text: PostText::parse("Hello").unwrap(),
            warning: warning.map(|raw| Warning::parse(raw).unwrap()),
            language: language.map(|raw| Language::parse(raw).unwrap()),
            in_reply_to: None,
            quote_of: None,
            visibility: Some(Visibility::Followers),
            idempotency_key: None,
        };
        let hash = |new: NewPost| new.body_hash();
        let before = BodyHash::of(br#"["Hello",null,"followers"]"#);
        assert_eq!(hash(parsed(None, None)), before);
        let others = [(Some("en"), None), (None, Some("en")), (Some("en"), Some("en"))];
        let others = others.map(|(warning, language)| hash(parsed(warning, language)));
        assert!(others.iter().all(|hash| *hash != before));
        assert!(others[0] != others[1] && others[1] != others[2]);
        assert_eq!(hash(parsed(None, Some("EN"))), others[1]);
        let quoting = NewPost {
            quote_of: Some(PostId::from_bytes([9; 16])),
            ..parsed(None, None)
        };
        assert!(hash(quoting) != before);
    }
}
