//! The part of an API server that the operator uses: objects in memory, watches, and resource versions. It records which requests were
//! made.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::broadcast;

/// API group, resource and verb, as in an RBAC rule.
pub(crate) type Permission = (String, String, String);
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// The objects by resource and name.
    objects: BTreeMap<(String, String), Value>,
    /// Every change: the version that it created, its resource, and the watch event.
    history: Vec<(u64, String, Value)>,
    asked: BTreeSet<Permission>,
}

/// What a path refers to.
struct Target {
    group: String,
    resource: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl Target {
    fn parse(path: &str) -> Self {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match words.as_slice() {
            ["api", _version, rest @ ..] => ("", rest),
            ["apis", group, _version, rest @ ..] => (*group, rest),
            _ => panic!("nobody knows {path}"),
        };
        let ["namespaces", _, resource, rest @ ..] = rest else {
            panic!("{path} is in no namespace");
        };
        Self {
            group: group.to_owned(),
            resource: (*resource).to_owned(),
            name: rest.first().map(|name| (*name).to_owned()),
            subresource: rest.get(1).map(|name| (*name).to_owned()),
        }
    }

    fn permission(&self, verb: &str) -> Permission {
        let resource = match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.clone(),
        };
        (self.group.clone(), resource, verb.to_owned())
    }
}

impl ApiServer {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::default(),
            changes: broadcast::channel(1024).0,
        }
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "blog")
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> BTreeSet<Permission> {
        self.state().asked.clone()
    }

    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let key = (resource.to_owned(), name.to_owned());
        self.state().objects.get(&key).cloned()
    }

    /// Stores an object, as a user does with kubectl.
    pub(crate) fn put(&self, resource: &str, object: Value) -> Value {
        let mut state = self.state();
        self.store(&mut state, resource, object)
    }

    pub(crate) fn remove(&self, resource: &str, name: &str) {
        let key = (resource.to_owned(), name.to_owned());
        let mut state = self.state();
        let removed = state.objects.remove(&key).expect("it is there");
        state.version += 1;
        self.tell(&mut state, resource, "DELETED", &removed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn tell(&self, state: &mut State, resource: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        state.history.push((state.version, resource.to_owned(), event.clone()));
        // There may be no watch.
        let _ = self.changes.send((resource.to_owned(), event));
    }

    fn store(&self, state: &mut State, resource: &str, mut object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().expect("it has a name").to_owned();
        let before = state.objects.get(&(resource.to_owned(), name.clone()));
        let generation = match before {
            Some(before) if before["spec"] == object["spec"] => before["metadata"]["generation"].clone(),
            Some(before) => json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1),
            None => json!(1),
        };
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        state.version += 1;
        object["metadata"]["namespace"] = json!("blog");
        object["metadata"]["generation"] = generation;
        object["metadata"]["uid"] = json!(format!("{resource}-{name}"));
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert((resource.to_owned(), name), object.clone());
        self.tell(state, resource, kind, &object);
        object
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let target = Target::parse(parts.uri.path());
        let query: BTreeMap<&str, &str> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let watches = query.get("watch") == Some(&"true");
        let sent = body.collect().await.expect("the body of a request").to_bytes();
        let sent: Value = serde_json::from_slice(&sent).unwrap_or(Value::Null);
        let verb = match (&parts.method, &target.name) {
            (&Method::GET, None) if watches => "watch",
            (&Method::GET, None) => "list",
            (&Method::GET, Some(_)) => "get",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (method, _) => panic!("{method} {}", parts.uri),
        };
        let mut state = self.state();
        state.asked.insert(target.permission(verb));
        if verb == "watch" {
            let since = query.get("resourceVersion").and_then(|version| version.parse().ok());
            return self.watch(&state, &target.resource, since.unwrap_or(0));
        }
        if verb == "list" {
            let of_kind = state
                .objects
                .iter()
                .filter(|((resource, _), _)| *resource == target.resource);
            let items: Vec<&Value> = of_kind.map(|(_, object)| object).collect();
            let version = state.version.to_string();
            return answer(
                StatusCode::OK,
                &json!({ "metadata": { "resourceVersion": version }, "items": items }),
            );
        }
        let name = target.name.clone();
        let name = name.or_else(|| sent["metadata"]["name"].as_str().map(str::to_owned));
        let name = name.unwrap_or_else(|| format!("generated-{}", state.version));
        let present = state.objects.get(&(target.resource.clone(), name.clone())).cloned();
        let expected = sent["metadata"]["resourceVersion"].as_str();
        let object = match (verb, present) {
            ("create", Some(_)) => return refuse(StatusCode::CONFLICT),
            ("create", None) => {
                let mut new = sent;
                new["metadata"]["name"] = json!(name);
                new
            }
            (_, None) => return refuse(StatusCode::NOT_FOUND),
            ("get", Some(present)) => return answer(StatusCode::OK, &present),
            (_, Some(present)) if expected.is_some_and(|version| present["metadata"]["resourceVersion"] != version) => {
                return refuse(StatusCode::CONFLICT);
            }
            ("update", Some(_)) => sent,
            (_, Some(mut present)) => {
                merge(&mut present, &sent);
                present
            }
        };
        answer(StatusCode::OK, &self.store(&mut state, &target.resource, object))
    }

    /// Streams everything after the version `since`, as long as the client listens.
    fn watch(&self, state: &State, resource: &str, since: u64) -> Answer {
        let past: Vec<(String, Value)> = state
            .history
            .iter()
            .filter(|(version, ..)| *version > since)
            .map(|(_, of, event)| (of.clone(), event.clone()))
            .collect();
        // The caller holds the lock of the state, so nothing is lost between the past and the coming events.
        let coming = stream::unfold(self.changes.subscribe(), |mut changes| async move {
            changes.recv().await.ok().map(|change| (change, changes))
        });
        let resource = resource.to_owned();
        let lines = stream::iter(past).chain(coming).filter_map(move |(of, event)| {
            let line = (of == resource).then(|| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            std::future::ready(line)
        });
        Response::new(StreamBody::new(lines.boxed()).boxed_unsync())
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            into.as_object_mut().expect("made above").remove(key);
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn answer(status: StatusCode, content: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(content.to_string())).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

fn refuse(status: StatusCode) -> Answer {
    // In the spelling of Kubernetes: NotFound, Conflict.
    let reason = status.canonical_reason().unwrap_or_default().replace(' ', "");
    let content =
        json!({ "kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": status.as_u16() });
    answer(status, &content)
}
