//! Pages of lists: their length, their start, and the links to their neighbours.

use std::fmt;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderValue, LINK};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

/// How many items a page has: 1 to 100, by default 20.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit(u8);

impl Limit {
    pub const MAX: u8 = 100;

    pub fn new(limit: u64) -> Option<Self> {
        u8::try_from(limit)
            .ok()
            .filter(|limit| (1..=Self::MAX).contains(limit))
            .map(Self)
    }

    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = u64::deserialize(deserializer)?;
        Self::new(limit).ok_or_else(|| de::Error::custom("must be a number from 1 to 100"))
    }
}

/// The parameters of every list: `?limit=&before=&after=`. The cursors come from an earlier page. `before` and `after` have different kinds
/// of cursors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery<B, A = B> {
    /// Items on a page.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of an earlier page, for the items after that page.
    #[serde(default = "none")]
    pub before: Option<B>,
    /// The `prev` of an earlier page, for items that are new since then, or that arrive late.
    #[serde(default = "none")]
    pub after: Option<A>,
}

fn none<C>() -> Option<C> {
    None
}

impl<B, A> IntoParams for PageQuery<B, A> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = |name: &str, description: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(description))
                .schema(Some(schema))
                .build()
        };
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(Limit::MAX))
            .default(Some(Limit::default().0.into()));
        let text = |pattern: &str| ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
        vec![
            parameter("limit", "Items on a page.", limit),
            parameter(
                "before",
                "The `next` of an earlier page, for the items after that page.",
                // 16 bytes in base64url.
                text("^[A-Za-z0-9_-]{21}[AQgw]$"),
            ),
            parameter(
                "after",
                "The `prev` of an earlier page, for items that are new since then, or that arrive late.",
                text("^[A-Za-z0-9_-]{22,2048}$"),
            ),
        ]
    }
}

/// The `Link` header of a page (RFC 8288), relative to the server's root. It keeps the other parameters. `None` if the page has no
/// neighbours.
pub fn links(
    request: &HttpRequest,
    next: Option<&str>,
    prev: Option<&str>,
) -> Option<(actix_web::http::header::HeaderName, HeaderValue)> {
    let pairs: Vec<(String, String)> = serde_html_form::from_str(request.query_string()).unwrap_or_default();
    let kept: Vec<_> = pairs
        .into_iter()
        .filter(|(name, _)| name != "before" && name != "after")
        .collect();
    let link = |parameter: &str, cursor: &str, relation: &str| {
        let mut parameters = kept.clone();
        parameters.push((parameter.to_owned(), cursor.to_owned()));
        let query = serde_html_form::to_string(parameters).unwrap_or_default();
        format!("<{}?{query}>; rel=\"{relation}\"", request.path())
    };
    let links: Vec<String> = [
        next.map(|cursor| link("before", cursor, "next")),
        prev.map(|cursor| link("after", cursor, "prev")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if links.is_empty() {
        return None;
    }
    HeaderValue::from_str(&links.join(", ")).ok().map(|value| (LINK, value))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn links_keep_the_limit_and_replace_the_cursor() {
        let request = TestRequest::with_uri("/v1/timelines/home?limit=5&before=old").to_http_request();
        let (_, value) = links(&request, Some("n+1"), Some("p")).unwrap();
        assert_eq!(
            value.to_str().unwrap(),
            "</v1/timelines/home?limit=5&before=n%2B1>; rel=\"next\", </v1/timelines/home?limit=5&after=p>; rel=\"prev\""
        );
        assert_eq!(links(&request, None, None), None);
    }
}
