//! Strict parsing of query strings: an error names a parameter that is unknown, repeated or of a wrong type.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;

use super::fields;
use super::problem::Problem;

/// The query string as a structure (which should deny unknown fields). A list may be given several times, any other parameter only once.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

/// The most bytes of a query string. A hundred ids are well below it.
const MAX_BYTES: usize = 8 * 1024;
/// The most parameters.
const MAX_PARAMETERS: usize = 128;
const UNNAMED: &str = "query";

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    if query.len() > MAX_BYTES {
        return Err(Problem::uri_too_long(MAX_BYTES));
    }
    if query.split('&').filter(|pair| !pair.is_empty()).count() > MAX_PARAMETERS {
        let message = format!("may have {MAX_PARAMETERS} parameters");
        return Err(Problem::malformed_field(UNNAMED, message));
    }
    let deserializer = serde_html_form::Deserializer::from_bytes(query.as_bytes());
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        // Of a list, the path also has the index.
        let parameter = path.split('[').next().unwrap_or_default();
        let message = match error.inner().to_string() {
            several if several == "unsupported value" => "is given more than once".to_owned(),
            message => message,
        };
        let (field, message) = fields::named(parameter, &message, UNNAMED);
        Problem::malformed_field(field, message)
    })
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde::Deserialize;

    use super::*;
    use crate::http::{Limit, PageQuery};
    use model::ids::{PostId, UserId};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Relationships {
        #[serde(default)]
        id: Vec<UserId>,
    }

    fn refused<T: DeserializeOwned + std::fmt::Debug>(query: &str) -> (String, String) {
        let problem = parse::<T>(query).unwrap_err();
        assert_eq!(problem.status, 400);
        (problem.errors[0].field.clone(), problem.errors[0].message.clone())
    }

    #[test]
    fn pages_have_defaults_and_limits() {
        let page: PageQuery<PostId> = parse("").unwrap();
        assert_eq!((page.limit.get(), page.before, page.after), (20, None, None));
        let id = PostId::new(Utc::now());
        let page: PageQuery<PostId> = parse(&format!("limit=100&before={id}")).unwrap();
        assert_eq!((page.limit, page.before), (Limit::new(100).unwrap(), Some(id)));
        for wrong in ["0", "101", "-1", "ten", "", "1.5", "1e2", "99999999999999999999"] {
            let (field, message) = refused::<PageQuery<PostId>>(&format!("limit={wrong}"));
            assert_eq!(field, "limit", "{wrong}: {message}");
        }
    }

    #[test]
    fn slips_are_named() {
        let expected = "is not known here; expected one of `limit`, `before`, `after`";
        assert_eq!(refused::<PageQuery<PostId>>("limt=5"), ("limt".into(), expected.into()));
        assert_eq!(
            refused::<PageQuery<PostId>>("limit=5&limit=5"),
            ("limit".into(), "is given more than once".into())
        );
        assert_eq!(refused::<PageQuery<PostId>>("before=nonsense").0, "before");
        assert_eq!(refused::<PageQuery<PostId>>("before=").0, "before");
        assert_eq!(refused::<PageQuery<PostId>>("after=%00").0, "after");
        assert_eq!(refused::<PageQuery<PostId>>("after=%ff").0, "after");
    }

    #[test]
    fn nobody_needs_more_than_so_many() {
        let many = |count: usize| (0..count).map(|n| format!("n{n}=")).collect::<Vec<_>>().join("&");
        assert_eq!(refused::<PageQuery<PostId>>(&many(MAX_PARAMETERS)).0, "n0");
        let (field, message) = refused::<PageQuery<PostId>>(&many(MAX_PARAMETERS + 1));
        assert_eq!((field.as_str(), message.as_str()), ("query", "may have 128 parameters"));
        let long = format!("before={}", "x".repeat(MAX_BYTES));
        assert_eq!(parse::<PageQuery<PostId>>(&long).unwrap_err().status, 414);
        let ids: Vec<_> = (0..100).map(|_| format!("id={}", UserId::new(Utc::now()))).collect();
        assert_eq!(parse::<Relationships>(&ids.join("&")).unwrap().id.len(), 100);
    }

    #[test]
    fn a_list_may_be_given_several_times() {
        let ids = [UserId::new(Utc::now()), UserId::new(Utc::now())];
        let query: Relationships = parse(&format!("id={}&id={}", ids[0], ids[1])).unwrap();
        assert_eq!(query.id, ids);
        assert!(parse::<Relationships>("").unwrap().id.is_empty());
        assert_eq!(refused::<Relationships>(&format!("id={}&id=x", ids[0])).0, "id");
    }
}
