//! Why a command did not happen.

use std::time::Duration;

use event_log::event_store::{AppendError, Unique};
use model::events::DecodeError;
use mongodb::error::Error as DatabaseError;

use crate::domain::{follow, post, repost, user};
use crate::passwords::HashError;
use event_log::clock_guard::ClockUnsure;

/// One of three: the caller asks for what can't be, the surroundings fail, or we do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// What is asked for can't be. Asking again changes nothing, except where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such post, or not any more")]
    NoSuchPost,
    #[error("there is no such user, or not any more")]
    NoSuchUser,
    #[error("the post is another's")]
    NotTheAuthor,
    #[error("only public posts can be reposted")]
    NotPublic,
    #[error("a repost has no text of its own")]
    RepostHasNoText,
    #[error("nobody follows themselves")]
    Oneself,
    #[error("nobody follows more than {0} accounts")]
    TooManyFollows(u32),
    #[error("the handle is taken")]
    HandleTaken,
    #[error("the e-mail address is taken")]
    EmailTaken,
    #[error("it has version {0} now")]
    OtherVersion(i64),
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Every attempt met somebody else's event; the next one may not.
    #[error("others change the same thing at the same time")]
    Contended,
    #[error("the user of the token is deleted")]
    ActorGone,
    #[error("the handle, e-mail address or password is wrong")]
    WrongCredentials,
    #[error("the refresh token is not good, or not any more")]
    SessionOver,
    #[error("nobody new can register")]
    RegistrationClosed,
    #[error("an invitation is needed")]
    InvitationMissing,
    /// The field of the request that it came in.
    #[error("the one-time code is not good, or not any more")]
    CodeNotGood(&'static str),
    #[error("there is no such session of the user's")]
    NoSuchSession,
    #[error("the session of the token is over")]
    SessionEnded,
    #[error("the current password is another")]
    CurrentPasswordWrong,
    /// Until the next attempt.
    #[error("too many attempts to log in")]
    TooOften(Duration),
}

/// It could not be done now. What was asked for may have happened all the same.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("the database failed: {0}")]
    Database(#[from] DatabaseError),
    #[error("it took too long")]
    Deadline,
    #[error("too many commands at once")]
    Saturated,
    #[error(transparent)]
    Clock(#[from] ClockUnsure),
}

/// What must never be.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Event(#[from] DecodeError),
    #[error("the stream {0} holds an event of another aggregate")]
    Stream(String),
    #[error("the user {0} has no credentials")]
    Credentials(model::ids::UserId),
    #[error("an id that was drawn at random is there already")]
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
        Broken::from(error).into()
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
            post::Refusal::Gone => Refusal::NoSuchPost.into(),
            post::Refusal::NotTheAuthor => Refusal::NotTheAuthor.into(),
            post::Refusal::AlreadyCreated => Broken::IdTaken.into(),
        }
    }
}

impl From<follow::Oneself> for CommandError {
    fn from(_: follow::Oneself) -> Self {
        Refusal::Oneself.into()
    }
}

impl From<repost::NotPublic> for CommandError {
    fn from(_: repost::NotPublic) -> Self {
        Refusal::NotPublic.into()
    }
}

/// How an append can fail for good; the other ways are worked on where it is called.
pub(super) fn append_failed(error: AppendError) -> CommandError {
    match error {
        AppendError::Database(error) => error.into(),
        AppendError::Taken(Unique::Handle) => Refusal::HandleTaken.into(),
        AppendError::Taken(Unique::Email) => Refusal::EmailTaken.into(),
        AppendError::Taken(Unique::Document) => Broken::IdTaken.into(),
        AppendError::Conflict => Refusal::Contended.into(),
        AppendError::KeyUsed(_) => Refusal::KeyReused.into(),
        // Each command that uses one up says it better.
        AppendError::Spent => Refusal::CodeNotGood("code").into(),
    }
}
