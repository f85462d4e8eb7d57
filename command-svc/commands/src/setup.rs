//! Creates collections that may exist already.

use mongodb::Database;
use mongodb::error::{Error, ErrorKind};

const NAMESPACE_EXISTS: i32 = 48;

/// A transaction could also create a collection, but it would have to wait for other transactions that do the same.
pub(crate) async fn collection(database: &Database, name: &str) -> Result<(), Error> {
    match database.create_collection(name).await {
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS) => {
            Ok(())
        }
        other => other,
    }
}
