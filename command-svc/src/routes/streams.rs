//! `/v1/streams/tickets`: what opens a live stream of query-svc where a client can't send an access token.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use chrono::{DateTime, Utc};
use commands::Commands;
use serde::{Deserialize, Serialize};
use service::http::{Authenticated, OptionalJson, Problem};
use utoipa::ToSchema;

use super::documentation::{Failures, NotLoggedIn};
use super::problems::problem;

/// There is nothing to say about a ticket.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketRequest {}

/// A ticket for one live stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Ticket {
    /// Valid for one use.
    #[schema(example = "xDs9uyGmWzvs5jFLCRYnHDJpAbT1XSfvkCkWq6xpZ2g")]
    ticket: String,
    /// Until when the stream must be opened: 30 seconds from now.
    expires_at: DateTime<Utc>,
}

/// Make a ticket for a live stream
///
/// It opens one stream in place of the access token, for clients that can't send a header there, such as browsers. The stream ends when the
/// access token would have expired.
#[utoipa::path(
    post, path = "/v1/streams/tickets", tag = "streams", operation_id = "issueTicket", security(("bearer" = [])),
    request_body = Option<TicketRequest>,
    responses(
        (status = 201, description = "A new ticket", body = Ticket),
        NotLoggedIn, Failures,
    ),
)]
pub(super) async fn issue_ticket(
    Authenticated(caller): Authenticated,
    commands: Data<Commands>,
    OptionalJson(TicketRequest {}): OptionalJson<TicketRequest>,
) -> Result<HttpResponse, Problem> {
    let issued = commands.issue_ticket(caller).await.map_err(problem)?;
    Ok(HttpResponse::Created()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Ticket {
            ticket: issued.ticket.expose().to_owned(),
            expires_at: issued.expires_at,
        }))
}
