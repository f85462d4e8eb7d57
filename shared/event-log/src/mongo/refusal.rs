//! A user or password that the deployment refuses.

use std::time::{Duration, Instant};

use bson::doc;
use mongodb::error::{Error, ErrorKind};

use super::Databases;
use crate::mongo::MongoDb;

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a user or password has been refused. A program may start before its user is made. But if it is refused for long, waiting does
/// not help.
#[derive(Debug)]
pub struct Refusals {
    limit: Duration,
    since: Option<Instant>,
}

impl Refusals {
    /// `limit`: how long refusals may go on (`mongodb.refused_for`).
    pub fn new(limit: Duration) -> Self {
        Self { limit, since: None }
    }

    /// Notes the result of an attempt. True: the attempts have been refused for too long.
    pub fn are_final(&mut self, error: &Error) -> bool {
        self.note(Answer::of(error), Instant::now())
    }

    fn note(&mut self, answer: Answer, now: Instant) -> bool {
        match answer {
            Answer::Refusal => now.duration_since(*self.since.get_or_insert(now)) >= self.limit,
            Answer::None => false,
            Answer::Other => {
                self.since = None;
                false
            }
        }
    }
}

/// What an attempt says about the user and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Refusal,
    /// No request was sent. After a refusal the driver treats the server as gone until its monitor gets an answer, up to ten seconds later.
    None,
    Other,
}

impl Answer {
    fn of(error: &Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => Self::Refusal,
            ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. } => Self::None,
            _ => Self::Other,
        }
    }
}

/// Ends with the refusal if a deployment has refused the user or password for `mongodb.refused_for`, and did not accept them before. Once
/// both deployments have accepted them, this never ends: a changed password does not end a running program.
///
/// Each attempt has a client of its own. With a shared client, the driver reports a refusal to its other users, and sends no request for
/// seconds afterwards.
pub async fn refused(config: &MongoDb) -> Error {
    let mut refusals = Refusals::new(config.refused_for);
    while let Err(error) = attempt(config).await {
        if refusals.are_final(&error) {
            return error;
        }
        tokio::time::sleep(PAUSE).await;
    }
    std::future::pending().await
}

async fn attempt(config: &MongoDb) -> Result<(), Error> {
    let databases = Databases::connect(config, "microblog-password").await?;
    let events = databases.events.run_command(doc! { "ping": 1 }).await;
    let views = databases.views.run_command(doc! { "ping": 1 }).await;
    databases.close().await;
    events.and(views).map(drop)
}

/// Whether the configuration is invalid, so that waiting does not help.
pub fn is_misconfigured(error: &Error) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. }
    )
}

#[cfg(test)]
mod tests {
    use mongodb::Client;
    use mongodb::options::ClientOptions;

    use super::*;

    #[test]
    fn refusals_add_up_although_no_request_is_sent_in_between() {
        let mut refusals = Refusals::new(Duration::from_secs(30));
        let begun = Instant::now();
        let mut note = |answer, seconds| refusals.note(answer, begun + Duration::from_secs(seconds));
        assert!(!note(Answer::Refusal, 0));
        assert!(!note(Answer::None, 10));
        assert!(!note(Answer::Refusal, 20));
        assert!(!note(Answer::None, 40));
        assert!(note(Answer::Refusal, 41));
        assert!(!note(Answer::Other, 42));
        assert!(!note(Answer::Refusal, 43));
    }

    #[tokio::test]
    async fn a_client_that_reaches_no_server_sends_no_request() {
        crate::crypto::install_provider();
        let mut options = ClientOptions::parse("mongodb://127.0.0.1:1").await.unwrap();
        options.server_selection_timeout = Some(Duration::from_millis(1));
        let database = Client::with_options(options).unwrap().database("unused");
        let error = database.run_command(doc! { "ping": 1 }).await.unwrap_err();
        assert_eq!(Answer::of(&error), Answer::None);
    }
}
