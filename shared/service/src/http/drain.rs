//! How clients are moved away from a server that is about to end.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::edge::EdgeState;

/// While the server drains, every answer closes its connection. So the client opens its next connection to another server. An open
/// connection would be cut at the end, perhaps while a request is on its way.
pub(super) async fn close_when_draining<B: MessageBody>(
    edge: Data<EdgeState>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut response = next.call(request).await?;
    if edge.readiness.is_draining() {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
