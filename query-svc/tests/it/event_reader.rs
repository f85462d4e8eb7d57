//! Reads Server-Sent Events.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use reqwest::RequestBuilder;
use serde_json::Value;
use sse_stream::{Error, Sse, SseByteStream};
use tokio::time::timeout;

use crate::service::{Answer, TIMEOUT, answered};

type Events = Pin<Box<dyn Stream<Item = Result<Sse, Error>> + Send>>;

/// A client of a stream.
pub(crate) struct EventReader {
    events: Events,
    /// The id of the last event.
    pub(crate) last: Option<String>,
}

impl EventReader {
    /// An answer that is no stream is an error.
    pub(crate) async fn open(request: RequestBuilder) -> Result<Self, Answer> {
        let response = request.send().await.unwrap();
        let content_type = response.headers().get("content-type").map(|it| it.to_str().unwrap());
        if content_type != Some("text/event-stream") {
            return Err(answered(response).await);
        }
        Ok(Self {
            events: Box::pin(SseByteStream::new(response.bytes_stream())),
            last: None,
        })
    }

    /// The kind of the next event, and its data. None at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let event = timeout(TIMEOUT, self.events.next())
                .await
                .expect("an event in time")?
                .unwrap();
            self.last = event.id.or(self.last.take());
            // Without data, it is a new id alone.
            if let (Some(what), Some(data)) = (event.event, event.data) {
                return Some((what, serde_json::from_str(&data).unwrap()));
            }
        }
    }

    /// The kind of the next event, with the text or the id of its post.
    pub(crate) async fn told(&mut self) -> String {
        let (what, data) = self.next().await.expect("the stream goes on");
        told(&what, &data)
    }

    pub(crate) async fn tells(&mut self, expected: &[&str]) {
        for expected in expected {
            assert_eq!(self.told().await, *expected);
        }
    }

    /// The same, in any order: what several users do has none.
    pub(crate) async fn tells_all(&mut self, expected: &[&str]) {
        let mut told = Vec::new();
        for _ in expected {
            told.push(self.told().await);
        }
        told.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    /// Everything up to `resumed` or `reset`.
    pub(crate) async fn until_resumed(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let told = self.told().await;
            let is_last = told == "resumed" || told == "reset";
            all.push(told);
            if is_last {
                return all;
            }
        }
    }
}

/// The kind of an event, with the text or the id of its post.
pub(crate) fn told(what: &str, data: &Value) -> String {
    let post = if what == "notification" { &data["post"] } else { data };
    let shown = post["repost_of"].as_object().map_or(post, |_| &post["repost_of"]);
    match (what, shown["text"].as_str()) {
        ("counts", _) => format!("counts {}", data["counts"]["likes"]),
        ("notification", text) => format!(
            "notification {} {}",
            data["kind"].as_str().unwrap(),
            text.unwrap_or("-")
        ),
        (_, Some(text)) => format!("{what} {text}"),
        (_, None) => what.to_owned(),
    }
}
