//! The description of the live streams, as AsyncAPI 3.0: OpenAPI has no words for what comes after the head of an answer.
//!
//! Addresses, parameters and schemas are those of the OpenAPI document. Only what is said on a connection is added here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::PartialSchema;

use crate::live::What;
use crate::routes::Said;

/// Where several streams come over one WebSocket.
const TOGETHER: &str = "/v1/streams";
const PLAIN: &str = "a description has only texts and numbers";
const POSTS: &[What] = &[
    What::Post,
    What::Edit,
    What::Delete,
    What::Counts,
    What::Resumed,
    What::Reset,
];
const NOTIFICATIONS: &[What] = &[What::Notification, What::Resumed, What::Reset];

fn schema_of(what: What) -> Value {
    let post = json!({ "id": reference("PostId") });
    match what {
        What::Post | What::Edit => reference("Post"),
        What::Notification => reference("Notification"),
        What::Delete => json!({ "type": "object", "required": ["id"], "properties": post }),
        What::Counts => {
            let counts = json!({ "id": reference("PostId"), "counts": reference("PostCounts") });
            json!({ "type": "object", "required": ["id", "counts"], "properties": counts })
        }
        What::Resumed | What::Reset => json!({ "type": "object", "maxProperties": 0 }),
    }
}

fn means(what: What) -> &'static str {
    match what {
        What::Post => "A new post, or one that was missed. It replaces a post with its id that is shown already",
        What::Edit => "Something of the post has changed, and this is the whole post",
        What::Delete => "The post is gone. Ignore one that is not shown",
        What::Counts => "The counts of a post have changed. They are told at most once a second",
        What::Notification => "What somebody did that concerns the reader. What was taken back is not told",
        What::Resumed => {
            "Everything that was missed has come. Reload what is shown: what was edited or deleted meanwhile is not told"
        }
        What::Reset => "The client has missed too much. It begins anew with a page",
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn message(name: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{name}") })
}

fn id() -> Value {
    json!({ "type": "string", "description": "A cursor. Who comes back with it as `after` misses nothing" })
}

/// An event as a Server-Sent Event.
fn sent(what: What) -> Value {
    json!({
        "name": what.as_str(),
        "summary": means(what),
        "headers": {
            "type": "object",
            "required": ["event", "id"],
            "properties": { "event": { "const": what.as_str() }, "id": id() },
        },
        "payload": schema_of(what),
    })
}

/// A message of the WebSocket.
fn told(name: &str, summary: &str, required: &[&str], properties: Value) -> Value {
    let payload = json!({ "type": "object", "required": required, "properties": properties });
    json!({ "name": name, "summary": summary, "payload": payload })
}

/// The same event as a message of the WebSocket.
fn told_event(what: What) -> Value {
    let properties = json!({
        "stream": stream(), "event": { "const": what.as_str() }, "id": id(), "data": schema_of(what),
    });
    told(
        what.as_str(),
        means(what),
        &["stream", "event", "id", "data"],
        properties,
    )
}

fn stream() -> Value {
    json!({ "type": "string", "description": "The name that the client has subscribed" })
}

/// What the WebSocket has besides the events.
fn others() -> [(&'static str, Value); 4] {
    let ended = json!({
        "type": "object", "required": ["reason"], "properties": { "reason": { "type": "string" } },
    });
    [
        (
            "command",
            json!({
                "name": "command",
                "summary": "What the client asks for: `subscribe` or `unsubscribe`, with what the stream of that name has as parameters",
                "payload": serde_json::to_value(Said::schema()).expect(PLAIN),
            }),
        ),
        (
            "told.moved",
            told(
                "moved",
                "Nothing has happened for some time, and the client knows everything up to this cursor",
                &["stream", "id"],
                json!({ "stream": stream(), "id": id() }),
            ),
        ),
        (
            "told.ended",
            told(
                "ended",
                "This stream has ended, and the others go on",
                &["stream", "event", "data"],
                json!({ "stream": stream(), "event": { "const": "ended" }, "data": ended }),
            ),
        ),
        (
            "told.error",
            told(
                "error",
                "A command was refused, and the connection goes on",
                &["error"],
                json!({ "stream": stream(), "error": reference("Problem") }),
            ),
        ),
    ]
}

/// The parameters of a route as the schemas of one object.
fn parameters(route: &Value, place: &str) -> Value {
    let all = route["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_place = all.iter().filter(|parameter| parameter["in"] == place);
    let properties: Map<String, Value> = of_place
        .filter_map(|parameter| {
            let mut schema = parameter["schema"].clone();
            schema["description"] = parameter["description"].clone();
            Some((parameter["name"].as_str()?.to_owned(), schema))
        })
        .collect();
    json!({ "type": "object", "properties": properties })
}

/// The names of the schemas that are meant by a part of a document.
fn named_in(part: &Value, names: &mut BTreeSet<String>, schemas: &Value) {
    match part {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|path| path.strip_prefix("#/components/schemas/"))
                && names.insert(name.to_owned())
            {
                named_in(&schemas[name], names, schemas);
            }
            fields.values().for_each(|part| named_in(part, names, schemas));
        }
        Value::Array(items) => items.iter().for_each(|part| named_in(part, names, schemas)),
        _ => {}
    }
}

/// The whole document.
///
/// # Panics
///
/// Never: an OpenAPI document has only texts and numbers.
pub fn asyncapi() -> Value {
    let openapi = serde_json::to_value(crate::openapi()).expect(PLAIN);
    let (mut channels, mut operations) = (Map::new(), Map::new());
    let paths = openapi["paths"].as_object().into_iter().flatten();
    for (address, item) in paths.filter(|(address, _)| address.starts_with(TOGETHER)) {
        let route = &item["get"];
        let name = route["operationId"].as_str().unwrap_or_default();
        let path = parameters(route, "path");
        let path: Map<String, Value> = path["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, schema)| {
                (
                    name.clone(),
                    json!({ "description": schema["description"].as_str().unwrap_or("An id") }),
                )
            })
            .collect();
        let mut channel = json!({
            "address": address,
            "title": route["summary"],
            "description": route["description"],
        });
        if !path.is_empty() {
            channel["parameters"] = Value::Object(path);
        }
        let (query, headers) = (parameters(route, "query"), parameters(route, "header"));
        let to = json!({ "$ref": format!("#/channels/{name}") });
        let messages = |names: &[String]| -> Vec<Value> {
            let all = names.iter();
            all.map(|message| json!({ "$ref": format!("#/channels/{name}/messages/{message}") }))
                .collect()
        };
        if address == TOGETHER {
            let events = What::ALL.iter().map(|what| format!("told.{}", what.as_str()));
            let others = others().map(|(name, _)| name.to_owned());
            let (commands, told): (Vec<String>, Vec<String>) =
                events.chain(others).partition(|message| message == "command");
            let all: Map<String, Value> = told
                .iter()
                .chain(&commands)
                .map(|name| (name.clone(), message(name)))
                .collect();
            channel["messages"] = Value::Object(all);
            channel["bindings"] = json!({ "ws": { "method": "GET", "query": query, "headers": headers } });
            let tell = json!({ "action": "send", "channel": to, "messages": messages(&told) });
            let hear = json!({ "action": "receive", "channel": to, "messages": messages(&commands) });
            operations.insert(format!("{name}.tell"), tell);
            operations.insert(format!("{name}.hear"), hear);
        } else {
            let events = match address.ends_with("/notifications") {
                true => NOTIFICATIONS,
                false => POSTS,
            };
            let names: Vec<String> = events.iter().map(|what| format!("sent.{}", what.as_str())).collect();
            let all: Map<String, Value> = names.iter().map(|name| (name.clone(), message(name))).collect();
            channel["messages"] = Value::Object(all);
            let bindings = json!({ "http": { "method": "GET", "query": query } });
            let tell = json!({ "action": "send", "channel": to, "messages": messages(&names), "bindings": bindings });
            operations.insert(name.to_owned(), tell);
        }
        channels.insert(name.to_owned(), channel);
    }
    let sent = What::ALL.map(|what| (format!("sent.{}", what.as_str()), sent(what)));
    let told = What::ALL.map(|what| (format!("told.{}", what.as_str()), told_event(what)));
    let others = others().map(|(name, message)| (name.to_owned(), message));
    let messages: Map<String, Value> = sent.into_iter().chain(told).chain(others).collect();
    let messages = Value::Object(messages);
    let mut names = BTreeSet::new();
    named_in(&messages, &mut names, &openapi["components"]["schemas"]);
    let schemas: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let schema = openapi["components"]["schemas"][&name].clone();
            (name, schema)
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Microblog: live streams",
            "version": openapi["info"]["version"],
            "description": "What happens, as it happens: each stream as Server-Sent Events, where `event` and `id` stand before the data, or \
                several over one WebSocket. `/openapi.json` describes the answers to all other requests.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}
