//! The one place where a command's failure becomes an answer.

use std::time::Duration;

use service::http::Problem;

use commands::{CommandError, Refusal, Unavailable};

/// A failed election, a restart: what it takes until a database is back.
const DATABASE_BACK: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(1);

pub(super) fn problem(error: CommandError) -> Problem {
    match error {
        CommandError::Refused(refusal) => refused(refusal),
        CommandError::Unavailable(unavailable) => not_now(&unavailable),
        CommandError::Broken(broken) => Problem::internal(&broken),
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoSuchPost => Problem::not_found("There is no such post, or not any more."),
        Refusal::NoSuchUser => Problem::not_found("There is no such user, or not any more."),
        Refusal::NotTheAuthor => Problem::forbidden("The post is another's."),
        Refusal::NotPublic => Problem::forbidden("Its author wrote it for followers.")
            .with_type("not-public", "Only public posts can be reposted"),
        Refusal::RepostHasNoText => Problem::invalid_field("id", "is a repost's")
            .with_type("repost-has-no-text", "A repost has no text of its own"),
        Refusal::Oneself => Problem::invalid_field("id", "must be another user's")
            .with_type("follow-oneself", "Nobody follows themselves"),
        Refusal::TooManyFollows(max) => {
            Problem::invalid_field("id", format!("can't be followed: you follow {max} accounts"))
                .with_type("too-many-follows", "Nobody follows more accounts")
        }
        Refusal::HandleTaken => Problem::conflict("Somebody has or had this handle.")
            .with_type("handle-taken", "The handle is taken")
            .with_field("handle", "is taken"),
        Refusal::EmailTaken => Problem::conflict("Somebody uses this e-mail address.")
            .with_type("email-taken", "The e-mail address is taken")
            .with_field("email", "is taken"),
        Refusal::OtherVersion(version) => Problem::precondition_failed(format!("It has version {version} now."))
            .with_field("If-Match", "names another version"),
        Refusal::KeyReused => Problem::invalid_field("Idempotency-Key", "was used for another request").with_type(
            "idempotency-key-reused",
            "The idempotency key was used for another request",
        ),
        Refusal::Contended => Problem::conflict("Others change the same thing at the same time. Please try again.")
            .with_type("contended", "Too many changes at once")
            .with_retry_after(SOON),
        Refusal::ActorGone => Problem::invalid_token("the user of the token is deleted"),
        Refusal::WrongCredentials => Problem::unauthorized("The handle, e-mail address or password is wrong.")
            .with_type("wrong-credentials", "The login failed"),
        Refusal::SessionOver => Problem::unauthorized("The refresh token is not good, or not any more.")
            .with_type("session-over", "The session is over"),
        Refusal::RegistrationClosed => Problem::forbidden("Whoever runs this takes nobody new at the moment.")
            .with_type("registration-closed", "Nobody new can register"),
        Refusal::InvitationMissing => Problem::invalid_field("invite", "is missing: one registers by invitation here"),
        Refusal::CodeNotGood(field) => Problem::forbidden("It was used, has run out, or was never made.")
            .with_type("code-not-good", "The one-time code is not good")
            .with_field(field, "is not good, or not any more"),
        Refusal::NoSuchSession => Problem::not_found("You have no such session, or not any more."),
        Refusal::SessionEnded => Problem::invalid_token("the session of the token is over"),
        Refusal::CurrentPasswordWrong => Problem::forbidden("It is not the password that one logs in with now.")
            .with_type("current-password-wrong", "The current password is wrong")
            .with_field("current_password", "is wrong"),
        Refusal::TooOften(wait) => Problem::too_many_requests(wait),
    }
}

fn not_now(unavailable: &Unavailable) -> Problem {
    tracing::warn!(reason = %unavailable, "a command was not possible");
    match unavailable {
        Unavailable::Database(_) => Problem::unavailable("The database did not answer.", DATABASE_BACK),
        Unavailable::Deadline => {
            Problem::unavailable("It took too long, and may have happened all the same.", DATABASE_BACK)
        }
        Unavailable::Saturated => Problem::unavailable("Too many want something at once.", SOON),
        Unavailable::Clock(_) => Problem::unavailable("The clock of this service is not sure.", DATABASE_BACK),
    }
}
