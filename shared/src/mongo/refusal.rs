//! A user or password that the deployment does not take.

use std::time::{Duration, Instant};

use bson::doc;
use mongodb::error::{Error, ErrorKind};

use super::Databases;

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a refused user or password has been tried. A program may start before its user has been made; one that is
/// refused for long will be refused for ever.
#[derive(Debug)]
pub struct Refusals {
    bearable: Duration,
    since: Option<Instant>,
}

impl Refusals {
    /// `bearable`: how long refusals may go on (`mongodb.refused_for`).
    pub fn new(bearable: Duration) -> Self {
        Self { bearable, since: None }
    }

    /// Notes what an attempt came to. True: the attempts have been refused for too long.
    pub fn are_final(&mut self, error: &Error) -> bool {
        if !is_refusal(error) {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= self.bearable
    }
}

impl Databases {
    /// Ends with the refusal where a deployment has refused the user or password for [`Refusals::new`]'s time, and never
    /// accepted them before. Once both deployments have accepted them it never ends: a password that is changed under a
    /// running program does not end it.
    pub async fn refused_for(&self, bearable: Duration) -> Error {
        for database in [&self.events, &self.views] {
            let mut refusals = Refusals::new(bearable);
            while let Err(error) = database.run_command(doc! { "ping": 1 }).await {
                if refusals.are_final(&error) {
                    return error;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        std::future::pending().await
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Authentication { .. })
}

/// What the configuration says can't be used; waiting does not help.
pub fn is_misconfigured(error: &Error) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. }
    )
}
