//! `/v1/users/{id}`: a user, by id or by `@handle`.

use std::str::FromStr;
use std::sync::Arc;

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::ids::UserId;
use model::values::Handle;
use service::http::{MaybeAuthenticated, PageQuery, Path, Problem, Query, TokenHeader, etag};

use super::documentation::{Failures, NotFound, Seen, UserPath};
use super::{Service, json, page_of, requested, viewer};
use crate::cursor::Cursor;
use crate::people::{People, Which};
use crate::reading::{ReadError, Reading};
use crate::shown::ShownUser;
use crate::since::Since;
use crate::timelines::{Posts, Which as WhichPosts};
use views::Profile;

/// How a path names a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UserName {
    Id(UserId),
    Handle(Handle),
}

#[derive(Debug, thiserror::Error)]
#[error("must be a user's id, or a handle with an @ in front")]
pub(super) struct InvalidUserName;

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        match text.strip_prefix('@') {
            Some(handle) => handle.parse().map(Self::Handle).map_err(|_| InvalidUserName),
            None => text.parse().map(Self::Id).map_err(|_| InvalidUserName),
        }
    }
}

/// Whose a handle is. It never changes, so that nothing has to be forgotten.
#[derive(Debug)]
pub(crate) struct Handles(quick_cache::sync::Cache<Handle, UserId>);

impl Default for Handles {
    fn default() -> Self {
        Self(quick_cache::sync::Cache::new(50_000))
    }
}

impl Handles {
    async fn find(&self, reading: &Reading, name: UserName) -> Result<Option<UserId>, ReadError> {
        let handle = match name {
            UserName::Id(id) => return Ok(Some(id)),
            UserName::Handle(handle) => handle,
        };
        if let Some(id) = self.0.get(&handle) {
            return Ok(Some(id));
        }
        let profile = reading
            .ask(reading.views.profiles.live_by_handle(handle.as_str()))
            .await?;
        Ok(profile.map(|profile| {
            self.0.insert(handle, profile.id);
            profile.id
        }))
    }
}

impl Service {
    async fn live_user(&self, reading: &Reading, name: UserName) -> Result<Arc<Profile>, Problem> {
        let gone = || Problem::not_found("There is no such user.");
        let id = self.handles.find(reading, name).await?.ok_or_else(gone)?;
        reading.profiles(vec![id]).await?.remove(&id).flatten().ok_or_else(gone)
    }
}

/// A user
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", security((), ("bearer" = [])),
    params(UserPath, Seen),
    responses((status = 200, body = api::User, headers(("ETag" = String, description = "The version, for If-Match"))), Failures, NotFound),
)]
pub(super) async fn user(
    service: Data<Service>,
    // Nobody needs a token here, but one that is not good is refused everywhere.
    _: MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
) -> Result<HttpResponse, Problem> {
    let profile = service
        .read(token, move |service, reading| async move {
            service.live_user(&reading, name).await
        })
        .await?;
    let version = etag(profile.version);
    let body = json(&ShownUser(profile), 1)?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(version)
        .body(body))
}

/// What a user has posted and reposted
///
/// Newest first. Posts for followers are there for the user and for who follows the user.
#[utoipa::path(
    get, path = "/v1/users/{id}/posts", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::Post>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn posts(
    service: Data<Service>,
    MaybeAuthenticated(caller): MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let page = requested(page)?;
    let viewer = viewer(caller.as_ref());
    let page = service
        .read(token, move |service, reading| async move {
            let profile = service.live_user(&reading, name).await?;
            let mut posts = Posts::new(&reading, WhichPosts::By(profile.id), viewer);
            service.page(&reading, &mut posts, page).await
        })
        .await?;
    page_of(&request, &page)
}

/// Who follows a user
///
/// Who followed last comes first.
#[utoipa::path(
    get, path = "/v1/users/{id}/followers", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn followers(
    service: Data<Service>,
    _: MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    people(&service, token, name, page, &request, Which::FollowersOf).await
}

/// Whom a user follows
///
/// Who was followed last comes first.
#[utoipa::path(
    get, path = "/v1/users/{id}/following", tag = "users", security((), ("bearer" = [])),
    params(UserPath, PageQuery<String>, Seen),
    responses((status = 200, body = api::Page<api::User>, headers(("Link" = String, description = "The pages around this one"))), Failures, NotFound),
)]
pub(super) async fn following(
    service: Data<Service>,
    _: MaybeAuthenticated,
    token: TokenHeader,
    Path(name): Path<UserName>,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    people(&service, token, name, page, &request, Which::FollowedBy).await
}

async fn people(
    service: &Arc<Service>,
    token: TokenHeader,
    name: UserName,
    page: PageQuery<Cursor, Since>,
    request: &HttpRequest,
    which: fn(UserId) -> Which,
) -> Result<HttpResponse, Problem> {
    let page = requested(page)?;
    let page = service
        .read(token, move |service, reading| async move {
            let which = which(service.live_user(&reading, name).await?.id);
            let reading = &reading;
            service.page(reading, &mut People { reading, which }, page).await
        })
        .await?;
    page_of(request, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_id_or_by_handle() {
        let id = UserId::from_bytes([7; 16]);
        assert_eq!(id.to_string().parse::<UserName>().unwrap(), UserName::Id(id));
        assert_eq!(
            "@Ada_1".parse::<UserName>().unwrap(),
            UserName::Handle(Handle::parse("ada_1").unwrap())
        );
        for neither in ["", "ada", "@", "@a b", "@@ada", "123"] {
            assert!(neither.parse::<UserName>().is_err(), "{neither}");
        }
    }
}
