//! Creates the users in the stand-in for MongoDB. In a real MongoDB, `files/initiate.js` of the chart does that, but there is no `mongosh`
//! for the stand-in.
//!
//! It runs in a container beside the database. It may be repeated at any time, and ends when everything exists.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bson::doc;
use mongodb::options::{ClientOptions, Credential};
use mongodb::{Client, Database};

const ADDRESS: &str = "mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=1000";
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| name.to_owned());
    let (root, microblog) = (variable("MONGODB_ROOT_PASSWORD")?, variable("MONGODB_PASSWORD")?);
    // The database may still be starting. If this program fails here, the kubelet starts it again.
    while admin(None).await?.run_command(doc! { "ping": 1 }).await.is_err() {
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
    if ping_as("root", &root).await.is_err() {
        // As long as there is no user, the database needs no password.
        create(&admin(None).await?, "root", &root).await?;
    }
    if ping_as("microblog", &microblog).await.is_err() {
        create(&admin(Some(("root", &root))).await?, "microblog", &microblog).await?;
    }
    // A transaction that a killed pod has left open must not block others for the default of one minute.
    let limit = doc! { "setParameter": 1, "transactionLifetimeLimitSeconds": 10 };
    admin(Some(("root", &root))).await?.run_command(limit).await?;
    Ok(())
}

async fn admin(login: Option<(&str, &str)>) -> Result<Database> {
    let mut options = ClientOptions::parse(ADDRESS).await?;
    options.credential = login.map(|(user, password)| {
        Credential::builder()
            .username(user.to_owned())
            .password(password.to_owned())
            .build()
    });
    Ok(Client::with_options(options)?.database("admin"))
}

async fn ping_as(user: &str, password: &str) -> Result<()> {
    let admin = admin(Some((user, password))).await?;
    admin.run_command(doc! { "ping": 1 }).await?;
    Ok(())
}

async fn create(admin: &Database, user: &str, password: &str) -> Result<()> {
    let roles = if user == "root" {
        vec![doc! { "role": "root", "db": "admin" }]
    } else {
        ["microblog_events", "microblog_views"]
            .map(|database| doc! { "role": "readWrite", "db": database })
            .to_vec()
    };
    admin
        .run_command(doc! { "createUser": user, "pwd": password, "roles": roles })
        .await
        .with_context(|| format!("creating {user}"))?;
    Ok(())
}
