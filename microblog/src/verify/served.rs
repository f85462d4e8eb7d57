//! What query-svc serves, page by page to the end.

use reqwest::StatusCode;
use serde::de::DeserializeOwned;
use shared::api::Page;

use crate::api_client::{ApiClient, Call, CallError};

/// A list is longer than any list is: the cursors go round in circles.
const MOST_PAGES: u64 = 10_000_000;

/// One reader of lists: whose token, and which writes it wants to see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) api: &'a ApiClient,
    pub(super) access_token: Option<&'a str>,
    pub(super) consistency_token: &'a str,
    pub(super) page_size: u32,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// An answer that is no page, such as 404: it may be right, or be a difference.
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

    /// Hands every item of a list to `each`; answers how many pages it was.
    pub(super) async fn each<T: DeserializeOwned>(
        &self,
        path: &str,
        mut each: impl FnMut(T),
    ) -> Result<u64, ReadError> {
        let mut before: Option<String> = None;
        for pages in 1..=MOST_PAGES {
            let mut page_path = format!("{path}?limit={}", self.page_size);
            if let Some(cursor) = &before {
                page_path.push_str("&before=");
                page_path.extend(cursor.bytes().map(percent_encoded));
            }
            let page: Page<T> = self.get(page_path).await?;
            page.items.into_iter().for_each(&mut each);
            match page.next {
                None => return Ok(pages),
                Some(next) if before.as_ref() == Some(&next) => {
                    return Err(ReadError::Circle {
                        path: path.to_owned(),
                        cursor: next,
                    });
                }
                next => before = next,
            }
        }
        Err(ReadError::Circle {
            path: path.to_owned(),
            cursor: before.unwrap_or_default(),
        })
    }
}

/// Cursors are opaque: they may hold any byte.
fn percent_encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_may_hold_any_byte() {
        assert_eq!(
            "a-Z+/=".bytes().map(percent_encoded).collect::<String>(),
            "a-Z%2B%2F%3D"
        );
    }
}
