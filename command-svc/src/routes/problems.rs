//! The one place that turns the failure of a command into an answer.

use std::time::Duration;

use service::http::Problem;

use commands::{CommandError, Refusal, Unavailable};

/// How long it takes until a database is back after a failed election or a restart.
const DATABASE_BACK: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(1);
/// A rebuild takes minutes, but this asks again soon enough to notice its end.
const UPGRADED: Duration = Duration::from_secs(10);

pub(super) fn problem(error: CommandError) -> Problem {
    match error {
        CommandError::Refused(refusal) => refused(refusal),
        CommandError::Unavailable(unavailable) => not_now(&unavailable),
        CommandError::Broken(broken) => Problem::internal(&broken),
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoSuchPost => Problem::not_found("There is no such post, or you can't see it."),
        Refusal::NoSuchUser => Problem::not_found("There is no such user, or the user is deleted."),
        Refusal::NotTheAuthor => Problem::forbidden("The post belongs to another user."),
        Refusal::NotPublic => Problem::forbidden("Not everybody may see the post.")
            .with_type("not-public", "Only public and unlisted posts can be reposted or quoted"),
        Refusal::RepostHasNoText => Problem::invalid_field("id", "is the id of a repost")
            .with_type("repost-has-no-text", "A repost has no text of its own"),
        Refusal::TooManyPins(max) => {
            Problem::invalid_field("id", format!("can't be pinned: you have pinned {max} posts already"))
                .with_type("too-many-pins", "You have pinned too many posts")
        }
        Refusal::Oneself(verb) => Problem::invalid_field("id", "must be the id of another user")
            .with_type(&format!("{verb}-oneself"), format!("You can't {verb} yourself")),
        Refusal::Blocked => Problem::forbidden("You block this user, or this user blocks you.")
            .with_type("blocked", "A block is between you"),
        Refusal::NotRequested => Problem::not_found("This user has not asked to follow you, or no longer does."),
        Refusal::AuthorProtected => Problem::invalid_field(
            "visibility",
            "must be 'followers', or absent: your account is protected",
        ),
        Refusal::ReadAhead => Problem::invalid_field("up_to", "must not be in the future"),
        Refusal::MarkedJustNow => Problem::too_many_requests(SOON)
            .with_type("marked-just-now", "The notifications were marked a moment ago")
            .with_detail("The marker rises at most once a second."),
        Refusal::NoSuchNotification => Problem::not_found("There is no such notification."),
        Refusal::MuteOver => Problem::invalid_field("until", "must be in the future"),
        Refusal::TooManyFollows(max) => {
            Problem::invalid_field("id", format!("can't be followed: you already follow {max} accounts"))
                .with_type("too-many-follows", "You follow too many accounts")
        }
        Refusal::TooManyTags(max) => {
            Problem::invalid_field("tag", format!("can't be followed: you already follow {max} tags"))
                .with_type("too-many-tags", "You follow too many tags")
        }
        Refusal::NoSuchList => Problem::not_found("You have no such list."),
        Refusal::TooManyLists(max) => Problem::invalid_field(
            "title",
            format!("can't be that of another list: you already have {max} lists"),
        )
        .with_type("too-many-lists", "You have too many lists"),
        Refusal::TooManyMembers(max) => {
            Problem::invalid_field("user", format!("can't be added: the list already has {max} members"))
                .with_type("too-many-list-members", "The list has too many members")
        }
        Refusal::TooManyListTags(max) => {
            Problem::invalid_field("tag", format!("can't be added: the list already has {max} tags"))
                .with_type("too-many-list-tags", "The list has too many tags")
        }
        Refusal::NoSuchFilter => super::filters::no_such_filter(),
        Refusal::FilterOver => Problem::invalid_field("expires_at", "must be in the future"),
        Refusal::TooManyFilters(max) => {
            Problem::invalid_field("phrases", format!("can't be filtered: you already have {max} filters"))
                .with_type("too-many-filters", "You have too many filters")
        }
        Refusal::HandleTaken => Problem::conflict("Another user has or had this handle.")
            .with_type("handle-taken", "The handle is taken")
            .with_field("handle", "is taken"),
        Refusal::EmailTaken => Problem::conflict("Another user has this e-mail address.")
            .with_type("email-taken", "The e-mail address is taken")
            .with_field("email", "is taken"),
        Refusal::OtherVersion(version) => Problem::precondition_failed(format!("The current version is {version}."))
            .with_field("If-Match", "does not match the current version"),
        Refusal::KeyReused => Problem::invalid_field("Idempotency-Key", "was used for another request").with_type(
            "idempotency-key-reused",
            "The idempotency key was used for another request",
        ),
        Refusal::Contended => Problem::conflict("Other requests are changing the same data. Please try again.")
            .with_type("contended", "Too many changes at once")
            .with_retry_after(SOON),
        Refusal::Suspended => {
            Problem::forbidden("Your account is suspended.").with_type("suspended", "The account is suspended")
        }
        Refusal::NotAModerator => {
            Problem::forbidden("Only moderators can do this.").with_type("not-a-moderator", "You are not a moderator")
        }
        Refusal::NotAnAdmin => Problem::forbidden("Only an admin can do this to a moderator or an admin.")
            .with_type("not-an-admin", "You are not an admin"),
        Refusal::NoSuchReport => Problem::not_found("There is no such report."),
        Refusal::NobodyToReport => Problem::invalid_field("user", "must be another user, who is not deleted"),
        Refusal::NotTheirPosts => Problem::invalid_field("posts", "must be posts of the user that you can see"),
        Refusal::ActorGone => Problem::invalid_token("the user of the token is deleted"),
        Refusal::WrongCredentials => Problem::unauthorized("The handle, e-mail address or password is wrong.")
            .with_type("wrong-credentials", "The login failed"),
        Refusal::SessionOver => Problem::unauthorized("The refresh token is not valid, or no longer valid.")
            .with_type("session-over", "The session is over"),
        Refusal::RegistrationClosed => Problem::forbidden("This service accepts no new users at the moment.")
            .with_type("registration-closed", "Registration is closed"),
        Refusal::InvitationMissing => Problem::invalid_field("invite", "is missing: registration needs an invitation"),
        Refusal::CodeNotGood(field) => Problem::forbidden("The code was used, has expired, or was never issued.")
            .with_type("code-not-good", "The one-time code is not valid")
            .with_field(field, "is not valid, or no longer valid"),
        Refusal::NoSuchSession => Problem::not_found("You have no such session."),
        Refusal::SessionEnded => Problem::invalid_token("the session of the token is over"),
        Refusal::CurrentPasswordWrong => Problem::forbidden("This is not the password of your account.")
            .with_type("current-password-wrong", "The current password is wrong")
            .with_field("current_password", "is wrong"),
        Refusal::TooOften(wait) => Problem::too_many_requests(wait),
    }
}

fn not_now(unavailable: &Unavailable) -> Problem {
    tracing::warn!(reason = %unavailable, "a command could not be carried out");
    match unavailable {
        Unavailable::Database(_) => Problem::unavailable("The database did not answer.", DATABASE_BACK),
        Unavailable::Deadline => {
            Problem::unavailable("It took too long, but may still have been carried out.", DATABASE_BACK)
        }
        Unavailable::Saturated => Problem::unavailable("Too many commands at the same time.", SOON),
        Unavailable::Upgrading => Problem::unavailable(
            "An upgrade is under way. This is possible when every program runs the new version, and the views are rebuilt.",
            UPGRADED,
        ),
        Unavailable::Clock(_) => Problem::unavailable("The clock of this service may be wrong.", DATABASE_BACK),
    }
}
