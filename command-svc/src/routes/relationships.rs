//! How two users are related: the answer to every command that changes it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use commands::{Commands, Done, Standing};
use model::api::Relationship;
use model::ids::UserId;

use super::request::Caller;

pub(super) fn relationship(caller: &Caller, id: UserId, commands: &Commands, done: &Done<Standing>) -> HttpResponse {
    let Standing {
        following,
        requested,
        followed_by,
        requested_by,
        blocking,
        blocked_by,
        muting,
        muted_until,
    } = done.answer;
    caller.sent.answer(StatusCode::OK, commands, done).json(Relationship {
        id,
        following,
        requested,
        followed_by,
        requested_by,
        blocking,
        blocked_by,
        muting,
        muted_until,
    })
}
