//! Waits until a server accepts writes. It makes a fresh `mongod` the only member of its replica set, and limits the lifetime of
//! transactions.
//!
//! Transactions, change streams and causal consistency exist only in replica sets, so a standalone `mongod` is not enough.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::{Client, Database, error::ErrorKind, options::ClientOptions};

use crate::engine::REPLICA_SET;

const NOT_YET_INITIALIZED: i32 = 94;
const INVALID_REPLICA_SET_CONFIG: i32 = 93;
/// How long a transaction may live. If a client is killed, its transaction blocks others on the same rows, and the change streams of the
/// stand-in, for so long. The default of a minute is made for reports.
const TRANSACTION_LIFETIME_SECONDS: i32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(25);

/// Asks until the server is primary. `gone` says, between two attempts, that the server has ended, so that more attempts are useless.
pub(crate) async fn wait_for_primary(
    uri: &str,
    port: u16,
    pid: u32,
    deadline: Instant,
    mut gone: impl FnMut() -> bool,
) -> Result<(), String> {
    let mut options = ClientOptions::parse(uri).await.map_err(|error| error.to_string())?;
    options.server_selection_timeout = Some(Duration::from_millis(250));
    options.connect_timeout = Some(Duration::from_secs(1));
    let client = Client::with_options(options).map_err(|error| error.to_string())?;
    let admin = client.database("admin");
    let outcome = loop {
        let last = match attempt(&admin, port).await {
            Ok(true) => {
                break match is_process(&admin, pid).await {
                    Ok(()) => limit_transactions(&admin).await,
                    other => other,
                };
            }
            Ok(false) => "it is not primary yet".to_owned(),
            Err(error) => error.to_string(),
        };
        if gone() {
            break Err("it ended during its start".to_owned());
        }
        if Instant::now() >= deadline {
            break Err(format!("it was not ready in time: {last}"));
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    };
    client.shutdown().immediate(true).await;
    outcome
}

async fn attempt(admin: &Database, port: u16) -> Result<bool, mongodb::error::Error> {
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Ok(true);
    }
    let member = format!("127.0.0.1:{port}");
    match admin.run_command(doc! { "replSetGetStatus": 1 }).await {
        Ok(_) => Ok(false),
        Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => {
            let config = doc! { "_id": REPLICA_SET, "members": [{ "_id": 0, "host": member }] };
            admin.run_command(doc! { "replSetInitiate": config }).await?;
            Ok(false)
        }
        // The data was made under another port, so the set's only member does not find itself in the set's configuration.
        Err(error) if code(&error) == Some(INVALID_REPLICA_SET_CONFIG) => {
            let answer = admin.run_command(doc! { "replSetGetConfig": 1 }).await?;
            if let Some(config) = moved(&answer, &member) {
                admin
                    .run_command(doc! { "replSetReconfig": config, "force": true })
                    .await?;
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Checks that the answers come from the server that was started, and not from another one that already listens on the port.
async fn is_process(admin: &Database, pid: u32) -> Result<(), String> {
    let status = admin
        .run_command(doc! { "serverStatus": 1 })
        .await
        .map_err(|error| error.to_string())?;
    match status.get_i64("pid") {
        Ok(answering) if answering != i64::from(pid) => Err(format!(
            "the port is in use by another server, with process id {answering}"
        )),
        _ => Ok(()),
    }
}

async fn limit_transactions(admin: &Database) -> Result<(), String> {
    admin
        .run_command(doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": TRANSACTION_LIFETIME_SECONDS })
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The configuration with the new address of the only member.
fn moved(answer: &Document, member: &str) -> Option<Document> {
    let mut config = answer.get_document("config").ok()?.clone();
    let version = config.get_i32("version").ok()?;
    config.insert("version", version + 1);
    let only = config.get_array_mut("members").ok()?.first_mut()?.as_document_mut()?;
    only.insert("host", member);
    Some(config)
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_moved_gets_a_newer_configuration_with_its_new_address() {
        let answer =
            doc! { "config": { "_id": "rs0", "version": 3, "members": [{ "_id": 0, "host": "127.0.0.1:1" }] } };
        let expected = doc! { "_id": "rs0", "version": 4, "members": [{ "_id": 0, "host": "127.0.0.1:2" }] };
        assert_eq!(moved(&answer, "127.0.0.1:2"), Some(expected));
    }
}
