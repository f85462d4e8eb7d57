//! How clients are moved away from a server that is about to end.

use std::time::Duration;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web::Data;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::edge::EdgeState;
use crate::config;

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

/// When answers that go on have to end: from the beginning of the drain on, one after the other, so that their clients don't come back all
/// at once.
#[derive(Debug, Clone)]
pub struct EndOfStreams {
    begun: CancellationToken,
    over: Duration,
}

impl EndOfStreams {
    pub fn new(shutdown: &config::Shutdown) -> Self {
        Self {
            begun: CancellationToken::new(),
            over: shutdown.drain_delay + shutdown.grace.mul_f64(0.75),
        }
    }

    /// The server is told to stop.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until one of them has to end.
    pub async fn due(&self) {
        self.begun.cancelled().await;
        // A number from 0 to 1, each as likely.
        let turn = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        tokio::time::sleep(self.over.mul_f64(turn)).await;
    }
}
