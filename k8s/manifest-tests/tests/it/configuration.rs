//! Reads the environment variables of the pods in the same way as the programs do.

use std::time::Duration;

use manifest_tests::manifests::{Manifests, Pod};
use manifest_tests::render::{Values, chart};
use serde_json::Value;
use service::auth::generate_signing_key_pem;
use service::config::{ConfigError, Environment, SECTIONS, Shutdown, load};

/// The environment variables of a container. The values of Secrets are invented.
pub(crate) fn environment(manifests: &Manifests, container: &Value) -> Environment {
    let mut environment = Vec::new();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        let name = source["configMapRef"]["name"]
            .as_str()
            .expect("envFrom only names ConfigMaps");
        let config = manifests
            .find("ConfigMap", name)
            .unwrap_or_else(|| panic!("the ConfigMap {name} does not exist"));
        for (key, value) in config["data"].as_object().expect("a ConfigMap has data") {
            environment.push((key.clone(), value.as_str().expect("a ConfigMap has strings").to_owned()));
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("a variable has a name").to_owned();
        let from = &variable["valueFrom"];
        let value = match (&variable["value"], from["secretKeyRef"]["key"].as_str()) {
            (Value::String(text), _) => text.clone(),
            (_, Some("uri")) => "mongodb://microblog:secret@db:27017".to_owned(),
            (_, Some("signing-key")) => generate_signing_key_pem(),
            (_, Some("refresh-secret" | "cookie-secret" | "client-secret")) => "r".repeat(64),
            (_, Some("views-uri" | "public-keys")) => continue,
            (_, None) if from["fieldRef"].is_object() => continue,
            _ => panic!("this test does not know the variable {variable}"),
        };
        environment.push((name, value));
    }
    environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn read(pod: &Pod<'_>, environment: &Environment) -> Result<(String, Shutdown), ConfigError> {
    let port = |address: std::net::SocketAddr| {
        assert!(
            address.ip().is_unspecified(),
            "{} listens on an address that nobody can reach",
            pod.owner
        );
        address.port().to_string()
    };
    Ok(match pod.component() {
        "gateway" => {
            let config: gateway::Config = load(None, environment)?;
            assert!(config.gateway.cookie_secret.is_some() && config.gateway.client_secret.is_some());
            assert_eq!(config.gateway.command_url, "http://microblog-command:8081");
            assert_eq!(config.gateway.query_url, "http://microblog-query:8082");
            (port(config.gateway.listen), config.shutdown)
        }
        "command" => {
            let config: command_svc::Config = load(None, environment)?;
            assert!(config.auth.signing_key.is_some() && config.auth.refresh_secret.is_some());
            assert!(config.auth.client_secret.is_some());
            (port(config.command.listen), config.shutdown)
        }
        "query" => {
            let config: query_svc::Config = load(None, environment)?;
            assert!(
                config.auth.signing_key.is_none(),
                "query-svc must not get the private key"
            );
            (port(config.query.listen), config.shutdown)
        }
        "projector" | "rebuild" => {
            let config: projector::Config = load(None, environment)?;
            config.check()?;
            (port(config.projector.listen), config.shutdown)
        }
        "operator" => {
            let config: operator::Config = load(None, environment)?;
            config.check()?;
            (port(config.operator.listen), config.shutdown)
        }
        other => panic!("this test does not know the component {other}"),
    })
}

#[test]
fn the_programs_accept_what_is_rendered_and_have_time_to_end() {
    for values in Values::all() {
        let manifests = values.render().with_nested();
        let mut seen = 0;
        for pod in manifests.pods() {
            if ["mongodb", "smoke"].contains(&pod.component()) {
                continue;
            }
            seen += 1;
            let container = pod.containers().next().unwrap();
            let environment = environment(&manifests, container);
            let (port, shutdown) =
                read(&pod, &environment).unwrap_or_else(|error| panic!("{}, {}: {error}", values.name, pod.owner));
            if pod.component() != "rebuild" {
                assert_eq!(
                    container["ports"][0]["containerPort"].to_string(),
                    port,
                    "{}, {}",
                    values.name,
                    pod.owner
                );
            }
            let grace = Duration::from_secs(pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap());
            let ends = shutdown.drain_delay + shutdown.grace;
            assert!(
                grace > ends,
                "{}, {}: Kubernetes kills it after {grace:?}, but it ends only after {ends:?}",
                values.name,
                pod.owner
            );
        }
        assert!(seen >= 3, "{}: {seen} programs", values.name);
    }
}

#[test]
fn who_rebuilds_follows_from_who_is_there() {
    for (values, hosted) in [("minikube", false), ("ingress", true)] {
        let manifests = Values::example(values).render();
        let pod = manifests.pods().find(|pod| pod.component() == "projector").unwrap();
        let environment = environment(&manifests, pod.containers().next().unwrap());
        let config: projector::Config = load(None, &environment).unwrap();
        assert_eq!(config.rebuild.hosted, hosted, "{values}");
    }
}

#[test]
fn the_schema_knows_the_sections_that_the_programs_know() {
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    let sections: Vec<&str> = schema["properties"]["config"]["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(sections, SECTIONS);
}
