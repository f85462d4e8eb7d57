//! The API description is committed, and it matches the program.

use std::collections::HashMap;
use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::service::{Service, send};

const UPDATE: &str = "UPDATE_OPENAPI";

#[test]
fn the_committed_description_is_the_one_of_the_code() {
    let path = Path::new("openapi.json");
    let made = format!("{}\n", command_svc::openapi().to_pretty_json().unwrap());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not what the code says: run the tests with {UPDATE}=1",
        path.display()
    );
}

/// Types with the same name would become one schema, and one of the two bodies would be described wrongly.
#[test]
fn every_body_is_described_by_a_schema_of_its_own() {
    let description: Value = serde_json::to_value(command_svc::openapi()).unwrap();
    let mut bodies = HashMap::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(name) = schema["$ref"].as_str().or(schema["oneOf"][0]["$ref"].as_str()) else {
                continue;
            };
            let other = bodies.insert(name.to_owned(), format!("{method} {path}"));
            assert_eq!(other, None, "{method} {path} has the same schema: {name}");
        }
    }
    assert!(bodies.len() > 10, "{bodies:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_answers_to_its_methods_and_to_no_others() {
    let service = Service::start().await;
    let description = service.get("/openapi.json").await.expect(StatusCode::OK).body;
    let paths = description["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 35);
    for (path, operations) in paths {
        let concrete = path
            .replace("{id}", "0198c0de-0000-7000-8000-000000000001")
            .replace("{tag}", "rust");
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let described = operations.get(method.as_str().to_lowercase()).is_some();
            let answer = send(service.request(method.clone(), &concrete)).await;
            assert_ne!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert_eq!(
                answer.status != StatusCode::METHOD_NOT_ALLOWED,
                described,
                "{method} {path}"
            );
            if !described {
                assert!(!answer.header("allow").is_empty(), "{method} {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_that_is_answered_is_described() {
    let description: Value = serde_json::to_value(command_svc::openapi()).unwrap();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            let needs_token = operation.get("security").is_some();
            if needs_token {
                assert!(responses.contains_key("401"), "{method} {path}");
            }
            if path.contains("{id}") {
                assert!(responses.contains_key("404"), "{method} {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_places_are_not_found() {
    let service = Service::start().await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/posts/",
        "/v2/posts",
        "/v1/users/x/y/z",
        "/v1/posts/%ff",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = send(service.request(method.clone(), path)).await;
            assert!(
                matches!(
                    answer.status,
                    StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED
                ),
                "{method} {path}: {}",
                answer.status
            );
        }
    }
    send(service.request(Method::GET, "/v1/nothing"))
        .await
        .expect(StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_a_reader_are_there() {
    let service = Service::start().await;
    let ada = service.user("ada").await;
    service.write(&ada, "Hello").await;
    for path in ["/livez", "/readyz", "/healthz", "/docs/"] {
        let response = service.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    let metrics = service
        .request(Method::GET, "/metrics")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for expected in [
        "commands_total{command=\"create_post\",outcome=\"done\"} 1",
        "command_conflicts_total 0",
        "event_append_seconds_count 2",
        "password_hashes_waiting 0",
        "password_hash_seconds_count 2",
    ] {
        assert!(metrics.contains(expected), "{expected} is not in\n{metrics}");
    }
}
