//! The Postman collection: its story passes, uses every route of the API, and checks every answer.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output};

use manifest_tests::render::repository;
use serde_json::Value;

use crate::home::e2e;
use crate::stack::Stack;

e2e! {
    /// Runs with the default rate limits, because a person who runs the story by hand has them too.
    async fn the_story_passes() {
        let stack = Stack::start_with(&[
            ("rate_limit.enabled", "true"),
            // The query waits longer, because newman sends each request only once. Other clients would ask again.
            ("consistency.max_wait", "20s"),
            ("query.request_timeout", "25s"),
            ("auth.refresh_reuse_grace", "60s"),
        ])
        .await;
        let report = tempfile::tempdir().expect("a directory");
        let report = report.path().join("report.json");
        let (command, query) = (&stack.command.url, &stack.queries[0].url);
        let mut newman = Command::new(postman("run"));
        newman
            .args(["local", "--env-var", &format!("commandUrl={command}"), "--env-var", &format!("queryUrl={query}")])
            .args(["--timeout", "600000", "--color", "off", "--reporters", "cli,json", "--reporter-json-export"])
            .arg(&report);
        let output = tokio::task::spawn_blocking(move || newman.output()).await.expect("no panic").expect("postman/run");
        assert!(output.status.success(), "the story fails:\n{}", text(&output));

        let report: Value = serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON");
        let executions = array(&report["run"]["executions"]);
        assert_eq!(executions.len(), requests().len(), "every request was sent once");
        let common = assertions_of_the_whole();
        for execution in executions {
            let own = array(&execution["assertions"])
                .iter()
                .filter(|assertion| !common.contains(&string(&assertion["assertion"])) && assertion["skipped"] == false);
            assert!(own.count() > 0, "{} asserts nothing of its own", execution["item"]["name"]);
        }
    }
}

#[test]
fn every_route_is_in_the_story_and_no_other() {
    let routes: BTreeSet<Route> = [("commandUrl", "command-svc"), ("queryUrl", "query-svc")]
        .into_iter()
        .flat_map(|(service, package)| routes(service, package))
        .collect();
    let (mut told, mut strange) = (BTreeSet::new(), Vec::new());
    for request in requests() {
        match request.route.is_one_of(&routes) {
            Some(route) => {
                told.insert(route.clone());
            }
            None => strange.push((request.name, request.route)),
        }
    }
    assert!(strange.is_empty(), "no service has these routes: {strange:#?}");
    let missing = routes.iter().filter(|route| !told.contains(*route) && !route.goes_on());
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "routes that the story leaves out: {missing:#?}");
}

#[test]
fn every_request_is_described_and_checks_its_answer_itself() {
    let mut names = BTreeSet::new();
    for request in requests() {
        let name = &request.name;
        assert!(names.insert(name.clone()), "two requests are called {name:?}");
        assert!(!request.description.is_empty(), "{name:?} is not described");
        for needed in ["pm.test(", "pm.response.to.have.status("] {
            assert!(
                request.test.contains(needed),
                "{name:?} does without `{needed}`: {}",
                request.test
            );
        }
    }
}

#[test]
fn the_environments_are_about_the_same_things() {
    let [local, minikube] = ["local", "minikube"].map(|name| {
        let environment = json(&format!("postman/{name}.postman_environment.json"));
        let variables = array(&environment["values"]).iter().map(|value| string(&value["key"]));
        variables.collect::<BTreeSet<_>>()
    });
    assert_eq!(local, minikube);
    assert_eq!(local, BTreeSet::from(["commandUrl".to_owned(), "queryUrl".to_owned()]));
}

/// The lock file names no registry, because the person who installs the packages chooses it.
#[test]
fn the_lock_file_pins_by_hash_and_names_no_registry() {
    let lock = json("postman/package-lock.json");
    let packages = lock["packages"].as_object().expect("packages");
    assert!(packages.contains_key("node_modules/newman"));
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        assert!(package["integrity"].is_string(), "{name} is not pinned");
        assert!(package["resolved"].is_null(), "{name} is resolved");
    }
}

/// A method and a path of a service. Variable segments of the path are `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    /// The variable with the service's address.
    service: String,
    method: String,
    path: Vec<String>,
}

impl Route {
    /// A live stream: newman would wait for the end of its answer.
    fn goes_on(&self) -> bool {
        self.method == "GET" && self.path.get(..2).is_some_and(|path| path == ["v1", "streams"])
    }

    /// The route that a server would choose: a fixed segment comes before a variable one.
    fn is_one_of<'a>(&self, routes: &'a BTreeSet<Route>) -> Option<&'a Route> {
        routes
            .iter()
            .filter(|route| (&route.service, &route.method) == (&self.service, &self.method))
            .filter(|route| route.path.len() == self.path.len())
            .filter(|route| {
                let mut segments = route.path.iter().zip(&self.path);
                segments.all(|(pattern, segment)| pattern == segment || pattern == "*")
            })
            .min_by_key(|route| route.path.iter().filter(|segment| *segment == "*").count())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{{{{}}}}}/{}", self.method, self.service, self.path.join("/"))
    }
}

/// The routes that the service describes, and those that all services have.
fn routes(service: &str, package: &str) -> Vec<Route> {
    let document = json(&format!("{package}/openapi.json"));
    let described = document["paths"].as_object().expect("paths");
    let described = described.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(move |method| (method.to_uppercase(), path.as_str()))
    });
    let besides = ["/livez", "/readyz", "/healthz", "/metrics", "/openapi.json", "/docs"];
    described
        .chain(besides.map(|path| ("GET".to_owned(), path)))
        .map(|(method, path)| Route {
            service: service.to_owned(),
            method,
            path: path
                .split('/')
                .skip(1)
                .map(|segment| if segment.starts_with('{') { "*" } else { segment }.to_owned())
                .collect(),
        })
        .collect()
}

/// A request of the collection.
#[derive(Debug)]
struct Request {
    name: String,
    description: String,
    route: Route,
    /// Its own test script.
    test: String,
}

impl Request {
    fn of(item: &Value) -> Self {
        let (name, request) = (string(&item["name"]), &item["request"]);
        let [host] = array(&request["url"]["host"]) else {
            panic!("{name:?} has another host than a variable");
        };
        let service = string(host);
        let service = service
            .strip_prefix("{{")
            .and_then(|service| service.strip_suffix("}}"));
        Self {
            route: Route {
                service: service.expect("the address is a variable").to_owned(),
                method: string(&request["method"]),
                path: array(&request["url"]["path"]).iter().map(string).collect(),
            },
            description: request["description"].as_str().unwrap_or_default().to_owned(),
            test: script(item, "test"),
            name,
        }
    }
}

/// All requests of the collection, in the order in which they are sent.
fn requests() -> Vec<Request> {
    fn add(items: &Value, requests: &mut Vec<Request>) {
        for item in array(items) {
            match &item["item"] {
                Value::Null => requests.push(Request::of(item)),
                chapter => add(chapter, requests),
            }
        }
    }
    let mut requests = Vec::new();
    add(&collection()["item"], &mut requests);
    assert!(requests.len() > 100, "most of the story is gone");
    requests
}

/// The names of the assertions that the collection makes about every answer.
fn assertions_of_the_whole() -> Vec<String> {
    let script = script(&collection(), "test");
    let names: Vec<_> = script
        .split("pm.test(\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .collect();
    assert!(!names.is_empty());
    names
}

/// The script of an item of the collection, or of the whole collection.
fn script(of: &Value, kind: &str) -> String {
    let events = of["event"].as_array().into_iter().flatten();
    let lines = events
        .filter(|event| event["listen"] == kind)
        .flat_map(|event| array(&event["script"]["exec"]));
    lines.map(string).collect::<Vec<_>>().join("\n")
}

fn collection() -> Value {
    json("postman/microblog.postman_collection.json")
}

fn postman(name: &str) -> PathBuf {
    repository().join("postman").join(name)
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

fn text(output: &Output) -> String {
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{stdout}\n{stderr}")
}
