//! Strict parsing of query strings: an error names a parameter that is unknown, repeated or of a wrong type.

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

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

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    if query.len() > MAX_BYTES {
        return Err(Problem::uri_too_long(MAX_BYTES));
    }
    if query.split('&').filter(|pair| !pair.is_empty()).count() > MAX_PARAMETERS {
        let message = format!("may have {MAX_PARAMETERS} parameters");
        return Err(Problem::malformed_field(UNNAMED, message));
    }
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(query).map_err(|error| Problem::malformed_field("query", error))?;
    let mut parameters: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in pairs {
        match parameters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => parameters.push((name, vec![value])),
        }
    }
    T::deserialize(Parameters {
        rest: parameters.into_iter(),
        value: None,
    })
    .map_err(|error| Problem::malformed_field(error.field, error.message))
}

#[derive(Debug)]
struct QueryError {
    field: String,
    message: String,
}

impl QueryError {
    fn of(mut self, field: &str) -> Self {
        if self.field == UNNAMED {
            field.clone_into(&mut self.field);
        }
        self
    }
}

const UNNAMED: &str = "query";

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.message)
    }
}

impl std::error::Error for QueryError {}

impl de::Error for QueryError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            field: UNNAMED.to_owned(),
            message: message.to_string(),
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = expected.join(", ");
        Self {
            field: field.to_owned(),
            message: format!("is not known here; there are: {known}"),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            field: field.to_owned(),
            message: "is missing".to_owned(),
        }
    }
}

struct Parameters {
    rest: std::vec::IntoIter<(String, Vec<String>)>,
    value: Option<(String, Vec<String>)>,
}

impl<'de> de::Deserializer<'de> for Parameters {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Parameters {
    type Error = QueryError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, QueryError> {
        let Some((name, values)) = self.rest.next() else {
            return Ok(None);
        };
        let name_of: StrDeserializer<'_, QueryError> = name.as_str().into_deserializer();
        let key = seed.deserialize(name_of)?;
        self.value = Some((name, values));
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, QueryError> {
        let (name, values) = self.value.take().expect("serde asks for a key before its value");
        seed.deserialize(Values(values)).map_err(|error| error.of(&name))
    }
}

/// The values of one parameter, which may be given several times.
struct Values(Vec<String>);

impl Values {
    fn single(self) -> Result<String, QueryError> {
        let mut values = self.0.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(de::Error::custom("is given more than once")),
        }
    }
}

macro_rules! deserialize_parsed {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
            match self.single()?.parse::<$type>() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(de::Error::custom(concat!("must be ", $what))),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for Values {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_string(self.single()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_seq(Each(self.0.into_iter()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, QueryError> {
        visitor.visit_enum(self.single()?.into_deserializer())
    }

    deserialize_parsed! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i64 i64, "a whole number";
        deserialize_i16 visit_i64 i64, "a whole number";
        deserialize_i32 visit_i64 i64, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u64 u64, "a whole number";
        deserialize_u16 visit_u64 u64, "a whole number";
        deserialize_u32 visit_u64 u64, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

struct Each(std::vec::IntoIter<String>);

impl<'de> SeqAccess<'de> for Each {
    type Error = QueryError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, QueryError> {
        self.0
            .next()
            .map(|value| seed.deserialize(Values(vec![value])))
            .transpose()
    }
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

    fn refused<T: DeserializeOwned + fmt::Debug>(query: &str) -> (String, String) {
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
        assert_eq!(refused::<PageQuery<PostId>>("limt=5").0, "limt");
        assert_eq!(
            refused::<PageQuery<PostId>>("limit=5&limit=5"),
            ("limit".into(), "is given more than once".into())
        );
        assert_eq!(refused::<PageQuery<PostId>>("before=nonsense").0, "before");
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
