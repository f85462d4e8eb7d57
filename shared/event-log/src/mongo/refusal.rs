//! A user or password that the deployment does not take.

use std::time::{Duration, Instant};

use bson::doc;
use mongodb::error::{Error, ErrorKind};

use super::Databases;
use crate::mongo::MongoDb;

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
        self.note(Answer::of(error), Instant::now())
    }

    fn note(&mut self, answer: Answer, now: Instant) -> bool {
        match answer {
            Answer::Refusal => now.duration_since(*self.since.get_or_insert(now)) >= self.bearable,
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
    /// Nobody was asked. After a refusal the driver takes the server for gone, until its monitor hears from it again: up to ten seconds.
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

/// Ends with the refusal where a deployment has refused the user or password for `mongodb.refused_for`, and never accepted them
/// before. Once both deployments have accepted them it never ends: a password that is changed under a running program does not
/// end it.
///
/// Each attempt has a client of its own. With a client that others use, it is them whom the driver tells of a refusal, and it asks
/// nobody for seconds afterwards.
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

/// What the configuration says can't be used; waiting does not help.
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
    fn refusals_add_up_although_nobody_is_asked_in_between() {
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
    async fn who_reaches_no_server_asks_nobody() {
        crate::crypto::install_provider();
        let mut options = ClientOptions::parse("mongodb://127.0.0.1:1").await.unwrap();
        options.server_selection_timeout = Some(Duration::from_millis(1));
        let database = Client::with_options(options).unwrap().database("unused");
        let error = database.run_command(doc! { "ping": 1 }).await.unwrap_err();
        assert_eq!(Answer::of(&error), Answer::None);
    }
}
