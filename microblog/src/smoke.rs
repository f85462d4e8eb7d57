//! `microblog smoke`: checks that an installation works, from a registration to a timeline. The Helm chart's test runs it.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api_client::{ApiClient, Call},
    terminal::{Endpoints, say},
};

/// Test the installation: register two people, post, follow, read; then remove them again
///
/// Uses the public API, and takes a second. Exit code 0: everything works.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long a request is repeated while the services do not answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = crate::cli_values::duration)]
    timeout: std::time::Duration,
    #[command(flatten)]
    endpoints: Endpoints,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { timeout, endpoints } = arguments;
    let smoke = Smoke {
        command: ApiClient::new(&endpoints.command_url, timeout)?,
        query: ApiClient::new(&endpoints.query_url, timeout)?,
    };
    let (author, reader) = (smoke.join("author").await?, smoke.join("reader").await?);
    say(&format!("registered @{} and @{}", author.handle, reader.handle))?;
    // Whatever the result is, these two users must not stay.
    let outcome = smoke.post_and_read(&author, &reader).await;
    for person in [&author, &reader] {
        smoke.leave(person).await?;
    }
    outcome?;
    say("removed both again: the installation works")?;
    Ok(ExitCode::SUCCESS)
}

struct Smoke {
    command: ApiClient,
    query: ApiClient,
}

struct Person {
    handle: String,
    id: String,
    token: String,
    password: String,
}

impl Smoke {
    async fn join(&self, role: &str) -> anyhow::Result<Person> {
        let handle = format!("smoke_{role}_{}", &Uuid::new_v4().simple().to_string()[..8]);
        let password = Uuid::new_v4().to_string();
        let registration =
            json!({ "handle": handle, "email": format!("{handle}@smoke.example"), "password": &password });
        let registered = self.command.call(&Call::post("/v1/users", registration)).await?;
        let id = text(&registered.success()?, "/id")?;
        let login = json!({ "handle": handle, "password": &password });
        let session = self.command.call(&Call::post("/v1/sessions", login)).await?;
        let token = text(&session.success()?, "/access_token")?;
        Ok(Person {
            handle,
            id,
            token,
            password,
        })
    }

    async fn post_and_read(&self, author: &Person, reader: &Person) -> anyhow::Result<()> {
        let follow = Call::put(format!("/v1/users/{}/follow", author.id)).bearer(&reader.token);
        self.command.call(&follow).await?.success::<Value>()?;
        let key = Uuid::new_v4().to_string();
        let post = Call::post("/v1/posts", json!({ "text": "Is anybody there?" }));
        let posted = self
            .command
            .call(&post.bearer(&author.token).idempotency_key(&key))
            .await?;
        let id = text(&posted.success()?, "/id")?;
        say(&format!("posted {id}"))?;

        let consistency = posted
            .consistency_token
            .context("the answer to a post carries no Consistency-Token")?;
        let home = Call::get("/v1/timelines/home").bearer(&reader.token);
        let home: Value = self
            .query
            .call(&home.consistency_token(&consistency))
            .await?
            .success()?;
        ensure!(
            home.pointer("/items/0/id").and_then(Value::as_str) == Some(&id),
            "the follower's home timeline does not begin with the post: {home}"
        );
        say("read it in the follower's home timeline")?;
        Ok(())
    }

    async fn leave(&self, person: &Person) -> anyhow::Result<()> {
        let current = json!({ "current_password": &person.password });
        let answer = self
            .command
            .call(&Call::delete("/v1/users/me").bearer(&person.token).body(current))
            .await?;
        if !answer.status.is_success() {
            return Err(answer.unexpected().into());
        }
        Ok(())
    }
}

fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .with_context(|| format!("an answer without {pointer}: {answer}"))
}
