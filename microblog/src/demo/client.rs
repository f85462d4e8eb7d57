//! The few requests that the demo makes. Each request sees what the requests before it did.

use std::{sync::Mutex, time::Duration};

use anyhow::Context as _;
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    api_client::{Answer, ApiClient, Call},
    terminal::Endpoints,
};

/// The services may still be starting. But if they are not there, a person should learn it soon.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Api {
    endpoints: Endpoints,
    command: ApiClient,
    query: ApiClient,
    /// What the last command answered. It covers all commands before it.
    consistency: Mutex<Option<String>>,
}

impl Api {
    pub(super) fn new(endpoints: Endpoints) -> anyhow::Result<Self> {
        let command = ApiClient::new(&endpoints.command_url, TIMEOUT)?;
        let query = ApiClient::new(&endpoints.query_url, TIMEOUT)?;
        Ok(Self {
            endpoints,
            command,
            query,
            consistency: Mutex::new(None),
        })
    }

    pub(super) fn command_url(&self) -> &str {
        self.endpoints.command_url.as_str().trim_end_matches('/')
    }

    pub(super) fn query_url(&self) -> &str {
        self.endpoints.query_url.as_str().trim_end_matches('/')
    }

    /// A handle that is already taken is no error here.
    pub(super) async fn register(&self, body: Value) -> anyhow::Result<()> {
        let answer = self.send(&self.command, Call::post("/v1/users", body)).await?;
        if answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        answer.success::<Value>()?;
        Ok(())
    }

    pub(super) async fn command(&self, call: Call<'_>) -> anyhow::Result<Value> {
        Ok(self.send(&self.command, call).await?.success()?)
    }

    pub(super) async fn query(&self, call: Call<'_>) -> anyhow::Result<Value> {
        Ok(self.send(&self.query, call).await?.success()?)
    }

    async fn send(&self, service: &ApiClient, call: Call<'_>) -> anyhow::Result<Answer> {
        let seen = self.consistency.lock().expect("nobody panics while holding it").clone();
        let call = match &seen {
            Some(seen) => call.consistency_token(seen),
            None => call,
        };
        let answer = service
            .call(&call)
            .await
            .context("is Microblog running? `microblog up` or `make run` starts it")?;
        if let Some(token) = &answer.consistency_token {
            *self.consistency.lock().expect("nobody panics while holding it") = Some(token.clone());
        }
        Ok(answer)
    }
}
