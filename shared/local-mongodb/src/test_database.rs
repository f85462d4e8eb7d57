//! Databases for one test on a server for all of them.

use std::{env, fmt, time::Duration};

use mongodb::{Client, options::ClientOptions};
use tokio::{runtime::Handle, sync::OnceCell, task::JoinHandle};

use crate::Server;

/// Names the server that tests use. Without it, each test process starts one.
pub const TEST_URI_VARIABLE: &str = "MICROBLOG_TEST_MONGODB_URI";

/// Never dropped, as statics are; the server's guard ends it, and deletes its data, when this process ends.
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// Two databases that nobody else uses. Dropping this drops them, as far as that is possible by then.
///
/// Whoever writes there in transactions must have ended by then ([`wait_in_drop`]): the stand-in waits for ever where a database is
/// dropped between two statements of a transaction, and lets nobody else create a collection meanwhile.
#[derive(Debug)]
pub struct TestDatabase {
    uri: String,
    events: String,
    views: String,
}

impl TestDatabase {
    /// # Panics
    ///
    /// Where no server can be started: a test can do nothing better.
    pub async fn new() -> Self {
        let uri = match env::var(TEST_URI_VARIABLE) {
            Ok(uri) if !uri.is_empty() => uri,
            _ => SERVER
                .get_or_init(async || Server::start_ephemeral().await.expect("a database for the tests"))
                .await
                .uri(),
        };
        let name = uuid::Uuid::new_v4().simple().to_string();
        Self {
            uri,
            events: format!("test_{name}_events"),
            views: format!("test_{name}_views"),
        }
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    pub fn events_database(&self) -> &str {
        &self.events
    }

    pub fn views_database(&self) -> &str {
        &self.views
    }

    /// A new client. It belongs to the runtime of the test that asked for it.
    ///
    /// # Panics
    ///
    /// Where the URI is none.
    pub async fn client(&self) -> Client {
        Client::with_uri_str(&self.uri)
            .await
            .expect("the URI of the test's database is valid")
    }
}

impl Drop for TestDatabase {
    /// On a thread and a runtime of its own, because the test's runtime may be ending; waits for it, so that a process that
    /// ends next has cleaned up. A server that is gone by now has nothing to clean.
    fn drop(&mut self) {
        let (uri, names) = (self.uri.clone(), [self.events.clone(), self.views.clone()]);
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let cleaned = async { tokio::time::timeout(Duration::from_secs(10), drop_databases(&uri, &names)).await };
            let _ = runtime.block_on(cleaned);
        });
        let _ = cleaning.join();
    }
}

/// For a `drop` that comes before the one of a [`TestDatabase`]: waits until a program has ended that was told to.
///
/// # Panics
///
/// On a runtime with a single thread, on which the program could not go on; where it ends with an error, panicked or does not end, unless the
/// test has failed already.
pub fn wait_in_drop<E: fmt::Debug>(program: JoinHandle<Result<(), E>>) {
    tokio::task::block_in_place(|| {
        let ended = Handle::current().block_on(async { tokio::time::timeout(Duration::from_secs(60), program).await });
        if !std::thread::panicking() {
            let outcome = ended.expect("it ends in time").expect("it ends without a panic");
            outcome.expect("it ends without an error");
        }
    });
}

async fn drop_databases(uri: &str, names: &[String]) -> Result<(), mongodb::error::Error> {
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(Duration::from_secs(2));
    let client = Client::with_options(options)?;
    for name in names {
        client.database(name).drop().await?;
    }
    client.shutdown().immediate(true).await;
    Ok(())
}
