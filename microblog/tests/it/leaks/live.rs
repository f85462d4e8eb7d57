//! The streams that the viewer has open all the time.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Scene;
use super::table::Case;
use crate::stack::EventReader;

/// Streams, and by what one sees that they show something that the author did after the denial. Each has the name of the column that is empty
/// at the same time.
const LIVE: [(&str, &[(&str, &str)]); 7] = [
    ("/v1/streams/home", &[("home", "text of later")]),
    ("/v1/streams/public", &[("public", "text of later")]),
    ("/v1/streams/tags/{tag}", &[("tag", "text of later")]),
    ("/v1/streams/lists/{list}", &[("list", "text of later")]),
    (
        "/v1/streams/lists/{list of the tag}",
        &[("list by a tag", "text of later")],
    ),
    (
        "/v1/streams/posts/{shared}",
        &[("an answer in a thread", "text of later answer")],
    ),
    (
        "/v1/streams/notifications",
        &[
            ("notified of a like", "\"kind\":\"like\""),
            ("notified of a mention", "text of later mention"),
            ("notified of an answer", "text of later said"),
        ],
    ),
];

/// A denial of one post says nothing about later ones.
const OF_ONE_POST: [&str; 2] = ["a deleted post", "a hidden post"];

/// What the streams show of what the author does after the denial.
pub(super) fn expected(case: &Case) -> BTreeSet<&'static str> {
    let shown = match OF_ONE_POST.contains(&case.name) {
        true => case.before(),
        false => case.after(),
    };
    let traces = LIVE.iter().flat_map(|(_, traces)| *traces);
    traces
        .map(|(name, _)| *name)
        .filter(|name| shown.contains(name))
        .collect()
}

impl Scene<'_> {
    /// Opens the streams of the viewer.
    pub(super) async fn watch(&self) -> Vec<EventReader> {
        let opened = LIVE.iter().map(async |(path, _)| {
            let path = self.fill(path);
            let opened = self.stack.stream(&path, Some(&self.viewer), true).await;
            let mut stream = opened.unwrap_or_else(|(status, body)| panic!("{path} was answered {status}: {body}"));
            stream.until(|event, _| event == "resumed").await;
            stream
        });
        join_all(opened).await
    }

    /// The author does the same as before the denial, unless an author without an account can't.
    pub(super) async fn act_again(&self) {
        let (number, visibility) = (self.number, self.visibility);
        // Whom a post mentions, if only they may see it. The denial has taken the viewer out of the first post.
        let [all, friend] = match visibility {
            "mentioned" => [format!(" @viewer{number} @friend{number}"), format!(" @friend{number}")],
            _ => [String::new(), String::new()],
        };
        let posts = [
            (format!("later {number}. #direct{number}{friend}"), None),
            (format!("later answer {number}.{all}"), Some(self.shared)),
            (format!("later said {number}.{all}"), Some(self.other)),
            (format!("later mention {number}. @viewer{number}"), None),
        ];
        let posts = posts.map(|(text, in_reply_to)| {
            let mut body = json!({ "text": format!("text of {text}"), "in_reply_to": in_reply_to });
            // A protected account writes to its followers unless it says otherwise, and must not say `public`.
            if visibility != "public" {
                body["visibility"] = visibility.into();
            }
            (Method::POST, "/v1/posts".to_owned(), Some(body))
        });
        let like = (Method::PUT, format!("/v1/posts/{}/like", self.other), None);
        let acts = posts.into_iter().chain([like]).map(async |(method, path, body)| {
            let answer = self.stack.send_command(method, &path, Some(&self.author), body).await;
            let status = answer.status();
            // Those who are blocked, suspended or deleted are refused. Whatever should be seen is checked later.
            assert!(
                status.is_success() || status.is_client_error(),
                "{path} was answered {status}"
            );
            assert_ne!(status, StatusCode::TOO_MANY_REQUESTS);
        });
        join_all(acts).await;
    }

    /// What of it has reached the streams before what the friend writes now, which every stream shows. The views have passed what the author
    /// did.
    pub(super) async fn seen_live(&self, streams: Vec<EventReader>) -> BTreeSet<&'static str> {
        let number = self.number;
        let marker = format!("marker {number}.");
        let text = format!("{marker} #direct{number} #marker{number} @viewer{number}");
        let body = json!({ "text": text, "in_reply_to": self.shared });
        let path = "/v1/posts";
        let _: Value = self
            .stack
            .command(Method::POST, path, Some(&self.friend), Some(body))
            .await;
        let told = streams.into_iter().zip(LIVE).map(async |(mut stream, (_, traces))| {
            let told = stream.until(|_, data| data.contains(&marker)).await;
            let shows = |trace: &str| match trace.starts_with('"') {
                true => told.contains(trace),
                false => told.contains(&format!("{trace} {number}.")),
            };
            let seen = traces.iter().filter(|(_, trace)| shows(trace)).map(|(name, _)| *name);
            seen.collect::<Vec<_>>()
        });
        join_all(told).await.into_iter().flatten().collect()
    }
}
