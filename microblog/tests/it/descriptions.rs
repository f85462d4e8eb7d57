//! The services do what their descriptions say, for any request: schemathesis makes valid and invalid requests from both OpenAPI documents,
//! and checks the answers.

use std::process::Command;

use manifest_tests::render::{repository, tool};
use reqwest::Method;
use serde_json::json;

use crate::home::e2e;
use crate::stack::{Person, Stack};

/// How many requests of each kind are generated for each operation.
const EXAMPLES: &str = "10";
/// The same seed makes the same requests. `SCHEMATHESIS_SEED` sets another seed.
const SEED: &str = "1";

e2e! {
    async fn the_services_do_what_they_are_described_to() {
        let stack = Stack::start().await;
        let [ada, bob, gone] = stack.people(["ada", "bob", "gone"]).await;
        let post = stack.post(&ada, "Hello, @bob! #first").await;
        stack.follow(&bob, &ada).await;
        stack.like(&bob, post.id).await;
        stack.repost(&bob, post.id).await;
        let reply = json!({ "text": "hello", "in_reply_to": post.id });
        let _: serde_json::Value = stack.command(Method::POST, "/v1/posts", Some(&bob), Some(reply)).await;

        let (command, query) = (&stack.command.url, &stack.queries[0].url);
        // A deleted user can do nothing more. So another user deletes itself.
        test(&stack, command, &ada, &["--exclude-operation-id", "deleteUser"]).await;
        test(&stack, command, &gone, &["--include-operation-id", "deleteUser"]).await;
        test(&stack, query, &ada, &[]).await;
    }
}

async fn test(stack: &Stack, url: &str, caller: &Person, operations: &[&str]) {
    let mut schemathesis = Command::new(tool("SCHEMATHESIS"));
    schemathesis
        .arg("--config-file")
        .arg(repository().join("microblog/tests/it/schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json"), "--url", url])
        .args(["--header", &format!("Authorization: Bearer {}", caller.token)])
        .args([
            "--checks",
            "all",
            "--continue-on-failure",
            "--no-color",
            "--request-timeout",
            "60",
        ])
        .args(["--max-examples", &variable("SCHEMATHESIS_EXAMPLES", EXAMPLES)])
        .args(["--seed", &variable("SCHEMATHESIS_SEED", SEED)])
        .args(operations)
        .env("CONSISTENCY_TOKEN", stack.seen().expect("somebody has written"));
    // schemathesis stores its findings in its working directory.
    let directory = tempfile::tempdir().expect("a directory");
    schemathesis.current_dir(directory.path());
    let output = tokio::task::spawn_blocking(move || schemathesis.output());
    let output = output.await.expect("no panic").expect("schemathesis runs");
    assert!(
        output.status.success(),
        "{url} does not do what it is described to:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
