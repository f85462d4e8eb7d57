//! A MongoDB on this machine, for people who try out Microblog and for its tests.
//!
//! It runs the `mongod` on the PATH if there is one (version 7 or newer, started as a replica set with one member). Otherwise it runs the
//! pinned stand-in `secantus-mdb`, a MongoDB-compatible server that `cargo install` builds once under `~/.cache/microblog`. Either runs as
//! its own process. It ends when the process that started it ends, no matter how. Ctrl-C at the terminal does not reach it: the process
//! that started it stops it when it no longer needs it.
//!
//! # For tests
//!
//! [`TestDatabase`] gives a test its own two databases on a server that all tests share. That is the server of
//! `MICROBLOG_TEST_MONGODB_URI`, or otherwise one that is started once per test process and leaves nothing behind.
//! `with-mongodb -- cargo test --workspace` sets that variable, so that a whole test run needs one server.
//!
//! ```no_run
//! # async fn example() -> Result<(), mongodb::error::Error> {
//! use local_mongodb::TestDatabase;
//!
//! let database = TestDatabase::new().await;
//! let client = database.client().await;                      // belongs to this test's runtime, like every `Client`
//! let events = client.database(database.events_database());  // names that no other test has
//! let views = client.database(database.views_database());
//! let uri = database.uri();                                  // what MICROBLOG__MONGODB__URI would hold
//! # let _ = (events, views, uri);
//! # Ok(())
//! # } // both databases are dropped when `database` goes out of scope
//! ```
//!
//! A test that stops or kills the database needs one of its own:
//!
//! ```no_run
//! # async fn example() -> Result<(), local_mongodb::Error> {
//! use local_mongodb::Server;
//!
//! let mut server = Server::start_ephemeral().await?; // a free port, data that is deleted with the server
//! server.kill().await?;                              // SIGKILL: the port refuses connections from here on
//! server.restart().await?;                           // the same port, the same data, the same `server.uri()`
//! server.stop().await?;                              // SIGTERM, then wait; `restart` works after this one too
//! # Ok(())
//! # }
//! ```
//!
//! The server may be the stand-in. It has no text or hashed indexes, no server-side JavaScript, and no `configureFailPoint`.

mod engine;
mod install;
mod replica_set;
mod server;
mod test_database;

pub use engine::Engine;
pub use server::{Error, Options, Server, free_port, is_free};
pub use test_database::{TEST_URI_VARIABLE, TestDatabase, wait_in_drop};
