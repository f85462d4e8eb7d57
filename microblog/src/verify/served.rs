//! Reads what query-svc serves, page by page: downwards to the end, and upwards as a polling client does.
//!
//! A page may be short or empty, and still name a next page: the reader may not see the items that it skipped.

use chrono::{DateTime, Utc};
use model::api::{self, Page};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api_client::{ApiClient, Call, CallError};

/// No list is so long. Beyond this, the cursors go round in circles.
const MOST_PAGES: u64 = 10_000_000;

/// After so many pages in a row without anything new, polling has reached the end.
const BARREN_PAGES: u32 = 1_000;

/// A page of a list.
pub(super) trait Paged: DeserializeOwned {
    type Item;

    /// Its items, `next` and `prev`.
    fn parts(self) -> (Vec<Self::Item>, Option<String>, Option<String>);
}

impl<T: DeserializeOwned> Paged for Page<T> {
    type Item = T;

    fn parts(self) -> (Vec<T>, Option<String>, Option<String>) {
        (self.items, self.next, self.prev)
    }
}

/// A post in its conversation. A page of it is a page of replies.
#[derive(Debug, Deserialize)]
pub(super) struct Thread {
    pub(super) ancestors: Vec<api::Post>,
    pub(super) post: api::Post,
    replies: Vec<api::Post>,
    next: Option<String>,
    prev: Option<String>,
}

impl Paged for Thread {
    type Item = api::Post;

    fn parts(self) -> (Vec<api::Post>, Option<String>, Option<String>) {
        (self.replies, self.next, self.prev)
    }
}

/// What a post said from a point in time on.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: i64,
    pub(super) text: String,
    pub(super) warning: Option<String>,
    pub(super) language: Option<String>,
    pub(super) at: DateTime<Utc>,
}

/// A reader of lists: its access token, and which writes it requires to see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) api: &'a ApiClient,
    pub(super) access_token: Option<&'a str>,
    pub(super) consistency_token: &'a str,
    pub(super) page_size: u32,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// An answer that is no page, such as 404. It may be right, or be a difference.
    #[error("{path} was answered {status}: {title}")]
    Status {
        path: String,
        status: StatusCode,
        title: String,
    },
    #[error("{path}: the cursor leads back to where it came from: {cursor}")]
    Circle { path: String, cursor: String },
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Reader<'_> {
    pub(super) async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ReadError> {
        let mut call = Call::get(&path).consistency_token(self.consistency_token);
        if let Some(token) = self.access_token {
            call = call.bearer(token);
        }
        let answer = self.api.call(&call).await?;
        if answer.status.is_client_error() {
            return Err(ReadError::Status {
                path,
                status: answer.status,
                title: answer.problem().title,
            });
        }
        Ok(answer.success()?)
    }

    /// The path may have parameters already.
    async fn page<P: Paged>(&self, path: &str, limit: u32, from: Option<(&str, &str)>) -> Result<P, ReadError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut page_path = format!("{path}{separator}limit={limit}");
        if let Some((direction, cursor)) = from {
            let cursor = utf8_percent_encode(cursor, NON_ALPHANUMERIC);
            page_path.push_str(&format!("&{direction}={cursor}"));
        }
        self.get(page_path).await
    }

    /// Passes every item of a list to `each`. Returns the number of pages.
    pub(super) async fn each<P: Paged>(&self, path: &str, mut each: impl FnMut(P::Item)) -> Result<u64, ReadError> {
        let mut before: Option<String> = None;
        for pages in 1..=MOST_PAGES {
            let from = before.as_deref().map(|cursor| ("before", cursor));
            let page: P = self.page(path, self.page_size, from).await?;
            let (items, next, _) = page.parts();
            items.into_iter().for_each(&mut each);
            match next {
                None => return Ok(pages),
                Some(next) if before.as_ref() == Some(&next) => return Err(circle(path, next)),
                next => before = next,
            }
        }
        Err(circle(path, before.unwrap_or_default()))
    }

    /// The oldest item of a list, and the cursor of a client that has seen only this item. `None` if the list is empty.
    pub(super) async fn bottom<P: Paged>(&self, path: &str) -> Result<Option<(P::Item, String)>, ReadError> {
        let mut before: Option<String> = None;
        // Where the last page with items begins, and how many it has.
        let mut last = None;
        for _ in 0..MOST_PAGES {
            let from = before.as_deref().map(|cursor| ("before", cursor));
            let (items, next, _) = self.page::<P>(path, self.page_size, from).await?.parts();
            if let Ok(count) = u32::try_from(items.len())
                && count > 0
            {
                last = Some((before.clone(), count));
            }
            match next {
                Some(next) => before = Some(next),
                None => break,
            }
        }
        let Some((mut before, count)) = last else {
            return Ok(None);
        };
        if count > 1 {
            let from = before.as_deref().map(|cursor| ("before", cursor));
            before = self.page::<P>(path, count - 1, from).await?.parts().1;
        }
        let from = before.as_deref().map(|cursor| ("before", cursor));
        let (items, _, prev) = self.page::<P>(path, 1, from).await?.parts();
        Ok(items.into_iter().next().zip(prev))
    }

    /// Polls upwards from a cursor. `each` takes a page, newest first. It returns whether the page has anything new, and whether all
    /// expected items have come. Returns the number of pages.
    pub(super) async fn poll<P: Paged>(
        &self,
        path: &str,
        from: String,
        mut each: impl FnMut(Vec<P::Item>) -> (bool, bool),
    ) -> Result<u64, ReadError> {
        let (mut after, mut barren) = (from, 0);
        for pages in 1..=MOST_PAGES {
            let page: P = self.page(path, self.page_size, Some(("after", &after))).await?;
            let (items, _, prev) = page.parts();
            let (new, all) = each(items);
            barren = if new { 0 } else { barren + 1 };
            match prev {
                Some(prev) if new || (!all && barren < BARREN_PAGES && prev != after) => after = prev,
                _ => return Ok(pages),
            }
        }
        Err(circle(path, after))
    }
}

fn circle(path: &str, cursor: String) -> ReadError {
    ReadError::Circle {
        path: path.to_owned(),
        cursor,
    }
}
