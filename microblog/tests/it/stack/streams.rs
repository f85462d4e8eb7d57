//! Readers of `/v1/streams`.

use std::pin::Pin;

use event_log::consistency::HEADER;
use futures_util::{Stream, StreamExt as _};
use reqwest::StatusCode;
use sse_stream::{Error, Sse, SseByteStream};
use tokio::time::timeout;

use super::{DEADLINE, Person, Stack, eventually};

/// An open stream.
pub(crate) struct EventReader(Pin<Box<dyn Stream<Item = Result<Sse, Error>> + Send>>);

impl EventReader {
    pub(crate) fn of(answer: reqwest::Response) -> Self {
        Self(Box::pin(SseByteStream::new(answer.bytes_stream())))
    }

    /// The kind of the next event, and its data. None at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        loop {
            let block = timeout(DEADLINE, self.0.next()).await.expect("an event in time")?;
            let block = block.expect("a stream of events");
            if let (Some(event), Some(data)) = (block.event, block.data) {
                return Some((event, data));
            }
        }
    }

    /// The data of all events until the one that is the last, or until the end.
    pub(crate) async fn until(&mut self, is_last: impl Fn(&str, &str) -> bool) -> String {
        let mut all = String::new();
        while let Some((event, data)) = self.next().await {
            all.push_str(&data);
            if is_last(&event, &data) {
                break;
            }
        }
        all
    }
}

impl Stack {
    /// Opens a stream. Any other answer is an error.
    pub(crate) async fn stream(
        &self,
        path: &str,
        viewer: Option<&Person>,
        with_token: bool,
    ) -> Result<EventReader, (StatusCode, String)> {
        let seen = self.seen().filter(|_| with_token);
        let answer = eventually(&format!("{path} is served"), || async {
            let mut request = self.http.get(format!("{}{path}", self.queries[0].url));
            if let Some(viewer) = viewer {
                request = request.bearer_auth(&viewer.token);
            }
            if let Some(seen) = &seen {
                request = request.header(HEADER, seen);
            }
            let answer = request.send().await.expect("query-svc answers");
            (answer.status() != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        })
        .await;
        if answer.status() != StatusCode::OK {
            return Err((answer.status(), answer.text().await.expect("a body")));
        }
        Ok(EventReader::of(answer))
    }

    /// What a stream shows up to the present.
    pub(crate) async fn read_stream(
        &self,
        path: &str,
        viewer: Option<&Person>,
        with_token: bool,
    ) -> (StatusCode, String) {
        match self.stream(path, viewer, with_token).await {
            Ok(mut stream) => (StatusCode::OK, stream.until(|event, _| event == "resumed").await),
            Err(refused) => refused,
        }
    }
}
