//! Why a command failed.

use std::time::Duration;

use event_log::event_store::{AppendError, Unique};
use model::events::{DecodeError, Pins};
use mongodb::error::Error as DatabaseError;

use crate::domain::{filter, follow, notification, pins, post, report, repost, role, user, visibility};
use crate::passwords::HashError;
use event_log::clock_guard::ClockUnsure;

/// There are three kinds: the request is refused, something around us fails, or we have a bug.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// The command is not allowed. Trying again does not help, except where the variant says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such post, or the user can't see it")]
    NoSuchPost,
    #[error("there is no such user, or the user is deleted")]
    NoSuchUser,
    #[error("the post belongs to another user")]
    NotTheAuthor,
    #[error("only public and unlisted posts can be reposted or quoted")]
    NotPublic,
    #[error("a repost has no text of its own")]
    RepostHasNoText,
    #[error("a user can pin at most {0} posts")]
    TooManyPins(usize),
    /// What the user wants to do, as a verb.
    #[error("users can't {0} themselves")]
    Oneself(&'static str),
    #[error("one of the two users blocks the other")]
    Blocked,
    #[error("the user has not asked to follow")]
    NotRequested,
    #[error("a protected account can't write public posts")]
    AuthorProtected,
    #[error("the notification would be in the future")]
    ReadAhead,
    #[error("the notifications were marked a moment ago")]
    MarkedJustNow,
    #[error("there can't be such a notification yet")]
    NoSuchNotification,
    #[error("the mute would be over already")]
    MuteOver,
    #[error("a user can follow at most {0} accounts")]
    TooManyFollows(u32),
    #[error("a user can follow at most {0} tags")]
    TooManyTags(u32),
    #[error("the user has no such list")]
    NoSuchList,
    #[error("a user can have at most {0} lists")]
    TooManyLists(u32),
    #[error("a list can have at most {0} members")]
    TooManyMembers(u32),
    #[error("a list can have at most {0} tags")]
    TooManyListTags(u32),
    #[error("the user has no such filter")]
    NoSuchFilter,
    #[error("the filter would be over already")]
    FilterOver,
    #[error("a user can have at most {0} filters")]
    TooManyFilters(u32),
    #[error("the handle is taken")]
    HandleTaken,
    #[error("the e-mail address is taken")]
    EmailTaken,
    #[error("the current version is {0}")]
    OtherVersion(i64),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Every attempt met an event of another request. The next attempt may succeed.
    #[error("other requests are changing the same data")]
    Contended,
    #[error("the user of the token is suspended")]
    Suspended,
    #[error("the user is not a moderator")]
    NotAModerator,
    #[error("only an admin can do this to a moderator or an admin")]
    NotAnAdmin,
    #[error("there is no such report")]
    NoSuchReport,
    #[error("there is no such user to report, or it is the reporter")]
    NobodyToReport,
    #[error("not all of these are posts of the reported user that the reporter can see")]
    NotTheirPosts,
    #[error("the user of the token is deleted")]
    ActorGone,
    #[error("the handle, e-mail address or password is wrong")]
    WrongCredentials,
    #[error("the refresh token is not valid, or no longer valid")]
    SessionOver,
    #[error("registration is closed")]
    RegistrationClosed,
    #[error("an invitation is needed")]
    InvitationMissing,
    /// The field of the request that had the code.
    #[error("the one-time code is not valid, or no longer valid")]
    CodeNotGood(&'static str),
    #[error("the user has no such session")]
    NoSuchSession,
    #[error("the session of the token is over")]
    SessionEnded,
    #[error("the current password is wrong")]
    CurrentPasswordWrong,
    /// The time until the next attempt is allowed.
    #[error("too many attempts to log in")]
    TooOften(Duration),
}

/// The command can't be carried out now. It may still have taken effect.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("the database failed: {0}")]
    Database(#[from] DatabaseError),
    #[error("it took too long")]
    Deadline,
    #[error("too many commands at once")]
    Saturated,
    #[error("an upgrade is under way: not every program can read the event yet")]
    Upgrading,
    #[error(transparent)]
    Clock(#[from] ClockUnsure),
}

/// A state that must never occur.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Event(#[from] DecodeError),
    #[error("the stream {0} holds an event of another aggregate")]
    Stream(String),
    #[error("the user {0} has no credentials")]
    Credentials(model::ids::UserId),
    #[error("a random id exists already")]
    IdTaken,
    #[error(transparent)]
    Hash(HashError),
    #[error(transparent)]
    Token(#[from] service::auth::SignError),
    #[error("a command ended in a panic: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

impl From<DatabaseError> for CommandError {
    fn from(error: DatabaseError) -> Self {
        Unavailable::from(error).into()
    }
}

impl From<DecodeError> for CommandError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed { .. } => Broken::from(error).into(),
            // A newer program has written it.
            DecodeError::UnknownType(_) | DecodeError::UnknownSchema { .. } => Unavailable::Upgrading.into(),
        }
    }
}

impl From<HashError> for CommandError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Saturated => Unavailable::Saturated.into(),
            other => Broken::Hash(other).into(),
        }
    }
}

impl From<user::Refusal> for CommandError {
    fn from(refusal: user::Refusal) -> Self {
        match refusal {
            user::Refusal::Gone => Refusal::ActorGone.into(),
            user::Refusal::AlreadyRegistered => Broken::IdTaken.into(),
        }
    }
}

impl From<post::Refusal> for CommandError {
    fn from(refusal: post::Refusal) -> Self {
        match refusal {
            // Whether a post that somebody else has written exists is not for everybody to know.
            post::Refusal::Gone | post::Refusal::NotQuoted => Refusal::NoSuchPost.into(),
            post::Refusal::NotTheAuthor => Refusal::NotTheAuthor.into(),
            post::Refusal::AlreadyCreated => Broken::IdTaken.into(),
        }
    }
}

impl From<follow::Refusal> for CommandError {
    fn from(refusal: follow::Refusal) -> Self {
        match refusal {
            follow::Refusal::Oneself => Refusal::Oneself("follow").into(),
            follow::Refusal::NotRequested => Refusal::NotRequested.into(),
        }
    }
}

impl From<filter::Refusal> for CommandError {
    fn from(refusal: filter::Refusal) -> Self {
        match refusal {
            filter::Refusal::Gone => Refusal::NoSuchFilter.into(),
            filter::Refusal::AlreadyCreated => Broken::IdTaken.into(),
            filter::Refusal::Over => Refusal::FilterOver.into(),
        }
    }
}

impl From<role::Refusal> for CommandError {
    fn from(refusal: role::Refusal) -> Self {
        match refusal {
            role::Refusal::NotAModerator => Refusal::NotAModerator.into(),
            role::Refusal::NotAnAdmin => Refusal::NotAnAdmin.into(),
        }
    }
}

impl From<report::Refusal> for CommandError {
    fn from(refusal: report::Refusal) -> Self {
        match refusal {
            report::Refusal::Missing => Refusal::NoSuchReport.into(),
            report::Refusal::AlreadyMade => Broken::IdTaken.into(),
        }
    }
}

impl From<notification::JustRisen> for CommandError {
    fn from(_: notification::JustRisen) -> Self {
        Refusal::MarkedJustNow.into()
    }
}

impl From<visibility::AuthorProtected> for CommandError {
    fn from(_: visibility::AuthorProtected) -> Self {
        Refusal::AuthorProtected.into()
    }
}

impl From<pins::TooMany> for CommandError {
    fn from(_: pins::TooMany) -> Self {
        Refusal::TooManyPins(Pins::MAX).into()
    }
}

impl From<repost::NotPublic> for CommandError {
    fn from(_: repost::NotPublic) -> Self {
        Refusal::NotPublic.into()
    }
}

/// The ways in which an append fails for good. The caller handles the other ways.
pub(super) fn append_failed(error: AppendError) -> CommandError {
    match error {
        AppendError::Database(error) => error.into(),
        AppendError::Taken(Unique::Handle) => Refusal::HandleTaken.into(),
        AppendError::Taken(Unique::Email) => Refusal::EmailTaken.into(),
        AppendError::Taken(Unique::Document) => Broken::IdTaken.into(),
        AppendError::Conflict => Refusal::Contended.into(),
        AppendError::KeyUsed(_) => Refusal::KeyReused.into(),
        AppendError::TooNew => Unavailable::Upgrading.into(),
        // Commands that use up a code can name the field better.
        AppendError::Spent => Refusal::CodeNotGood("code").into(),
    }
}
