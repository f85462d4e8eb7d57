//! The descriptions of the services as one: there is one address, so there is one API.

use serde_json::Value;

const COMMANDS: &str = include_str!("../../command-svc/openapi.json");
const QUERIES: &str = include_str!("../../query-svc/openapi.json");
const STREAMS: &str = include_str!("../../query-svc/asyncapi.json");

const ABOUT: &str = "A microblog: accounts, follows, posts, timelines, notifications and live streams.";

/// What both services answer.
pub(crate) fn openapi() -> Value {
    let [mut both, queries] = described();
    let about = [&both, &queries].map(|of| of["info"]["description"].as_str().unwrap_or_default());
    let about = format!("{ABOUT}\n\n{}", about.join("\n\n"));
    add(&mut both, queries);
    both["info"]["title"] = "Microblog".into();
    both["info"]["description"] = about.into();
    both
}

fn described() -> [Value; 2] {
    [COMMANDS, QUERIES].map(|text| serde_json::from_str(text).expect("a test of each service writes it"))
}

/// Adds what is missing. A path has operations of both, and both name some of the same schemas.
fn add(to: &mut Value, from: Value) {
    let (Value::Object(to), Value::Object(from)) = (to, from) else {
        return;
    };
    for (name, value) in from {
        match to.get_mut(&name) {
            Some(known) => add(known, value),
            None => drop(to.insert(name, value)),
        }
    }
}

pub(crate) fn asyncapi() -> Value {
    serde_json::from_str(STREAMS).expect("a test of query-svc writes it")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::backends::Side;

    fn operations(of: &Value) -> BTreeSet<(String, String)> {
        let operations = of["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
            methods
                .into_iter()
                .map(move |method| (method.to_uppercase(), path.clone()))
        });
        operations.collect()
    }

    /// Both services describe their routes, and a test of each compares the two. So no request goes to a service that does not know it.
    #[test]
    fn every_request_goes_to_the_service_that_describes_it() {
        let [commands, queries] = described();
        for (side, of) in [(Side::Command, &commands), (Side::Query, &queries)] {
            for (method, path) in operations(of) {
                let method = method.parse().unwrap();
                assert_eq!(Side::of(&method, &path), side, "{method} {path}");
            }
        }
    }

    #[test]
    fn nothing_is_lost_when_they_become_one() {
        let [commands, queries] = described();
        let both = openapi();
        let of_each = &operations(&commands) | &operations(&queries);
        assert_eq!(operations(&both), of_each);
        let schemas = |of: &Value| of["components"]["schemas"].clone();
        let merged = schemas(&both);
        for of in [schemas(&commands), schemas(&queries)] {
            for (name, schema) in of.as_object().unwrap() {
                assert_eq!(
                    &merged[name], schema,
                    "both services have a {name}, and it is not the same"
                );
            }
        }
    }
}
