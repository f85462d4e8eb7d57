//! `/v1/notifications`: what the caller is told of.

use std::collections::BTreeSet;
use std::str::FromStr;

use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use model::api;
use model::values::{InvalidKind, NotificationKind};
use serde::{Deserialize, Deserializer, de};
use service::http::{Authenticated, Limit, PageQuery, Problem, Query, TokenHeader};
use utoipa::IntoParams;

use super::documentation::{Failures, Seen};
use super::{Service, json, linked, requested};
use crate::cursor::Cursor;
use crate::queries::NotificationPage;
use crate::since::Since;

/// Kinds with commas between them.
#[derive(Debug, Default)]
pub(super) struct Kinds(BTreeSet<NotificationKind>);

impl Kinds {
    /// All kinds, or these, without those that are excluded.
    pub(super) fn without(kinds: Option<&Self>, exclude: &Self) -> Vec<NotificationKind> {
        let wanted = |kind: &NotificationKind| kinds.is_none_or(|kinds| kinds.0.contains(kind));
        let all = NotificationKind::ALL.into_iter();
        all.filter(|kind| wanted(kind) && !exclude.0.contains(kind)).collect()
    }
}

impl From<Vec<NotificationKind>> for Kinds {
    fn from(kinds: Vec<NotificationKind>) -> Self {
        Self(kinds.into_iter().collect())
    }
}

impl FromStr for Kinds {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The parameters of a page, and which kinds it has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotificationsQuery {
    #[serde(default)]
    limit: Limit,
    #[serde(default)]
    before: Option<Cursor>,
    #[serde(default)]
    after: Option<Since>,
    #[serde(default)]
    kinds: Option<Kinds>,
    #[serde(default)]
    exclude: Kinds,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only for the description: `NotificationsQuery` reads it")]
pub(super) struct WhichKinds {
    /// Only these kinds, with commas between them
    #[param(
        example = "mention,reply",
        pattern = "^(follow|request|accepted|mention|reply|like|repost|quote|edit)(,(follow|request|accepted|mention|reply|like|repost|quote|edit))*$"
    )]
    kinds: Option<String>,
    /// All kinds but these, with commas between them
    #[param(
        example = "like",
        pattern = "^(follow|request|accepted|mention|reply|like|repost|quote|edit)(,(follow|request|accepted|mention|reply|like|repost|quote|edit))*$"
    )]
    exclude: Option<String>,
}

/// The caller's notifications
///
/// What others did that concerns the caller, the newest first: who follows or asks to, who has accepted a request, who likes, reposts, quotes or
/// answers a post of the caller, who mentions the caller, and who has edited a post since the caller reposted it. A post that does several of these makes one notification. What was undone is left
/// out, and so are those whom the caller blocks or mutes, and posts that the caller may not see.
#[utoipa::path(
    get, path = "/v1/notifications", tag = "notifications", security(("bearer" = [])),
    params(WhichKinds, PageQuery<String>, Seen),
    responses((status = 200, body = api::NotificationPage<api::Notification>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn notifications(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(query): Query<NotificationsQuery>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let kinds = Kinds::without(query.kinds.as_ref(), &query.exclude);
    let owner = caller.sub;
    let page = requested(PageQuery {
        limit: query.limit,
        before: query.before,
        after: query.after,
    })?;
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.notifications(&read_model, owner, kinds, page).await
        })
        .await?;
    answer(&request, &page)
}

/// The caller's notifications, in groups
///
/// Likes of the same post are one group, and so are its reposts. Follows are one group, and so are requests, and requests that were accepted. A
/// mention, a reply, a quote or an edit is a group of its own. A group takes the place of the newest that it had. A page that is read upwards shows a group
/// again when it has something new.
#[utoipa::path(
    get, path = "/v1/notifications/groups", operation_id = "notificationGroups", tag = "notifications", security(("bearer" = [])),
    params(PageQuery<String>, Seen),
    responses((status = 200, body = api::NotificationPage<api::NotificationGroup>, headers(("Link" = String, description = "The pages around this one"))), Failures),
)]
pub(super) async fn groups(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
    Query(page): Query<PageQuery<Cursor, Since>>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let (page, owner) = (requested(page)?, caller.sub);
    let page = service
        .ask(token, move |queries, read_model| async move {
            queries.notification_groups(&read_model, owner, page).await
        })
        .await?;
    answer(&request, &page)
}

/// How many notifications the caller has not read
///
/// It counts those that `GET /v1/notifications` shows.
#[utoipa::path(
    get, path = "/v1/notifications/unread", operation_id = "unreadNotifications", tag = "notifications", security(("bearer" = [])),
    params(Seen),
    responses((status = 200, body = api::UnreadNotifications), Failures),
)]
pub(super) async fn unread(
    service: Data<Service>,
    caller: Authenticated,
    token: TokenHeader,
) -> Result<HttpResponse, Problem> {
    let owner = caller.sub;
    let unread = service
        .ask(token, move |queries, read_model| async move {
            queries.unread_notifications(&read_model, owner).await
        })
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body(json(&unread, 1)?))
}

fn answer<T: serde::Serialize>(request: &HttpRequest, page: &NotificationPage<T>) -> Result<HttpResponse, Problem> {
    let json = json(page, page.items.len())?;
    Ok(linked(request, page.next, page.prev.as_ref()).body(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_those_that_are_named_without_those_that_are_excluded() {
        let kinds = |kinds: Option<&str>, exclude: &str| {
            let parse = |kinds: &str| kinds.parse::<Kinds>().unwrap();
            let exclude = Some(exclude).filter(|exclude| !exclude.is_empty());
            Kinds::without(kinds.map(parse).as_ref(), &exclude.map(parse).unwrap_or_default())
        };
        use NotificationKind::{Like, Mention, Reply};
        assert_eq!(kinds(None, ""), NotificationKind::ALL);
        assert_eq!(kinds(Some("reply,mention,like"), ""), [Mention, Reply, Like]);
        assert_eq!(kinds(Some("reply,like"), "like,follow"), [Reply]);
        assert_eq!(kinds(None, "like").len(), NotificationKind::ALL.len() - 1);
        for wrong in ["", "likes", "like,", "like, reply", "Like"] {
            assert!(wrong.parse::<Kinds>().is_err(), "{wrong}");
        }
    }
}
