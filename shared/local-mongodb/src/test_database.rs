//! Databases for one test, on a server for all tests.

use std::{env, fmt, time::Duration};

use mongodb::{Client, options::ClientOptions};
use tokio::{runtime::Handle, sync::OnceCell, task::JoinHandle};

use crate::Server;

/// The variable with the URI of the server for tests. Without it, each test process starts one.
pub const TEST_URI_VARIABLE: &str = "MICROBLOG_TEST_MONGODB_URI";

/// Never dropped, because statics are not. When this process ends, the server's guard ends the server and deletes its data.
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// Two databases that nobody else uses. Dropping this value drops them, if that is still possible.
///
/// Programs that write there in transactions must have ended by then ([`wait_in_drop`]). If a database is dropped between two statements of
/// a transaction, the stand-in waits forever, and meanwhile nobody else can create a collection.
#[derive(Debug)]
pub struct TestDatabase {
    uri: String,
    events: String,
    views: String,
}

impl TestDatabase {
    /// # Panics
    ///
    /// If no server can be started. A test can do nothing better.
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
    /// If the URI is not valid.
    pub async fn client(&self) -> Client {
        Client::with_uri_str(&self.uri)
            .await
            .expect("the URI of the test's database is valid")
    }
}

impl Drop for TestDatabase {
    /// Drops the databases on a thread with its own runtime, because the test's runtime may be ending. It waits for that thread, so that
    /// the cleaning is done before the process ends. If the server is gone, there is nothing to clean.
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

/// For a `drop` that comes before that of a [`TestDatabase`]: waits until a program that was told to end has ended.
///
/// # Panics
///
/// On a runtime with a single thread, because the program could not continue there. Also if the program returns an error, panics or does
/// not end, unless the test has failed already.
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
